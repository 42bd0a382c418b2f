"""The keys of days in a key service: one key of OpenBao's or Vault's transit engine for each day and purpose."""

from __future__ import annotations

import base64
import logging
import os
import re
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, Final, TypeVar
from weakref import finalize, ref

from consent_mw.crypto.archive_keys import AllKeys
from consent_mw.crypto.transit_client import Address, TransitClient
from consent_mw.exceptions import ConfigurationError, KeyDestroyed, KeyringUnreachable
from consent_mw.system import durable
from consent_mw.system.days import day_of, day_of_date, day_text, instant_of
from consent_mw.system.ownership import content

_log = logging.getLogger("consent_mw")

_T = TypeVar("_T")
_Place = tuple[int, str]

#: How often each process asks which keys there are: what another host destroyed is forgotten here that much later.
POLL_SECONDS: Final = 2.0
_ATTEMPTS: Final = 5
#: What the service signs with a place's key. The 32 bytes that come back are the key of that day.
_INPUT: Final = base64.b64encode(b"consent-mw key 1").decode()
_SIGNED: Final = re.compile(r"vault:v1:([A-Za-z0-9+/]{43}=)")
_NAME: Final = re.compile(r"(gone\.)?([0-9]{4}-[0-9]{2}-[0-9]{2})\.((?:[A-Za-z0-9]|_[0-9a-f]{2})+)")


def is_transit(url: str) -> bool:
    """Whether `url` names a key service."""
    return url.startswith("openbao:")


