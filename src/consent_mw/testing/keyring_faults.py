"""A keyring in a process of its own: one that does what it is asked, and one whose place fails."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from multiprocessing.connection import Connection
from typing import Final, TypeAlias

from consent_mw.crypto.keyring import Keyring
from consent_mw.exceptions import KeyDestroyed, StoreError
from consent_mw.testing.store_faults import FAULTS, Outcome, descriptors

_Place: TypeAlias = tuple[int, str]


def _get(ring: Keyring, place: _Place) -> object:
    return ring.key(*place, create=False)


def _make(ring: Keyring, place: _Place) -> object:
    return ring.key(*place, create=True)


#: What a keyring is asked, by name; each answer crosses into another process.
KEYRING_ACTS: Final[Mapping[str, Callable[[Keyring, _Place], object]]] = {
    "get": _get,
    "make": _make,
    "destroy": lambda ring, place: ring.destroy(*place),
    "live": lambda ring, place: [tuple(one) for one in ring.live()],
    "destroyed": lambda ring, place: sorted(ring.destroyed()),
}
_ASKED: Final[Mapping[str, Callable[[Keyring, _Place], object]]] = {
    **KEYRING_ACTS,
    "generation": lambda ring, place: ring.generation,
}


def ended(act: Callable[[], object]) -> Outcome:
    """Return how a call ended; raise nothing."""
    try:
        return Outcome("", True, act())
    except Exception as error:  # noqa: BLE001 - which one is what is asked
        return Outcome(f"{type(error).__name__}: {error}", isinstance(error, StoreError), None)


def obey(new_keyring: Callable[[], Keyring], calls: Connection) -> None:
    """Do what is asked, and answer with the result or "KeyDestroyed", until nobody asks. For a process of its own."""
    ring = new_keyring()
    while True:
        try:
            act, place = calls.recv()
        except EOFError:
            return
        try:
            calls.send(_ASKED[act](ring, place))
        except KeyDestroyed:
            calls.send("KeyDestroyed")


def attempt(
    new_keyring: Callable[[], Keyring], act: str, fault: str, places: Sequence[_Place], calls: Connection
) -> None:
    """
    Use a keyring, let its place fail, and report how `act` ends. For a process of its own.

    Between use and failure it reports, and waits for an answer: until then others change what is at the place.
    """
    before = descriptors()
    ring = new_keyring()
    ring.key(*places[0], create=False)
    ring.live()
    ring.destroyed()
    calls.send(None)
    calls.recv()
    FAULTS[fault](descriptors() - before)
    place = {"get": places[2], "make": places[3]}.get(act, places[0])
    calls.send(ended(partial(KEYRING_ACTS[act], ring, place)))
    calls.close()
    os._exit(0)  # closing it is not what is asked
