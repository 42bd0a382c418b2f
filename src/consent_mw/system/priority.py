"""The priority of a command's work beside that of a site on the same machine."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Final

_LOWER: Final = 10
_LOWEST: Final = 19


@contextmanager
def behind_the_site() -> Generator[None]:
    """
    Let the block, and the threads that it begins, work when nobody else wants the processor (setpriority(2), on Linux
    by thread): a page of the site does not wait for a command. A user who may not raise a priority stays there.
    """
    before = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, min(before + _LOWER, _LOWEST))
    try:
        yield
    finally:
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, before)
