"""`python -m consent_mw` and `consent-mw`: the command line."""

from __future__ import annotations

import logging
import os
import signal
import sys
from io import TextIOWrapper
from types import FrameType

_INTERRUPTED = 130
_TERMINATED = 143


def main() -> int:
    """Run the command. Ctrl-C never prints a traceback, not even while the commands are still being loaded."""
    _open_what_is_closed()
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, _terminated)
    try:
        from consent_mw.cli import main as run

        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("consent-mw: %(message)s"))
        logging.getLogger("consent_mw").addHandler(handler)
        return run()
    except KeyboardInterrupt:
        return _INTERRUPTED


def _open_what_is_closed() -> None:
    """Point a closed standard stream (`>&-`) at the null device: otherwise the next open file becomes the output."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            # The system gives the lowest free number, which is this one: those before it are in use.
            nowhere = os.open(os.devnull, os.O_RDWR)
            file = open(nowhere, "rb" if number == 0 else "wb", closefd=False)  # noqa: SIM115 - as long as the process
            setattr(sys, name, TextIOWrapper(file, "utf-8"))


def _terminated(number: int, frame: FrameType | None) -> None:
    """
    End on SIGTERM as any other process does, at once. The system does not end process 1 (in a container, this one).

    An exception would be lost if the signal comes in a callback of the garbage collector, as the import system has one.
    """
    os._exit(_TERMINATED)


if __name__ == "__main__":
    sys.exit(main())
