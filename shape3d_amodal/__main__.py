"""``python -m shape3d_amodal``: the command line."""

import sys

from shape3d_amodal.cli import main

sys.exit(main())
