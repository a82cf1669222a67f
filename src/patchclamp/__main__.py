"""``python -m patchclamp`` and the installed command: the command line."""

import signal
import sys

# Until the command line hears Ctrl-C itself it ends the process at once, without Python's traceback.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from patchclamp.cli import main

if __name__ == "__main__":
    sys.exit(main())
