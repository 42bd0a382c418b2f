"""A command that believes to be at a terminal."""

from __future__ import annotations

import os
import pty
import sys
from contextlib import suppress


def at_a_terminal(command: list[str], answer: bytes) -> str:
    """Run a command whose input, output and errors are one terminal; type `answer`; return what it showed."""
    pid, master = pty.fork()
    if pid == 0:
        os.execve(
            sys.executable,
            [sys.executable, "-m", "consent_mw", *command],
            os.environ | {"TERM": "xterm", "TZ": "Asia/Seoul"},
        )
    os.write(master, answer)
    seen = b""
    with suppress(OSError):  # EIO: the other side was closed (pty(7))
        while chunk := os.read(master, 4096):
            seen += chunk
    os.waitpid(pid, 0)
    os.close(master)
    return seen.decode()
