"""Pages of several stores as one, in order of id or its reverse. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import groupby
from operator import attrgetter

from consent_mw.records import Record

__all__ = ["merged"]


def merged(pages: Iterable[Sequence[Record]], *, newest_first: bool) -> Iterator[Record]:
    """Yield the records of `pages`, each of which is in that order; of two with one id that of the first page."""
    for _, same in groupby(merge(*pages, key=attrgetter("id"), reverse=newest_first), key=attrgetter("id")):
        yield next(same)
