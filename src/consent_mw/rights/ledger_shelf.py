"""The erasures of all hosts, on each of them: any host repeats them after a restored backup, also a fresh one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from hashlib import blake2b

from consent_mw.paths import Places
from consent_mw.rights.ledger import Entry, Ledger
from consent_mw.system.days import instant_of
from consent_mw.system.shelf import Kept


class LedgerShelf:
    """
    A `Shelf` of ledger entries. What other hosts erased is kept apart from what this one did. One process may add to
    that ledger while another prunes it: an entry that is lost so is taken again.

    An entry is published until its keys are gone. It holds pseudonyms and numbers of records, as the store itself does,
    and nothing that names anybody.
    """

    label: str = "erasure"

    @classmethod
    def of_site(cls, places: Places, clock: Callable[[], int]) -> LedgerShelf:
        """Return the shelf of the host with this data directory. `clock`: returns nanoseconds since 1970."""
        return cls(Ledger(places.erasures), Ledger(places.erasures_of_hosts), clock)

    def __init__(self, own: Ledger, others: Ledger, clock: Callable[[], int]) -> None:
        """
        Args:
            others: The ledger of what other hosts erased.
            clock: Returns nanoseconds since 1970.
        """
        self._own = own
        self._others = others
        self._clock = clock
        self._read: tuple[object, dict[str, Kept]] = None, {}

    def names(self) -> Set[str]:
        """As `Shelf.names`."""
        return self._entries().keys()

    def kept(self, name: str) -> Kept:
        """As `Shelf.kept`."""
        return self._entries()[name]

    def take(self, name: str, kept: Kept) -> None:
        """As `Shelf.take`."""
        entry = Entry.parse(kept.text)
        if entry is None or _name(kept.text) != name:
            raise ValueError("is another erasure than its name says")
        if entry.until > instant_of(self._clock()):
            self._others.append(entry)

    def _entries(self) -> Mapping[str, Kept]:
        state = self._own.state, self._others.state
        if self._read[0] != state:
            entries = [entry for ledger in (self._own, self._others) for entry in ledger.entries()]
            kept = [_kept(entry) for entry in entries if entry.is_for_all]
            self._read = state, {_name(one.text): one for one in kept}
        return self._read[1]


def _kept(entry: Entry) -> Kept:
    return Kept(entry.text, int(entry.at.timestamp() * 1e9), int(entry.until.timestamp() * 1e9))


def _name(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()
