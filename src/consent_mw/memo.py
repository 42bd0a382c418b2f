"""Memories of a bounded size, for what takes longer to find out than to look up. Pure."""

from __future__ import annotations

from typing import TypeVar

__all__ = ["remember"]

_K = TypeVar("_K")
_V = TypeVar("_V")


def remember(memory: dict[_K, _V], key: _K, value: _V, most: int) -> None:
    """
    Keep `value`, and `most` of them at most.

    A full memory is emptied. To forget the oldest alone would take a step at every look-up, and looking up is what
    every request does.
    """
    if len(memory) >= most:
        memory.clear()
    memory[key] = value
