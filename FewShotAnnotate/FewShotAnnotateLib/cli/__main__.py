"""`python -m FewShotAnnotateLib.cli`."""

import sys

from . import main

sys.exit(main())
