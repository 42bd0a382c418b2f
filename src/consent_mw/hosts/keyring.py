"""The keyring of a site on several hosts: the key file of this one, and what the others have wrapped for it."""

from __future__ import annotations

from collections.abc import Iterable, Set
from functools import partial
from threading import Lock
from typing import Final

from consent_mw.crypto.day_parts import of_label
from consent_mw.crypto.keyring import FileKeyring
from consent_mw.crypto.sealer import Sealer
from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.exceptions import KeyDestroyed
from consent_mw.hosts.book import Book
from consent_mw.hosts.identity import Identity
from consent_mw.hosts.messages import Message, Place, believed
from consent_mw.hosts.view import Note, View
from consent_mw.paths import Places
from consent_mw.system.days import day_text

__all__ = ["RING", "SharedKeyring"]

#: What it is called on every host. Of what stands in a store, another site's is told by its mark.
RING: Final = "shared"


class SharedKeyring:
    """
    A `Keyring` whose keys all hosts of a site have.

    The 32 bytes in a slot of the key file are this host's own key of that place, and the secret under which others wrap
    theirs for it. One host's key is chosen for all; until this host knows whose, it seals under its own, which the
    others get as well. To destroy a place is to overwrite the slot: the wraps are noise then.

    Keys of others are unwrapped in memory alone, and dropped when their slot is gone. Reads no store: `Hosts` does.
    """

    def __init__(self, file: FileKeyring, book: Book, identity: Identity) -> None:
        self.name: str = RING
        self.file = file
        self.book = book
        self.identity = identity
        self.rings: frozenset[str] = frozenset((RING, file.name))
        self._seen = -1
        self._opened: dict[tuple[Place, bytes], tuple[bytes, bytes]] = {}  # the secret, and the key behind it
        self._lacking = -1, frozenset[str]()  # and as of which generation
        self._reading = Lock()

    @classmethod
    def of_site(cls, places: Places, site_keys: SiteKeys) -> SharedKeyring:
        """
        Return the keyring of the host with this data directory.

        What was sealed here before, by a keyring of this host alone, stays within reach: its keys go to the others.

        Raises:
            ConfigurationError: Key file or identity cannot be used.
            KeyringUnreachable: The book cannot be.
        """
        is_new = not places.host_book.exists()
        file = FileKeyring(places.keys)
        book = Book(places.host_book, partial(believed, sealer=Sealer.without_keys(site_keys)))
        keyring = cls(file, book, Identity(places.host_identity))
        if is_new:
            book.add(notes=[("used", Place(*place), b"") for place in file.live()])
        return keyring

    @property
    def generation(self) -> int:
        """That of the key file, which moves with the book too."""
        return self.file.generation

    @property
    def view(self) -> View:
        """What this host knows. Raises KeyringUnreachable."""
        generation = self.file.generation
        if generation != self._seen:
            with self._reading:
                self.book.read()
                live = frozenset(self.file.live())
                self._opened = {each: found for each, found in self._opened.items() if each[0] in live}
                self._seen = generation
        return self.book.view

    def key(self, day: int, purpose: str, *, create: bool) -> bytes:
        """Return the key under which all seal, or else this host's own; see `Keyring.key`."""
        place = Place(day, purpose)
        if not create:
            return self.keys(day, purpose)[0]
        secret, view = self.file.key(day, purpose, create=True), self.view
        key = self.key_of(place, view.chosen.get(place, b""), secret) or secret
        if key == secret and place not in view.used:
            # First the note: a store that goes back may have another chosen, and what nobody shares nobody else reads.
            self.add(notes=[("used", place, b"")])
        return key

    def keys(self, day: int, purpose: str) -> list[bytes]:
        """Return every key of a place that is known here; see `SeveralKeys.keys`."""
        place = Place(day, purpose)
        secret, view = self.file.key(day, purpose, create=False), self.view
        owners = view.in_use(place, self.identity.id)
        found = [key for owner in owners if (key := self.key_of(place, owner, secret))]
        if not found:
            raise KeyDestroyed(
                f'no host has sealed anything for purpose "{purpose}" on {day_text(day)} that is known here'
            )
        return found

    def lacking(self) -> frozenset[str]:
        """Return the hosts whose keys may have sealed something that still lives, and are not here."""
        if self._lacking[0] != self.generation:
            generation = self.generation
            view = self.view
            hosts = {owner for place in map(Place._make, self.live()) for owner in self._lacking_in(place, view)}
            self._lacking = generation, frozenset(map(view.name, hosts))
        return self._lacking[1]

    def _lacking_in(self, place: Place, view: View) -> list[bytes]:
        try:
            secret = self.file.key(*place, create=False)
        except KeyDestroyed:  # meanwhile
            return []
        return [owner for owner in view.in_use(place, self.identity.id) if not self.key_of(place, owner, secret)]

    def live(self) -> list[tuple[int, str]]:
        """Return the day and purpose of each slot of this host that is not overwritten, sorted."""
        return self.file.live()

    def destroy(self, day: int, purpose: str) -> bool:
        """Overwrite this host's part of a place; return whether there was one. See `FileKeyring.destroy`."""
        gone = self.file.destroy(day, purpose)
        self._opened = {each: found for each, found in self._opened.items() if each[0] != (day, purpose)}
        return gone

    def destroyed(self) -> dict[tuple[int, str], str]:
        """Return the slot of each place that was overwritten here, by day and purpose."""
        return self.file.destroyed()

    def close(self) -> None:
        """Release the key file. Closing twice is harmless."""
        self._opened = {}
        self.file.close()

    def add(self, messages: Iterable[Message] = (), notes: Iterable[tuple[Note, Place, bytes]] = ()) -> None:
        """Write into the book, and have every process of this host read it. Raises KeyringUnreachable."""
        self.book.add(messages, notes)
        self.file.announce()

    # -- the end of a place -----------------------------------------------------------------------------------------

    def waits_for(self, day: int, purpose: str) -> list[str]:
        """Return the hosts that have not said that their part of a day and purpose is overwritten; no retired ones."""
        view = self.view
        hosts = frozenset[bytes]().union(*map(view.unconfirmed, self._places(day, purpose)))
        return sorted(view.name(host) for host in hosts - view.retired.keys())

    def holders(self, day: int, purpose: str) -> str:
        """Return who held keys of a day and purpose, in words: for its certificate."""
        view, places = self.view, self._places(day, purpose)
        unconfirmed = frozenset[bytes]().union(*map(view.unconfirmed, places))
        hosts = frozenset[bytes]().union(*map(view.holders, places))
        said = [view.name(host) for host in hosts - unconfirmed]
        said += [f"{view.name(host)}, retired and not confirmed" for host in unconfirmed]
        return "; ".join(sorted(said))

    def settle(self, purpose: str, days: Set[int]) -> None:
        """Note that these days of a purpose are certified, so that their messages may go."""
        view = self.view
        places = [place for day in view.labels.keys() & days for place in self._places(day, purpose)]
        if new := [place for place in places if place not in view.over]:
            self.add(notes=[("over", place, b"") for place in new])

    def _places(self, day: int, purpose: str) -> list[Place]:
        labels = self.view.labels.get(day, ())
        return [Place(day, label) for label in labels if of_label(label)[0] == purpose]

    def key_of(self, place: Place, owner: bytes, secret: bytes) -> bytes | None:
        """Return the key of a host in a place, whose slot here holds `secret`; None where it is not here."""
        if not owner or owner in self.identity.ids:
            return secret if owner else None
        known = self._opened.get((place, owner))
        if known is not None and known[0] == secret:
            return known[1]
        key = self.view.key(place, owner, self.identity.ids, secret)
        if key is not None:
            self._opened[place, owner] = secret, key
        return key
