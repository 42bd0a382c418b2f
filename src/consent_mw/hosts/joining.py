"""What a host says to join places: its public parts, so that others wrap keys for it, and its choice of a key."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from consent_mw.crypto.archive_keys import archive_label
from consent_mw.crypto.wrapping import key_id, public_part
from consent_mw.exceptions import KeyDestroyed, StoreError
from consent_mw.hosts.keyring import SharedKeyring
from consent_mw.hosts.messages import Body, Chosen, Place, Pub


class Joining:
    """
    The places for whose keys a host asks.

    Args:
        name: Returns the name of this host's machine. Called in a thread.
    """

    def __init__(self, keyring: SharedKeyring, name: Callable[[], str]) -> None:
        self._keyring = keyring
        self._name = name
        self.wanted: frozenset[Place] = frozenset()
        self.expected: frozenset[Place] = frozenset()
        self._nothing_due: object = None  # all that it depends on, as it was when there was nothing to write

    def want(self, places: Iterable[tuple[int, str]]) -> None:
        """Ask for the keys of these places."""
        self.wanted = frozenset(Place(*place) for place in places)

    def expect(self, places: Iterable[tuple[int, str]]) -> None:
        """Ask for the keys that the archive will need. Each is a day and a label, as the archive calls them."""
        self.expected = frozenset(Place(day, archive_label(label)) for day, label in places)

    def to_ask(self) -> frozenset[Place]:
        """Return the places whose choice is to be asked of the store by its id."""
        return self.wanted | (self.expected - self._keyring.view.chosen.keys())

    def due(self, *, of_all: bool) -> list[Body]:
        """
        Return the messages to write.

        Args:
            of_all: Whether to join every place that lives, or only those that are asked for.
        """
        ring, me, wanted = self._keyring, self._keyring.identity.id, self.wanted | self.expected
        known, view = (ring.generation, me, wanted), ring.view  # in this order: what comes meanwhile is looked at next
        if known == self._nothing_due:
            return []
        gone = set(ring.file.destroyed()) if of_all else set[tuple[int, str]]()
        places = set(wanted)
        if of_all:
            places.update(map(Place._make, ring.file.live()))
            places.update(place for place in view.places if not view.is_confirmed(place))
        by_day: dict[int, dict[str, tuple[bytes, bytes]]] = {}
        for day, label in sorted(place for place in places - gone if me not in view.pubs.get(place, {})):
            try:
                secret = ring.file.key(day, label, create=True)
            except KeyDestroyed:
                gone.add((day, label))
                continue
            by_day.setdefault(day, {})[label] = public_part(secret), key_id(secret)
        name = self._name()
        pubs: list[Body] = [Pub(name=name, day=day, parts=parts) for day, parts in by_day.items()]
        open_places = sorted(wanted - view.chosen.keys() - gone)
        if of_all and not pubs and not open_places:
            self._nothing_due = known
        return [*pubs, *(Chosen(day=day, label=label, owner=me) for day, label in open_places)]

    def not_agreed(self) -> list[Place]:
        """Return the places of the archive for which no key is agreed on."""
        try:
            return [place for place in self.expected if not self._keyring.is_agreed(*place)]
        except StoreError:
            return []

    def is_agreed(self, *, synced: bool) -> bool:
        """
        Whether this host has the chosen keys of the first day that it asked for.

        Args:
            synced: Whether this process did all steps once.
        """
        view, ring = self._keyring.view, self._keyring
        first = min((place.day for place in self.wanted), default=0)
        for place in self.wanted:
            if place.day == first:
                try:
                    secret = ring.file.key(*place, create=False)
                except KeyDestroyed:
                    continue
                owner = view.chosen.get(place)
                # Nothing is chosen. Not synced: another process of this host is at it, so wait. Synced: something else
                # blocks the choice, and waiting does not help.
                if not synced if owner is None else not ring.key_of(place, owner, secret):
                    return False
        return True
