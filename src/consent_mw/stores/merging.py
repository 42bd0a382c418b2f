"""Merge the pages of several stores into one, in order of id or its reverse. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import groupby
from operator import attrgetter

from consent_mw.records import Record


def merged(pages: Iterable[Sequence[Record]], *, newest_first: bool) -> Iterator[Record]:
    """Yield the records of `pages`, all of which are in that order. Of two with the same id, the first page's wins."""
    for _, same in groupby(merge(*pages, key=attrgetter("id"), reverse=newest_first), key=attrgetter("id")):
        yield next(same)
