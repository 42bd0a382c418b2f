"""
Hide small cells: a count behind which fewer than five visitors stand is never written. Pure.

A small cell is counted in "(other)". If that is still small, the next smallest cell joins it, so that subtraction from
the whole cannot reveal it. If all together are small, nothing is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

#: A cell that fewer visitors stand behind is never written.
FEWEST: Final = 5
#: Where small cells are counted.
OTHER: Final = "(other)"


class Cell:
    """How many there were, and who: up to five, more need not be known."""

    __slots__ = ("count", "subjects", "unnamed")

    def __init__(self) -> None:
        self.count: int = 0
        self.unnamed: int = 0  # without a subject each record may be another visitor
        self.subjects: set[bytes] = set()

    def add(self, subject: bytes | None, count: int = 1) -> None:
        self.count += count
        if subject is None:
            self.unnamed += 1
        elif len(self.subjects) < FEWEST:
            self.subjects.add(subject)

    def take(self, other: Cell) -> None:
        self.count += other.count
        self.unnamed += other.unnamed
        self.subjects |= other.subjects

    @property
    def is_small(self) -> bool:
        return self.unnamed + len(self.subjects) < FEWEST


def without_small_cells(cells: Mapping[str, Cell]) -> dict[str, int]:
    """Return the counts of `cells`, the small ones in "(other)"; nothing if all of them together are small."""
    small = [label for label, cell in cells.items() if cell.is_small or label == OTHER]
    kept = sorted((label for label in cells if label not in small), key=lambda label: (cells[label].count, label))
    other = Cell()
    for label in small:
        other.take(cells[label])
    while small and other.is_small and kept:
        other.take(cells[kept.pop(0)])
    shown = {label: cells[label].count for label in sorted(kept)}
    if small and not other.is_small:
        shown[OTHER] = other.count
    return shown


def whole_or_nothing(cells: Mapping[str, Cell], order: Sequence[str]) -> dict[str, int]:
    """Return the counts of all `cells`, in this `order` of labels; nothing if all of them together are small."""
    whole = Cell()
    for cell in cells.values():
        whole.take(cell)
    return {} if whole.is_small else {label: cells[label].count for label in order if label in cells}
