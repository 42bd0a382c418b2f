"""The contract of a keyring as tests: a keyring's whole test is a subclass of `KeyringSuite` and one fixture."""
# ruff: noqa: S101 - a suite asserts, as every test does

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from threading import Barrier
from typing import Final, TypeAlias, TypeVar

import pytest

from consent_mw.crypto.keyring import Keyring
from consent_mw.exceptions import KeyDestroyed
from consent_mw.testing.crash_points import WithEnvironment, processes

__all__ = ["KeyringSuite", "NewKeyring"]

#: Makes a keyring; each time one of the same place.
NewKeyring: TypeAlias = Callable[[], Keyring]

_T = TypeVar("_T")

_DAY: Final = 20_780
_KEY_BYTES: Final = 32
_LONGEST_NAME: Final = 255
#: Two days, a part of a day, and the longest name that a keyring is given.
_PLACES: Final = ((_DAY, "marketing"), (_DAY + 1, "marketing"), (_DAY, "marketing 15:00-24:00"), (_DAY, "p" * 44))
_AT_ONCE: Final = 8
_AGAIN_SECONDS: Final = 0.05


class KeyringSuite:
    """
    What every keyring keeps. A subclass, whose name starts with `Test`, has the fixture `new_keyring`: a callable
    without arguments that returns a keyring. All that it returns within one test share their keys, as the processes of
    a site do; the place is empty when a test starts. The callable crosses into another process, so it can be pickled:
    `functools.partial` of the keyring's class can, a lambda cannot.

    Attributes:
        lag_seconds: How long another process may go on with what it remembers after a key was made or destroyed. For
            keys in a service that is how often it asks.

    What it cannot see: that a destroyed key is on no disk, in no backup, and in no log of a database.
    """

    lag_seconds: float = 0.0

    @pytest.fixture
    def new_keyring(self) -> NewKeyring:
        """Return a callable that makes a keyring."""
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `new_keyring`: see docs/keys.md")

    def test_it_has_one_name_that_fits_into_a_record(self, new_keyring: NewKeyring) -> None:
        with _several(new_keyring, 2) as (one, other):
            one.key(*_PLACES[0], create=True)
            assert one.name == other.name
            assert 0 < len(one.name.encode()) <= _LONGEST_NAME

    def test_a_key_is_made_once_and_the_same_for_all(self, new_keyring: NewKeyring) -> None:
        with _several(new_keyring, 2) as (one, other):
            keys = [one.key(*place, create=True) for place in _PLACES]
            assert all(isinstance(key, bytes) and len(key) == _KEY_BYTES for key in keys)
            assert len(set(keys)) == len(keys), "two days, purposes or parts of a day have one key"
            assert [other.key(*place, create=create) for place in _PLACES for create in (False, True)] == [
                key for key in keys for _ in range(2)
            ]

    def test_no_key_is_made_that_nobody_asked_for(self, new_keyring: NewKeyring) -> None:
        with _several(new_keyring, 1) as (ring,):
            with pytest.raises(KeyDestroyed):
                ring.key(*_PLACES[0], create=False)
            assert list(ring.live()) == []
            assert not ring.destroy(*_PLACES[0])

    def test_what_is_live_is_listed_in_order(self, new_keyring: NewKeyring) -> None:
        with _several(new_keyring, 2) as (one, other):
            for place in reversed(_PLACES):
                one.key(*place, create=True)
            assert [tuple(place) for place in other.live()] == sorted(_PLACES)

    def test_a_destroyed_key_is_given_to_nobody_and_never_made_again(self, new_keyring: NewKeyring) -> None:
        with _several(new_keyring, 2) as (one, other):
            keys = [one.key(*place, create=True) for place in _PLACES]
            for place in _PLACES:
                other.key(*place, create=False)  # which may remember it
            assert one.destroy(*_PLACES[0])
            assert not other.destroy(*_PLACES[0])
            for ring in (one, other):
                self._within_lag(partial(_is_destroyed, ring, _PLACES[0]))
                assert [tuple(place) for place in ring.live()] == sorted(_PLACES[1:])
                assert set(ring.destroyed()) == {_PLACES[0]}
                assert all(isinstance(where, str) and where for where in ring.destroyed().values())
                stay = [ring.key(*place, create=False) for place in _PLACES[1:]]
                assert stay == keys[1:], "with one key another one changed, and what it sealed is lost"
        with _several(new_keyring, 1) as (later,), pytest.raises(KeyDestroyed):
            later.key(*_PLACES[0], create=True)

    def test_whoever_remembers_keys_sees_that_something_changed(self, new_keyring: NewKeyring) -> None:
        with _several(new_keyring, 2) as (one, other):
            seen = [other.generation]
            for change in (lambda: one.key(*_PLACES[0], create=True), lambda: one.destroy(*_PLACES[0])):
                change()
                self._within_lag(lambda: other.generation != seen[-1])
                seen.append(other.generation)
            assert seen[0] != seen[1] != seen[2], "a worker would go on with a key that another one has destroyed"
            assert other.generation == seen[2], "it differs though nothing happened: nobody could remember anything"

    def test_all_who_make_a_key_at_once_get_the_same(self, new_keyring: NewKeyring) -> None:
        with _several(new_keyring, _AT_ONCE) as rings:
            for place in _PLACES:
                keys = _at_once(rings, partial(_new_key, place))
                assert len(set(keys)) == 1
            assert [tuple(place) for place in rings[0].live()] == sorted(_PLACES)

    def test_one_of_many_destroys_a_key(self, new_keyring: NewKeyring) -> None:
        with _several(new_keyring, _AT_ONCE) as rings:
            rings[0].key(*_PLACES[0], create=True)
            assert sum(_at_once(rings, lambda ring: ring.destroy(*_PLACES[0]))) == 1

    def test_closing_twice_is_harmless_and_keys_stay(self, new_keyring: NewKeyring) -> None:
        ring = new_keyring()
        key = ring.key(*_PLACES[0], create=True)
        ring.close()
        ring.close()
        with _several(new_keyring, 1) as (later,):
            assert later.key(*_PLACES[0], create=False) == key

    def test_what_was_done_survives_sigkill(self, new_keyring: NewKeyring) -> None:
        context = processes()
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_make_and_destroy, args=(WithEnvironment(new_keyring), theirs))
        process.start()
        theirs.close()
        key = ours.recv()
        process.kill()
        process.join()
        with _several(new_keyring, 1) as (ring,):
            assert ring.key(*_PLACES[0], create=False) == key
            with pytest.raises(KeyDestroyed):
                ring.key(*_PLACES[1], create=True)

    def _within_lag(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so, but no longer than another process may lag behind."""
        until = time.monotonic() + self.lag_seconds
        while not is_so():
            assert time.monotonic() < until, "a worker goes on with what it remembers"
            time.sleep(_AGAIN_SECONDS)


def _new_key(place: tuple[int, str], ring: Keyring) -> bytes:
    return ring.key(*place, create=True)


def _is_destroyed(ring: Keyring, place: tuple[int, str]) -> bool:
    """Whether neither is a key given nor made."""
    for create in (False, True):
        try:
            ring.key(*place, create=create)
        except KeyDestroyed:
            continue
        return False
    return True


@contextmanager
def _several(new_keyring: NewKeyring, number: int) -> Generator[list[Keyring]]:
    rings = [new_keyring() for _ in range(number)]
    try:
        yield rings
    finally:
        for ring in rings:
            ring.close()


def _at_once(rings: Sequence[Keyring], act: Callable[[Keyring], _T]) -> list[_T]:
    """Do something with each, in threads that all begin when the last is ready."""
    barrier = Barrier(len(rings))

    def run(ring: Keyring) -> _T:
        barrier.wait()
        return act(ring)

    with ThreadPoolExecutor(len(rings)) as threads:
        return list(threads.map(run, rings))


def _make_and_destroy(new_keyring: NewKeyring, report: Connection) -> None:
    ring = new_keyring()
    key = ring.key(*_PLACES[0], create=True)
    ring.key(*_PLACES[1], create=True)
    ring.destroy(*_PLACES[1])
    report.send(key)
    while True:
        ring.key(*_PLACES[0], create=False)
