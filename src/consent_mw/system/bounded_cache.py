"""Memories of a bounded size, for what takes longer to find out than to look up. Pure."""

from __future__ import annotations

from collections.abc import Callable
from sys import getsizeof
from typing import Any, Final, Generic, TypeVar
from weakref import WeakSet

_K = TypeVar("_K")
_V = TypeVar("_V")
_Text = TypeVar("_Text", str, bytes)

#: No single entry takes more than this part of a budget: what is so large comes from nobody's browser twice.
_LARGEST_PART: Final = 512
#: What an entry costs in the table of a dictionary, which is never full.
_SLOT_BYTES: Final = 100


class Budget:
    """
    The bytes that some memories may hold together.

    Bounded by bytes and not by number: what is remembered comes from visitors, who choose how long it is. When the
    budget is used up, all its memories are emptied. To forget the oldest alone would take a step at every look-up,
    and looking up is what every request does.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes: int = most_bytes
        self._left_bytes = most_bytes
        # Weak: a memory that belongs to somebody who is gone must not be kept for being emptied.
        self._shared_by: WeakSet[Memory[Any, Any]] = WeakSet()

    def join(self, memory: Memory[Any, Any]) -> None:
        """Have `memory` emptied with the others."""
        self._shared_by.add(memory)

    def take(self, size_bytes: int) -> None:
        """Take room for one entry more."""
        if size_bytes > self._left_bytes:
            for memory in tuple(self._shared_by):
                memory.seen.clear()
            self._left_bytes = self.most_bytes
        self._left_bytes -= size_bytes


class Memory(Generic[_K, _V]):
    """
    What was found out about keys that come again.

    Attributes:
        seen: To look up in, not to write to: a dictionary of its own, which stays the same one.
    """

    __slots__ = ("__weakref__", "_budget", "seen")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.seen: dict[_K, _V] = {}
        budget.join(self)

    def remember(self, key: _K, value: _V, size_bytes: int) -> None:
        """Keep `value`, unless it is too large to be worth it. `size_bytes` is that of key and value in memory."""
        budget = self._budget
        size_bytes += _SLOT_BYTES
        if size_bytes <= budget.most_bytes // _LARGEST_PART:
            budget.take(size_bytes)
            self.seen[key] = value


def remember(memory: dict[_K, _V], key: _K, value: _V, most: int) -> None:
    """Keep `value`, and `most` of them at most: for keys and values whose size no visitor has in hand."""
    if len(memory) >= most:
        memory.clear()
    memory[key] = value


def remembering(
    function: Callable[[_Text], _V], most_bytes: int, weigh: Callable[[_V], int] = getsizeof
) -> Callable[[_Text], _V]:
    """
    Return `function` with a memory of `most_bytes`.

    Args:
        weigh: The bytes of what it returns.
    """
    memory: Memory[_Text, _V] = Memory(Budget(most_bytes))
    seen = memory.seen

    def remembered(text: _Text) -> _V:
        try:
            return seen[text]
        except KeyError:
            value = function(text)
        memory.remember(text, value, getsizeof(text) + weigh(value))
        return value

    return remembered
