"""``python -m dfutils`` is the command ``dfutils``."""

import sys

from dfutils.cli import main

sys.exit(main())
