"""The keyring of a site on several hosts: this host's key file, and the keys that other hosts wrapped for it."""

from __future__ import annotations

from collections.abc import Iterable, Set
from threading import Lock
from typing import Final

from consent_mw.crypto.archive_keys import AllKeys
from consent_mw.crypto.day_parts import of_label
from consent_mw.crypto.keyring import FileKeyring
from consent_mw.crypto.sealer import Sealer
from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.exceptions import KeyDestroyed
from consent_mw.hosts.book import Book
from consent_mw.hosts.identity import Identity
from consent_mw.hosts.messages import Message, Place
from consent_mw.hosts.view import Note, View
from consent_mw.paths import Places
from consent_mw.system.days import day_text

#: The keyring's name on every host. The mark of a record in the store tells one site from another.
RING: Final = "shared"


class SharedKeyring:
    """
    A `Keyring` that all hosts of a site share.

    A slot of the key file holds 32 bytes. They are this host's own key of a place, and also the secret that opens the
    keys which other hosts wrap for it. For each place the hosts choose the key of one host. Until this host knows
    which, it seals under its own key, which the others receive too. To destroy a place, overwrite the slot: the wraps
    are noise then.

    Keys of other hosts are unwrapped in memory only, and dropped when their slot is gone. This class does not read a
    store: `Hosts` does.
    """

    def __init__(self, file: FileKeyring, book: Book, identity: Identity) -> None:
        self.name: str = RING
        self.file = file
        self.book = book
        self.identity = identity
        self.rings: frozenset[str] = frozenset((RING, file.name))
        self._seen = -1
        self._opened: dict[tuple[Place, bytes], tuple[bytes, bytes]] = {}  # the secret, and the key behind it
        self._lacking = -1, frozenset[bytes]()  # the generation it was computed for, and the hosts
        self._reading = Lock()

    @classmethod
    def of_site(cls, places: Places, site_keys: SiteKeys) -> SharedKeyring:
        """
        Return the keyring of the host with this data directory.

        What this host sealed before, under a keyring of its own, stays readable: its keys go to the other hosts.

        Raises:
            ConfigurationError: The key file or the identity cannot be used.
            KeyringUnreachable: The book cannot be used.
        """
        is_new = not places.host_book.exists()
        file = FileKeyring(places.keys)
        book = Book(places.host_book, Sealer.without_keys(site_keys))
        keyring = cls(file, book, Identity(places.host_identity))
        if is_new:
            book.add(notes=[("used", Place(*place), b"") for place in file.live()])
        return keyring

    @property
    def generation(self) -> int:
        """The generation of the key file. A change of the book changes it too."""
        return self.file.generation

    @property
    def view(self) -> View:
        """What this host knows about the site's keys. Raises KeyringUnreachable."""
        generation = self.file.generation
        if generation != self._seen:
            with self._reading:
                self.book.read()
                if self._opened:
                    live = frozenset(self.file.live())
                    self._opened = {place: keys for place, keys in self._opened.items() if place[0] in live}
                self._seen = generation
        return self.book.view

    @property
    def heard_ns(self) -> int:
        """As `Book.heard_ns`. Raises KeyringUnreachable."""
        _ = self.view  # which reads the book
        return self.book.heard_ns

    def key(self, day: int, purpose: str, *, create: bool) -> bytes:
        """Return the key that was chosen for all hosts, or else this host's own; see `Keyring.key`."""
        place = Place(day, purpose)
        if not create:
            return self.keys(day, purpose)[0]
        secret, view = self.file.key(day, purpose, create=True), self.view
        key = self.key_of(place, view.chosen.get(place, b""), secret) or secret
        if key == secret and place not in view.used:
            # Write the note first. A restored store may name another chosen key, and without the note this one would
            # not be shared, so no other host could read what it sealed.
            self.add(notes=[("used", place, b"")])
        return key

    def keys(self, day: int, purpose: str) -> list[bytes]:
        """Return every key of a place that this host knows; see `SeveralKeys.keys`."""
        place = Place(day, purpose)
        secret, view = self.file.key(day, purpose, create=False), self.view
        owners = view.in_use(place, self.identity.id)
        keys = [key for owner in owners if (key := self.key_of(place, owner, secret))]
        if not keys:
            raise KeyDestroyed(
                f'no host has sealed anything for purpose "{purpose}" on {day_text(day)} that is known here'
            )
        return keys

    def lacking(self) -> frozenset[str]:
        """
        Return the hosts whose keys may have sealed something that still lives, and whose keys are missing here, or of
        which it is not known here what they hold.
        """
        return frozenset(map(self.view.name, self.lacking_of()))

    def lacking_of(self) -> frozenset[bytes]:
        """As `lacking`, the ids."""
        if self._lacking[0] != self.generation:
            generation = self.generation
            view = self.view
            places = map(Place._make, self.file.live())
            hosts = {owner for place in places for owner in self._lacking_in(place, view)}
            self._lacking = generation, frozenset(hosts | self._unheard(view))
        return self._lacking[1]

    def missing(self) -> dict[bytes, list[Place]]:
        """
        Return, by host, where its key may have sealed something and is missing here, also in places that this host has
        not joined yet.
        """
        view, missing = self.view, dict[bytes, list[Place]]()
        joined = set(map(Place._make, self.file.live()))
        to_join = {place for place in view.places if not view.is_confirmed(place)} - self.file.destroyed().keys()
        for place in sorted(joined | to_join):
            owners = self._lacking_in(place, view) if place in joined else view.in_use(place, self.identity.id)
            for owner in owners:
                missing.setdefault(owner, []).append(place)
        return missing

    def _unheard(self, view: View) -> frozenset[bytes]:
        return view.unheard() - self.identity.ids

    def _lacking_in(self, place: Place, view: View) -> list[bytes]:
        try:
            secret = self.file.key(*place, create=False)
        except KeyDestroyed:  # destroyed meanwhile
            return []
        return [owner for owner in view.in_use(place, self.identity.id) if not self.key_of(place, owner, secret)]

    @property
    def rings_elsewhere(self) -> frozenset[str]:
        """The names of the key services under whose keys other hosts seal, and this one, without them, does not."""
        return frozenset(beat.body.ring for beat in self.view.beats.values()) - self.rings - {""}

    def lacks(self, day: int, purpose: str) -> list[str]:
        """Return the hosts, except retired ones, whose keys of a day and purpose are missing here."""
        view = self.view
        hosts = {owner for place in self._places(day, purpose) for owner in self._lacking_in(place, view)}
        return sorted(map(view.name, hosts - view.retired.keys()))

    def is_agreed(self, day: int, label: str) -> bool:
        """See `SeveralKeys.is_agreed`. Where the chosen key does not come, this host's own does once it is shared."""
        place, view = Place(day, label), self.view
        try:
            secret = self.file.key(day, label, create=False)
        except KeyDestroyed:
            return place in self.file.destroyed()
        if self.key_of(place, view.chosen.get(place, b""), secret):
            return True
        shared = self.identity.ids & view.owners.get(place, set())
        return place in view.used and any(self.key_of(place, owner, secret) == secret for owner in shared)

    def all_keys(self) -> AllKeys:
        """Return the slots of this host that hold a key, of both tiers, and those that it overwrote."""
        return AllKeys(self.file.live(), self.file.destroyed())

    def live(self) -> list[tuple[int, str]]:
        """Return the day and purpose of each slot of this host that still holds a key of the live store, sorted."""
        return self.all_keys().of_log.live

    def destroy(self, day: int, purpose: str) -> bool:
        """Overwrite this host's part of a place; return whether there was one. See `FileKeyring.destroy`."""
        gone = self.file.destroy(day, purpose)
        self._opened = {place: keys for place, keys in self._opened.items() if place[0] != (day, purpose)}
        return gone

    def destroyed(self) -> dict[tuple[int, str], str]:
        """Return the overwritten slot of each place of the live store that this host destroyed, by day and purpose."""
        return self.all_keys().of_log.destroyed

    def close(self) -> None:
        """Release the key file. Closing twice is harmless."""
        self._opened = {}
        self.file.close()

    def add(self, messages: Iterable[Message] = (), notes: Iterable[tuple[Note, Place, bytes]] = ()) -> None:
        """Write to the book, and make every process of this host read it. Raises KeyringUnreachable."""
        self.book.add(messages, notes)
        self.file.announce()

    # -- the end of a place -----------------------------------------------------------------------------------------

    def waits_for(self, day: int, purpose: str) -> list[str]:
        """
        Return the hosts that have not confirmed that they overwrote their part of a day and purpose, and those of which
        it is not known here what they hold.

        Leaves out retired hosts.
        """
        view = self.view
        hosts = self._unheard(view).union(*map(view.unconfirmed, self._places(day, purpose)))
        return sorted(view.name(host) for host in hosts - view.retired.keys())

    def holders(self, day: int, purpose: str) -> str:
        """Return the names of the hosts that held keys of a day and purpose, as text for its certificate."""
        view, places = self.view, self._places(day, purpose)
        unconfirmed = frozenset[bytes]().union(*map(view.unconfirmed, places))
        hosts = frozenset[bytes]().union(*map(view.holders, places))
        said = [view.name(host) for host in hosts - unconfirmed]
        said += [f"{view.name(host)}, retired and not confirmed" for host in unconfirmed]
        return "; ".join(sorted(said))

    def settle(self, purpose: str, days: Set[int]) -> None:
        """Note that these days of a purpose are certified, so that their messages may be deleted."""
        view = self.view
        places = [place for day in view.labels.keys() & days for place in self._places(day, purpose)]
        if new := [place for place in places if place not in view.over]:
            self.add(notes=[("over", place, b"") for place in new])

    def _places(self, day: int, purpose: str) -> list[Place]:
        return [Place(day, label) for label in self.view.labels_of(day, purpose) if of_label(label)[0] == purpose]

    def key_of(self, place: Place, owner: bytes, secret: bytes) -> bytes | None:
        """Return the key of `owner` in a place; None if this host lacks it. `secret`: what the slot here holds."""
        if not owner:
            return None
        known = self._opened.get((place, owner))
        if known is not None and known[0] == secret:
            return known[1]
        key = self.view.key(place, owner, self.identity.ids, secret)
        if key is not None and key is not secret:  # its own one is at hand: an old site has ten thousand
            self._opened[place, owner] = secret, key
        return key
