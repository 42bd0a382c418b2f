"""The contract of a keyring as tests: a keyring's whole test is a subclass of `KeyringSuite` and one fixture."""
# ruff: noqa: S101 - a suite asserts, as every test does

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from threading import Barrier
from typing import Any, ClassVar, Final, TypeAlias, TypeVar

import pytest

from consent_mw.crypto.keyring import LONGEST_NAME, Keyring, fits
from consent_mw.exceptions import KeyDestroyed, StoreError
from consent_mw.testing.crash_points import WithEnvironment, process_of, processes
from consent_mw.testing.keyring_faults import KEYRING_ACTS, attempt, ended, obey

__all__ = ["KeyringSuite", "NewKeyring"]

#: Makes a keyring; each time one of the same place.
NewKeyring: TypeAlias = Callable[[], Keyring]

_T = TypeVar("_T")

_DAY: Final = 20_780
_KEY_BYTES: Final = 32
#: Two days, a part of a day, and the longest name that a keyring is given.
_PLACES: Final = ((_DAY, "marketing"), (_DAY + 1, "marketing"), (_DAY, "marketing 15:00-24:00"), (_DAY, "p" * 44))
#: Names that begin alike, over days that lie beside each other: what is done to one key is done to no other.
_MANY: Final = tuple(
    (day, purpose)
    for day in (0, 1, _DAY, _DAY + 1, _DAY + 365)
    for purpose in ("m", "market", "marketing", "marketing 00:00-15:00", "marketing 15:00-24:00", "Marketing", "p" * 44)
)
_AT_ONCE: Final = 8
_READS: Final = 200
#: A request reads the generation, and a page is made in a few hundred microseconds.
_LONGEST_READ_SECONDS: Final = 0.000_1
_AGAIN_SECONDS: Final = 0.05


