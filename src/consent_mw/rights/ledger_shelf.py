"""The erasures of all hosts, on each of them: any host repeats them after a restored backup, also a fresh one."""

from __future__ import annotations

from collections.abc import Callable, Set
from hashlib import blake2b
from threading import Lock

from consent_mw.exceptions import StoreError
from consent_mw.paths import Places
from consent_mw.rights.ledger import Entry, Ledger
from consent_mw.system.days import instant_of
from consent_mw.system.shelf import Kept


class LedgerShelf:
    """
    A `Shelf` of ledger entries. What other hosts erased is kept apart from what this one did. One process may add to
    that ledger while another prunes it: an entry that is lost so is taken again.

    An entry is published until its keys are gone. It holds pseudonyms and numbers of records, as the store itself does,
    and nothing that names anybody. Its name says which bytes stand in the ledger. So it stays the same entry when
    another version writes entries in another form.
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
        self._others = others
        self._clock = clock
        self._names = _Names(own), _Names(others)

    def names(self) -> Set[str]:
        """As `Shelf.names`."""
        own, others = self._names
        return own.read() | others.read()

    def kept(self, name: str) -> Kept:
        """As `Shelf.kept`."""
        for names in self._names:
            if kept := names.kept(name):
                return kept
        raise StoreError(f"{self._others.path}: an erasure was forgotten meanwhile; it is tried again")

    def take(self, name: str, kept: Kept) -> None:
        """As `Shelf.take`."""
        entry = Entry.parse(kept.text)
        if entry is None or _name(kept.text.encode()) != name:
            raise ValueError("is another erasure than its name says")
        if entry.until > instant_of(self._clock()):
            self._others.append_text(kept.text)


class _Names:
    """Where the entries of a ledger stand that the other hosts have to know, by name. Each line is read once."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._read_to = (0, 0)
        self._begins: dict[str, int] = {}
        self._reading = Lock()

    def read(self) -> Set[str]:
        """Return the names of all entries. Raises StoreError."""
        with self._reading:
            lines, read_to = self._ledger.added(self._read_to)
            if read_to == self._read_to:
                return self._begins.keys()
            is_other = read_to[0] != self._read_to[0] or read_to[1] < self._read_to[1]
            begins = {} if is_other else dict(self._begins)
            for begin, line in lines:
                if (entry := Entry.parse(line)) and entry.is_for_all:
                    begins[_name(line)] = begin
            self._begins, self._read_to = begins, read_to
            return begins.keys()

    def kept(self, name: str) -> Kept | None:
        """Return the entry of this name; None if there is none (any more). Raises StoreError."""
        begin = self._begins.get(name) if name in self.read() else None
        line = b"" if begin is None else self._ledger.line(begin)
        entry = Entry.parse(line) if line else None
        if entry is None or _name(line) != name:
            return None
        return Kept(line.decode(), int(entry.at.timestamp() * 1e9), int(entry.until.timestamp() * 1e9))


def _name(line: bytes) -> str:
    return blake2b(line, digest_size=16).hexdigest()
