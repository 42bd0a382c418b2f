"""What a host states of its keys: which it holds, and which places it has overwritten."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from consent_mw.hosts.keyring import SharedKeyring
from consent_mw.hosts.messages import Body, Confirm, Holds, Place, Runs, runs


class Statements:
    """What is still to state."""

    def __init__(self, keyring: SharedKeyring) -> None:
        self._keyring = keyring
        self._nothing_held = -1, b""  # the keyring's generation and this host, when there was nothing to state
        self._nothing_over = -1, b""  # the same for what to confirm

    def of_keys(self) -> list[Body]:
        """Return which keys this host holds, if it holds others than it said last."""
        ring, me, generation = self._keyring, self._keyring.identity.id, self._keyring.generation
        if (generation, me) == self._nothing_held:
            return []
        view, places, used = ring.view, dict[str, list[int]](), dict[str, list[int]]()
        for place in map(Place._make, ring.file.live()):
            places.setdefault(place.label, []).append(place.day)
            if place in view.used or view.chosen.get(place) == me:
                used.setdefault(place.label, []).append(place.day)
        known = view.holds(me)
        holds = Holds(number=known.number + 1, places=_runs(places), used=_runs(used))
        if (holds.places, holds.used) == (known.places, known.used):
            self._nothing_held = generation, me
            return []
        return [holds]

    def of_overwritten(self) -> list[Body]:
        """Return the confirmations of the places that this host has overwritten, as far as it has not sent them."""
        ring, me, generation = self._keyring, self._keyring.identity.id, self._keyring.generation
        if (generation, me) == self._nothing_over:
            return []
        view = ring.view
        owed = sorted(
            Place(day, label)
            for day, label in ring.file.destroyed()
            if label in view.labels.get(day, ()) and (day, label) not in view.over
        )
        bodies: list[Body] = [
            Confirm(day=place.day, label=place.label, shared=sorted(view.shared.get(place, ())))
            for place in owed
            if me not in view.confirms.get(place, {})
        ]
        if not bodies:
            self._nothing_over = generation, me
        return bodies


def _runs(by_label: Mapping[str, Iterable[int]]) -> dict[str, Runs]:
    return {label: runs(days) for label, days in by_label.items()}
