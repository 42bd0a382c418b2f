"""A process of the tests stopped as it is, and let go on."""

from __future__ import annotations

import os
import signal


def freeze(pid: int) -> None:
    """Stop a child. The signal only asks: its threads run on for a moment, and one of them may yet answer."""
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED)


def thaw(pid: int) -> None:
    """Let a child go on that was stopped."""
    os.kill(pid, signal.SIGCONT)