class KeyringSuite:
    """
    What every keyring keeps. A subclass, whose name starts with `Test`, has the fixture `new_keyring`: a callable
    without arguments that returns a keyring. All that it returns within one test share their keys, as the processes of
    a site do; the place is empty when a test starts. The callable crosses into another process, so it can be pickled:
    `functools.partial` of the keyring's class can, a lambda cannot.

    The fixture `break_it` is wanted too: a callable that lets the place of the keys fail under a keyring in use.
    Without it the test that needs it is skipped.

    Attributes:
        lag_seconds: How long another process may go on with what it remembers after a key was made or destroyed. For
            keys in a service that is how often it asks.

    What it cannot see: that a destroyed key is on no disk, in no backup, and in no log of a database.
    """

    lag_seconds: float = 0.0
    _earlier: ClassVar[dict[type, set[bytes]]] = {}

    @pytest.fixture
    def new_keyring(self) -> NewKeyring:
        """Return a callable that makes a keyring."""
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `new_keyring`: see docs/keys.md")

    @pytest.fixture
    def break_it(self) -> Callable[[], object]:
        """Return a callable that lets the place of the keys fail: the service is stopped, the file moved away."""
        pytest.skip(
            "without a fixture `break_it` it is not tested that a keyring raises when its place fails; see docs/keys.md"
        )

    def test_it_has_one_name_that_fits_into_a_record(self, new_keyring: NewKeyring) -> None:
        with _several(new_keyring, 2) as (one, other):
            one.key(*_PLACES[0], create=True)
            before = one.name
            one.destroy(*_PLACES[0])
            assert before == one.name == other.name
            assert fits(one.name), f"{one.name!r} must have 1 to {LONGEST_NAME} bytes, without control characters"
        with _several(new_keyring, 1) as (later,):
            assert later.name == before, "what was sealed before counts as sealed by another keyring"

    @pytest.mark.parametrize("place", ["one", "another"])
    def test_no_key_can_be_worked_out(self, new_keyring: NewKeyring, place: str) -> None:
        """The place is empty when a test starts: keys that follow from days and purposes are the same again."""
        with _several(new_keyring, 1) as (ring,):
            keys = {ring.key(*where, create=True) for where in _PLACES}
        earlier = self._earlier.setdefault(type(self), set())
        assert not keys & earlier, "another place has the same keys: take them from os.urandom"
        earlier |= keys

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
        with _several(new_keyring, 1) as (later,):
            assert _is_destroyed(later, _PLACES[0])
            assert not later.destroy(*_PLACES[0])
            assert set(later.destroyed()) == {_PLACES[0]}
            assert [later.key(*place, create=True) for place in _PLACES[1:]] == keys[1:]

    def test_one_key_is_destroyed_and_no_other(self, new_keyring: NewKeyring) -> None:
        with _several(new_keyring, 2) as (one, other):
            keys = {place: one.key(*place, create=True) for place in _MANY}
            assert len(set(keys.values())) == len(keys)
            for place in _MANY[::3]:
                assert one.destroy(*place)
                del keys[place]
                self._within_lag(partial(_is_destroyed, other, place))
                assert other.live() == sorted(keys)
            assert set(other.destroyed()) == set(_MANY[::3])
            assert {place: other.key(*place, create=False) for place in keys} == keys

    def test_another_process_has_the_same_keys_and_no_destroyed_one(self, new_keyring: NewKeyring) -> None:
        with process_of(obey, WithEnvironment(new_keyring)) as ask, _several(new_keyring, 1) as (ring,):

            def there(act: str, place: tuple[int, str]) -> Any:
                ask.send((act, place))
                return ask.recv()

            ours = ring.key(*_PLACES[0], create=True)
            assert there("make", _PLACES[0]) == ours, "two processes have two keys of one day: half cannot be opened"
            theirs = there("make", _PLACES[1])
            assert ring.key(*_PLACES[1], create=True) == theirs
            before = there("generation", _PLACES[0])
            assert ring.destroy(*_PLACES[0])
            self._within_lag(lambda: there("generation", _PLACES[0]) != before)
            for act in ("get", "make"):
                self._within_lag(partial(_answers, there, act, _PLACES[0], "KeyDestroyed"))
            assert there("live", _PLACES[0]) == [_PLACES[1]]
            assert there("destroyed", _PLACES[0]) == [_PLACES[0]]
            assert there("destroy", _PLACES[1]) is True
            self._within_lag(partial(_is_destroyed, ring, _PLACES[1]))
        with process_of(obey, WithEnvironment(new_keyring)) as ask:
            for act, place, expected in (
                ("get", _PLACES[0], "KeyDestroyed"),
                ("make", _PLACES[1], "KeyDestroyed"),
                ("live", _PLACES[0], []),
                ("destroyed", _PLACES[0], sorted(_PLACES[:2])),
            ):
                ask.send((act, place))
                assert ask.recv() == expected, f"{act}, in a process that began after all was destroyed"

    def test_no_key_is_given_once_its_destruction_returned(self, new_keyring: NewKeyring) -> None:
        late: list[bytes] = []
        gone, stop = threading.Event(), threading.Event()

        def ask(ring: Keyring) -> None:
            while not stop.is_set():
                was_gone = gone.is_set()
                with suppress(KeyDestroyed):
                    key = ring.key(*_PLACES[0], create=True)
                    late.extend([key] if was_gone else [])

        with _several(new_keyring, 4) as rings:
            rings[0].key(*_PLACES[0], create=True)
            threads = [threading.Thread(target=ask, args=(ring,)) for ring in rings[1:]]
            for thread in threads:
                thread.start()
            try:
                assert rings[0].destroy(*_PLACES[0])
                for ring in rings:
                    self._within_lag(partial(_is_destroyed, ring, _PLACES[0]))
                gone.set()
                assert all(_is_destroyed(ring, _PLACES[0]) for ring in rings for _ in range(_READS))
            finally:
                stop.set()
                for thread in threads:
                    thread.join()
        assert not late

    def test_whoever_remembers_keys_sees_that_something_changed(self, new_keyring: NewKeyring) -> None:
        with _several(new_keyring, 2) as (one, other):
            seen = [other.generation]
            for change in (lambda: one.key(*_PLACES[0], create=True), lambda: one.destroy(*_PLACES[0])):
                change()
                self._within_lag(lambda: other.generation != seen[-1])
                seen.append(other.generation)
            assert len(set(seen)) == len(seen), "a worker would go on with a key that another one has destroyed"
            assert other.generation == seen[2], "it differs though nothing happened: nobody could remember anything"

    def test_the_generation_costs_a_request_nothing(self, new_keyring: NewKeyring) -> None:
        with _several(new_keyring, 1) as (ring,):
            ring.key(*_PLACES[0], create=True)
            quickest = min(_seconds_of(lambda: ring.generation) for _ in range(_READS))
        assert quickest < _LONGEST_READ_SECONDS, f"reading it takes {quickest:.6f} s: keep it in memory"

    @pytest.mark.parametrize("fault", ["no room", "cut off"])
    @pytest.mark.parametrize("act", KEYRING_ACTS)
    def test_what_the_system_refuses_is_an_error_and_no_answer(
        self, new_keyring: NewKeyring, act: str, fault: str
    ) -> None:
        with _several(new_keyring, 1) as (ring,):
            keys = {place: ring.key(*place, create=True) for place in _PLACES[:2]}
            ring.destroy(*_PLACES[1])
            with process_of(attempt, WithEnvironment(new_keyring), act, fault, _PLACES) as calls:
                assert calls.recv() is None
                keys[_PLACES[2]] = ring.key(*_PLACES[2], create=True)  # so that what it remembers is not all
                calls.send(None)
                error, is_ours, result = calls.recv()
        assert is_ours, f"{act}: {error} reached the caller; raise StoreError from it"
        with _several(new_keyring, 1) as (ring,):
            if act == "destroy":
                assert error or _is_destroyed(ring, _PLACES[0]), "destroy returned, and the key is still there"
                return
            assert ring.key(*_PLACES[0], create=False) == keys[_PLACES[0]]
            expected = {
                "get": keys[_PLACES[2]], "live": sorted((_PLACES[0], _PLACES[2])), "destroyed": [_PLACES[1]],
            }  # fmt: skip
            if not error:
                assert result == (expected[act] if act in expected else ring.key(*_PLACES[3], create=False))

    def test_a_place_that_fails_is_an_error_and_no_answer(
        self, new_keyring: NewKeyring, break_it: Callable[[], object]
    ) -> None:
        with _several(new_keyring, 1) as (ring,):
            ring.key(*_PLACES[0], create=True)
            break_it()
            for act, place in (("make", _PLACES[1]), ("destroy", _PLACES[0])):
                error, is_ours, result = ended(partial(KEYRING_ACTS[act], ring, place))
                assert error, f"{act} returned {result!r} of a place that fails"
                assert is_ours, f"{act}: {error} reached the caller; raise StoreError from it"
            with suppress(StoreError):
                ring.close()

    def test_a_closed_keyring_holds_neither_files_nor_threads(self, new_keyring: NewKeyring) -> None:
        held: list[int] = []
        for _ in range(12):
            with _several(new_keyring, 1) as (ring,):
                ring.key(*_PLACES[0], create=True)
                _ = ring.generation
            del ring
            gc.collect()
            held.append(len(os.listdir("/dev/fd")) + threading.active_count())
        assert held[-1] < held[1] + 8, f"each keyring that was closed left something open: {held}"

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


def _answers(ask: Callable[[str, tuple[int, str]], Any], act: str, place: tuple[int, str], expected: object) -> bool:
    return bool(ask(act, place) == expected)


def _seconds_of(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


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
