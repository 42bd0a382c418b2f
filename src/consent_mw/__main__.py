"""`python -m consent_mw`: the command line."""

from __future__ import annotations

import sys

from consent_mw.cli import main

sys.exit(main())
