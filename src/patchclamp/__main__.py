"""``python -m patchclamp``: the command line."""

import signal
import sys

# Until the command line hears Ctrl-C itself it ends the process at once, without Python's traceback.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from patchclamp.cli import main

sys.exit(main())
