"""`python -m consent_mw` and `consent-mw`: the command line."""

from __future__ import annotations

import logging
import sys

__all__ = ["main"]

_INTERRUPTED = 130


def main() -> int:
    """Run the command that was called. Ctrl-C is no traceback, also while the commands are still being loaded."""
    try:
        from consent_mw.cli import main as run

        told = logging.StreamHandler()
        told.setFormatter(logging.Formatter("consent-mw: %(message)s"))
        logging.getLogger("consent_mw").addHandler(told)
        return run()
    except KeyboardInterrupt:
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