class TransitKeyring:
    """
    A `Keyring` over a cluster of OpenBao or Vault, which every host of a site may use.

    The key of a day is what the service signs with that day's transit key (HMAC-SHA256 of a fixed text, version 1). So
    nothing is kept anywhere else, and deleting the transit key ends it. A transit key "gone" beside it says that a
    place is destroyed, before the other one is deleted, so no host makes it again.

    **The path of a request** does not wait for the service. Keys are made a day ahead and remembered in memory. A
    thread of each process asks every two seconds which keys there are. Only a key that nobody asked for before is
    fetched while a request waits, once, at most two seconds for each member of the cluster; when the service is known
    to be away, it fails at once.

    **While the service is away** the keys of today and later days stay, so that sealing goes on. Those of past days
    are forgotten after a minute, because another host may have destroyed them.
    """

    def __init__(
        self,
        url: str,
        *,
        kept: Path | None = None,
        clock: Callable[[], int] = time.time_ns,
        patience_seconds: float = 60.0,
        remembered: timedelta = timedelta(days=400),
    ) -> None:
        """
        Args:
            url: `openbao://HOST:PORT,HOST:PORT/MOUNT?site=…&ca=…&token_file=…`.
            kept: A file that remembers the keyring's name, so that a host also starts while the service is away.
            clock: Returns nanoseconds since 1970.
            patience_seconds: After this long without the service, keys of past days are forgotten: another host may
                have destroyed them meanwhile.
            remembered: So long after its destruction a place can have no new key; then its mark in the service goes.

        Raises:
            ConfigurationError: The URL is wrong, or the service cannot be reached and `kept` does not exist yet.
        """
        self._address = Address.parse(url)
        self._client = TransitClient(self._address)
        finalize(self, self._client.close).atexit = False  # a command does not close its keyring
        self._clock = clock
        self._patience_seconds = patience_seconds
        self._remembered = remembered
        self._swept = -1  # the day on which old marks were looked for
        self._changing = Lock()
        self._generation = 0
        self._keys: dict[_Place, bytes] = {}
        self._live: frozenset[_Place] = frozenset()
        self._gone: frozenset[_Place] = frozenset()
        self._away = ""  # why the service did not answer the last time
        self._heard = time.monotonic()
        self._poller: tuple[int, Event] | None = None
        self.name: str = self._named(kept)

    @property
    def generation(self) -> int:
        """A number in memory, which changes when this process hears that a key was made or destroyed."""
        self._begin()
        return self._generation

    @property
    def at_hand(self) -> frozenset[_Place]:
        """The day and purpose of each key that this process has in memory."""
        return frozenset(self._keys)

    def key(self, day: int, purpose: str, *, create: bool) -> bytes:
        """Return a key; see `Keyring.key`. It is asked of the service once a process."""
        place = day, purpose
        key = self._keys.get(place)
        if key is None:
            self._begin()
            if place in self._gone:
                raise _destroyed(place)
            if self._away:
                raise KeyringUnreachable(self._away)
            key = self._watched(lambda: self._create(place) if create else self._read(place))
            self._learn(place, key)
        return key

    def live(self) -> list[_Place]:
        """Return the day and purpose of each key of the live store that exists, sorted."""
        return self.all_keys().of_log.live

    def all_keys(self) -> AllKeys:
        """Return the keys that exist, those of the archive too, and where those were that were destroyed."""
        self._watched(self._look)
        gone = {place: f"{self._address.mount}/{self._path(place)}" for place in self._gone}
        return AllKeys(sorted(self._live), gone)

    def destroy(self, day: int, purpose: str) -> bool:
        """
        Delete a key, and see that it is deleted; return whether there was one. Other processes forget it within two
        seconds, or where they cannot reach the service, as the class says. See `Keyring.destroy`.
        """
        place = day, purpose
        was_there = self._watched(lambda: self._deleted(place))
        with self._changing:
            self._keys.pop(place, None)
            self._live -= {place}
            if was_there:
                self._gone |= {place}
                self._generation += 1
        return was_there

    def destroyed(self) -> dict[_Place, str]:
        """Return the former name in the service of each destroyed key of the live store, by day and purpose."""
        return self.all_keys().of_log.destroyed

    def close(self) -> None:
        """Forget the keys, and end the connection and the thread. Keys stay in the service."""
        if self._poller is not None:
            self._poller[1].set()
        self._keys = {}
        self._client.close()

    # -- one place --------------------------------------------------------------------------------------------------

    def _create(self, place: _Place) -> bytes:
        path = self._path(place)
        self._refuse_gone(place)
        self._call("POST", path, {"type": "aes256-gcm96", "exportable": False, "allow_plaintext_backup": False})
        self._let_delete(path)
        # Look again: a host that destroys it makes that key before it deletes this one. What was made meanwhile seals
        # nothing, is listed as live, and ends like any other.
        self._refuse_gone(place)
        return self._read(place)

    def _refuse_gone(self, place: _Place) -> None:
        if self._client.call("GET", self._path(place, "gone.")).is_there:
            raise _destroyed(place)

    def _let_delete(self, path: str) -> bool:
        """Allow that a key is deleted, which is not so from the beginning; return whether there is such a key."""
        answer = self._client.call("GET", path)
        if answer.is_there and not answer.data.get("deletion_allowed"):
            self._call("POST", f"{path}/config", {"deletion_allowed": True})
        return answer.is_there

    def _read(self, place: _Place) -> bytes:
        answer = self._client.call(
            "POST", f"hmac/{self._key_name(place)}/sha2-256", {"input": _INPUT, "key_version": 1}
        )
        if not answer.is_there:
            raise _destroyed(place)
        return _signed(answer.data)

    def _deleted(self, place: _Place) -> bool:
        path = self._path(place)
        if not self._let_delete(path):
            return False
        self._call("POST", self._path(place, "gone."), {"exportable": False})
        was_there = False
        for _ in range(_ATTEMPTS):  # a host that was making one at the same time may have made it anew
            was_there = self._client.call("DELETE", path).is_there or was_there
            if not self._let_delete(path):
                return was_there
        raise KeyringUnreachable(f"{self._address}: {path} is still there after it was deleted; it is tried again")

    def _call(self, method: str, path: str, body: dict[str, object] | None = None) -> None:
        if not self._client.call(method, path, body).is_there:
            raise KeyringUnreachable(f"{self._address}: {path} vanished while it was made; it is tried again")

    def _path(self, place: _Place, mark: str = "") -> str:
        return f"keys/{self._key_name(place, mark)}"

    def _key_name(self, place: _Place, mark: str = "") -> str:
        purpose = re.sub(r"[^A-Za-z0-9]", lambda match: f"_{ord(match[0]):02x}", place[1])
        return f"{self._address.site}.{mark}{day_text(place[0])}.{purpose}"

    # -- all places -------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Ask which keys there are, and forget those that are not."""
        before, known = frozenset(self._keys), self._live  # what comes meanwhile is not in the answer
        prefix = f"{self._address.site}."
        names = [
            name.removeprefix(prefix)
            for name in self._client.call("GET", "keys?list=true").data.get("keys", ())
            if name.startswith(prefix)
        ]
        marks = [mark for name in names if (mark := _mark_of(name))]
        live = frozenset(place for is_gone, place in marks if not is_gone)
        gone = frozenset(place for is_gone, place in marks if is_gone)
        with self._changing:
            lost = before - live - gone
            live |= self._live - known
            changed = (live, gone - live) != (self._live, self._gone)
            self._live, self._gone = live, gone - live
            self._keys = {place: key for place, key in self._keys.items() if place in live - gone}
            self._generation += changed
        if lost:
            _log.error(
                "%s: %d keys vanished that nobody destroyed, such as %s: the service was restored from a snapshot, or "
                "somebody deleted them; what they sealed cannot be read any more",
                self._address, len(lost), self._path(min(lost)),
            )  # fmt: skip

    def _learn(self, place: _Place, key: bytes) -> None:
        with self._changing:
            self._keys[place] = key
            if place not in self._live:
                self._live |= {place}
                self._generation += 1

    def _fetch_coming(self) -> None:
        """Fetch the keys of today and later days that other processes made, before a request needs them."""
        today = day_of(instant_of(self._clock()))
        for place in sorted(place for place in self._live if place[0] >= today and place not in self._keys):
            self._learn(place, self._read(place))

    def _sweep(self) -> None:
        """Delete each "gone" so old that no host can be so late, once a day, by the clock of the service."""
        now = self._client.now
        if now is None or day_of(now) == self._swept:
            return
        last = day_of(now - self._remembered)
        for place in sorted(place for place in self._gone if place[0] <= last):
            path = self._path(place, "gone.")
            since = self._client.call("GET", path).data.get("keys", {}).get("1")
            if isinstance(since, int) and since <= (now - self._remembered).timestamp() and self._let_delete(path):
                self._client.call("DELETE", path)
        self._swept = day_of(now)

    # -- the service, there or away -----------------------------------------------------------------------------------

    def _watched(self, ask: Callable[[], _T]) -> _T:
        try:
            seen = ask()
        except KeyringUnreachable as error:
            if not self._away:
                _log.error("keys cannot be reached, and it is tried again: %s", error)
            self._away = str(error)
            raise
        if self._away:
            _log.warning("%s: keys can be reached again", self._address)
            self._away = ""
        self._heard = time.monotonic()
        return seen

    def poll(self) -> None:
        """Ask which keys there are, and fetch the coming ones. Never raises; the thread calls it."""
        try:
            self._watched(self._look)
            self._watched(self._fetch_coming)
            self._watched(self._sweep)
        except (KeyringUnreachable, KeyDestroyed):
            if time.monotonic() - self._heard > self._patience_seconds:
                self._forget_past()

    def _forget_past(self) -> None:
        today = day_of(instant_of(self._clock()))
        with self._changing:
            if past := [place for place in self._keys if place[0] < today]:
                for place in past:
                    del self._keys[place]
                self._generation += 1

    def _begin(self) -> None:
        """Have a thread of this process poll; a fork took none along."""
        if self._poller is not None and self._poller[0] == os.getpid():
            return
        if self._poller is not None:  # a thread of the parent may hold it
            self._changing = Lock()
        with self._changing:
            if self._poller is None or self._poller[0] != os.getpid():
                self._poller = os.getpid(), Event()
                Thread(target=_poll_on, args=(ref(self), self._poller[1]), name="keyring", daemon=True).start()

    # -- its name -----------------------------------------------------------------------------------------------------

    def _named(self, kept: Path | None) -> str:
        """Return the name, which is made from a key in the service: another service has another name."""
        try:
            path = f"keys/{self._address.site}.id"
            self._call("POST", path, {"exportable": False})
            answer = self._client.call(
                "POST", f"hmac/{self._address.site}.id/sha2-256", {"input": _INPUT, "key_version": 1}
            )
            name = f"openbao-{_signed(answer.data)[:8].hex()}"
        except KeyringUnreachable as error:
            if kept is not None and kept.exists():
                self._away = str(error)
                _log.error("keys cannot be reached, and it is tried again: %s", error)
                return content(kept).decode("ascii").strip()
            self._client.close()
            raise ConfigurationError(f"{error}. It has to answer when a host starts for the first time") from error
        _log.warning(
            "%s holds the keys: a snapshot of it, or a copy of its disks, brings back keys that were destroyed since; "
            "keep none for longer than 24 hours",
            self._address,
        )
        if kept is not None and not kept.exists():
            durable.keep(kept, f"{name}\n".encode())  # the workers of a site begin at once
        return name


def _poll_on(keyring: ref[TransitKeyring], end: Event) -> None:
    # Its own thread, which must not keep it alive.
    while not end.wait(POLL_SECONDS) and (at_work := keyring()) is not None:
        at_work.poll()
        if end.is_set():
            at_work.close()  # closed while it was asking
        del at_work


def _mark_of(name: str) -> tuple[bool, _Place] | None:
    """Return whether a key's name says that a place is destroyed, and the place; None if we did not give that name."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    try:
        day = day_of_date(date.fromisoformat(match[2]))
    except ValueError:
        return None
    purpose = re.sub(r"_([0-9a-f]{2})", lambda code: chr(int(code[1], 16)), match[3])
    return match[1] is not None, (day, purpose)


def _signed(data: Any) -> bytes:
    match = _SIGNED.fullmatch(str(data.get("hmac", "")))
    if match is None:
        raise KeyringUnreachable("the key service answered something else than a signature of version 1; see its log")
    return base64.b64decode(match[1])


def _destroyed(place: _Place) -> KeyDestroyed:
    return KeyDestroyed(
        f'there is no key for purpose "{place[1]}" on {day_text(place[0])}: it was destroyed, or never made'
    )
