"""Run the command line with `python -m slimjobs.cli`."""

import sys

from slimjobs.cli.main import main

sys.exit(main())
