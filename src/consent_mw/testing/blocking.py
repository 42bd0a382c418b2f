"""What the middleware does on the loop that a detector of blocking calls (blockbuster) should let pass, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

__all__ = ["allow_in"]

#: By file, the functions below which a call may wait for the file system.
_FUNCTIONS: Final[Mapping[str, Iterable[str]]] = {
    # One record a request, into the page cache: some microseconds, and a thread would take longer.
    "consent_mw/spool/spool.py": ("append", "lease", "write"),
    "consent_mw/spool/segment.py": ("discard",),
}


class _Detector(Protocol):
    @property
    def functions(self) -> Mapping[str, Any]: ...


def allow_in(detector: _Detector) -> None:
    """
    Let the few calls pass with which the middleware waits for the local disk, and no other.

        with blockbuster_ctx() as detector:
            allow_in(detector)

    Args:
        detector: A `blockbuster.BlockBuster`.
    """
    for function in detector.functions.values():
        for file, names in _FUNCTIONS.items():
            function.can_block_in(file, names)
