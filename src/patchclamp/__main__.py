"""``python -m patchclamp``: the command line."""

import sys

from patchclamp.cli import main

sys.exit(main())
