"""Seal the personal part of a record before it reaches a disk, open it again, and make tokens that die with a key."""

from __future__ import annotations

import os
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from hashlib import blake2b
from typing import Final, TypeAlias
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from consent_mw.crypto.day_parts import WHOLE, Calendar, Span, label_of, of_label
from consent_mw.crypto.keyring import FileKeyring, Keyring, MemoryKeyring, keys_of, rings_of
from consent_mw.crypto.site_keys import MARK_BYTES, SiteKeys
from consent_mw.exceptions import (
    ConfigurationError,
    ConsentError,
    KeyDestroyed,
    RecordDamaged,
    SchemaError,
    StoreError,
)
from consent_mw.kinds import KINDS
from consent_mw.paths import Places
from consent_mw.policy.model import Policy
from consent_mw.policy.revisions import Revisions
from consent_mw.records import Record, Scalar, id_of
from consent_mw.system.bounded_cache import remember
from consent_mw.system.days import DAY_MILLISECONDS, QUARTER_SECONDS, QUARTERS

# What a record holds as sealed: version (1 byte), mark (20), and the sealed blob, if it has personal fields.
_MARKED: Final = b"\x03"
_MARK: Final = slice(1, 1 + MARK_BYTES)
_BLOB: Final = slice(1 + MARK_BYTES, None)
# A sealed blob: version (1 byte), the part of the day (2), stream id (16), nonce (12), ciphertext, tag (16).
_VERSION = 3
_HEAD = bytes([_VERSION])
_PLAIN = b"\0"  # instead of the version: nothing is sealed
_SPAN = slice(1, 3)
_STREAM = slice(3, 19)
_NONCE = slice(19, 31)
_TEXT = slice(31, None)
_LEAST_BYTES = 31 + 16
NONCE_BYTES: Final = 12  # NIST SP 800-38D, section 8.2.2: random ones are for at most 2**32 messages under a key

# BLAKE2b's personalisation keeps the uses of a day's key apart.
_SEAL = b"consent-mw seal"
_TOKEN = b"consent-mw token"
_TOKEN_SECRET = b"consent-mw names"

_QUARTER_MILLISECONDS = QUARTER_SECONDS * 1_000
_MILLISECONDS = slice(0, 6)  # of an id
# Of the hours and purposes that are met at a time, which are few, what is made of their keys is remembered.
_REMEMBERED = 64
# A sign-in is searched under the keys of every day: some 2,000 secrets, 0.4 MB, for two purposes of three years.
_REMEMBERED_SECRETS = 4_096

#: What the blobs of one purpose begin with in a part of a day, before their nonce; and what encrypts.
Cipher: TypeAlias = tuple[bytes, AESGCM]

_forks = 0


def _count_fork() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_count_fork)


class _Stream:
    """
    A random id, and the ciphers under keys made from it: each process has keys of its own for a part of a day and a
    purpose. They are found by the quarter hour (since 1970) of what is sealed, with what their blobs begin with.
    """

    __slots__ = ("ciphers", "forks", "generation", "id")

    def __init__(self, generation: int) -> None:
        self.forks = _forks
        self.generation = generation
        self.id = os.urandom(16)
        self.ciphers: dict[int, dict[str, Cipher]] = {}


class _Remembered:
    """What takes longer to make of keys than to use: their days, ciphers that open, and the secrets of tokens."""

    __slots__ = ("days", "generation", "openers", "secrets")

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self.days: Mapping[str, Sequence[int]] | None = None
        self.openers: dict[tuple[int, str, bytes], AESGCM] = {}
        self.secrets: dict[tuple[int, str], tuple[bytes, ...]] = {}


class Sealer:
    """
    What the request path uses of a keyring. Safe to share between threads, and to inherit over a fork.

    Each process, and each child after a fork, seals under keys derived from a day's key and a random id of its own,
    with a fresh nonce from the operating system for each. So no nonce is used twice under one key, even if a running
    process is copied (the snapshot of a virtual machine). When any process makes or destroys a key, the keys cached
    here are dropped before the next use.

    Every record carries a signature of the site's keys over its whole content: id, kind, purpose, subject, keyring,
    clear fields and sealed ones. A record with a wrong signature is rejected wherever it is read.

    The day and its part come from the record's id, by the calendar of the policies (`follow`). A sealed blob names its
    part, so it opens even after the calendar changes. Tokens are made from the key of the whole day. When the clock
    steps back, a record is sealed under the key of the past hours, which is made if it is missing. If that key was
    destroyed, sealing raises KeyDestroyed and the record must be dropped: otherwise it would outlive the promised end
    of its day.
    """

    @classmethod
    def of_site(cls, places: Places, keyring: Keyring | None = None, policy: Policy | None = None) -> Sealer:
        """
        Return what seals and opens the records of the site at `places`: with its key file, or another keyring, and by
        the calendar of its published revisions.

        Args:
            policy: What the site works by; see `Revisions.course`.

        Raises:
            ConfigurationError: Its keys cannot be used, or the kept revisions not be read.
        """
        sealer = cls(keyring or FileKeyring(places.keys), SiteKeys.kept(places.site_keys))
        sealer.follow(Revisions(places.revisions).course(policy).published)
        return sealer

    @classmethod
    def without_keys(cls, site_keys: SiteKeys) -> Sealer:
        """Return what checks records and opens none, for who has no key at hand."""
        return cls(MemoryKeyring(), site_keys)

    def __init__(self, keyring: Keyring, site_keys: SiteKeys) -> None:
        self.keyring = keyring
        self.rings: frozenset[str] = rings_of(keyring)
        self.site_keys = site_keys
        self._calendar = Calendar()
        self._stream = _Stream(keyring.generation)
        self._remembered = _Remembered(keyring.generation)

    def follow(self, policies: Iterable[Policy]) -> None:
        """Seal by the calendar of these published policies from now on. Until then a key is for a whole day."""
        self._calendar = Calendar(policies)
        self._stream = _Stream(self.keyring.generation)

    def record(
        self,
        record_id: UUID,
        kind: str,
        purpose: str,
        *,
        subject: bytes | None = None,
        data: Mapping[str, Scalar] | None = None,
        plain: bytes | None = None,
    ) -> Record:
        """
        Return a signed record with this content, and with `plain` sealed; without `plain` nothing is sealed.

        Raises:
            KeyDestroyed: The key of those hours and that purpose is destroyed.
            ConfigurationError: This process has no site keys.
            StoreError: The keyring cannot be reached.
        """
        return self.record_bytes(record_id.bytes, _day(record_id), kind, purpose, subject, data or {}, plain)

    def record_bytes(
        self,
        id_bytes: bytes,
        day: int,
        kind: str,
        purpose: str,
        subject: bytes | None,
        data: Mapping[str, Scalar],
        plain: bytes | None,
        nonce: bytes | None = None,
        head: msgspec.Raw | None = None,
    ) -> Record:
        """
        As `record`, for callers that have the id as 16 bytes and its day.

        Raises besides:
            ValueError: The kind is unknown.

        Args:
            nonce: As for `seal_bytes`; records of several purposes may share one, since their keys differ.
            head: The result of `encoded` for `data`, for callers with several records of the same content.
        """
        if kind not in KINDS:
            raise ValueError(
                f'"{kind}" is no kind of record: give it a row in consent_mw.kinds, which says when it ends'
            )
        ring, blob = "", b""
        if plain is not None:
            ring = self.keyring.name
            nonce = nonce or _urandom(NONCE_BYTES)
            blob = self.seal_bytes(id_bytes, day, purpose, names_of(kind, purpose), plain, nonce)
        mark = self.site_keys.mark(_message((id_bytes, kind, purpose, subject, ring, head or data, blob)))
        return Record(id_of(id_bytes), kind, purpose, subject, ring, data, _MARKED + mark + blob)

    def statement(
        self, record_id: UUID, kind: str, purpose: str, stated: bytes, subject: bytes | None = None
    ) -> Record:
        """Return a signed record with `stated` in the clear. Raises ConfigurationError as `record`."""
        mark = self.site_keys.mark(_message((record_id.bytes, kind, purpose, subject, "", _NOTHING, stated)))
        return Record(record_id, kind, purpose, subject, "", {}, _MARKED + mark + stated)

    def stated(self, record: Record) -> bytes:
        """Return what a statement says. Whether it is one of this site tells `is_whole`."""
        return record.sealed[_BLOB]

    def seal_bytes(self, id_bytes: bytes, day: int, purpose: str, names: bytes, plain: bytes, nonce: bytes) -> bytes:
        """
        Return `plain` sealed for this id (16 bytes), kind and purpose, and for no other. 47 bytes longer.

        Args:
            day: Of the id.
            names: What `names_of` returns.
            nonce: 12 bytes that the operating system has just made, for this alone.

        Raises:
            KeyDestroyed: The key of those hours and that purpose is gone.
            StoreError: The keyring cannot be reached.
        """
        quarter = _number(id_bytes[_MILLISECONDS]) // _QUARTER_MILLISECONDS
        ready = self.ready(quarter)
        head, cipher = ready.get(purpose) or self._cipher(ready, quarter, day, purpose)
        return head + nonce + cipher.encrypt(nonce, plain, id_bytes + names)

    def ready(self, quarter: int) -> dict[str, Cipher]:
        """
        Return what seals in a quarter hour (since 1970), by purpose, as far as it is at hand: `seal_bytes` for who has
        several purposes and no time. Each gives what a blob begins with, before its nonce, and the cipher.
        """
        stream = self._stream
        if stream.forks != _forks or stream.generation != self.keyring.generation:
            stream = self._stream = _Stream(self.keyring.generation)
        ready = stream.ciphers.get(quarter)
        if ready is None:
            ready = dict[str, Cipher]()
            remember(stream.ciphers, quarter, ready, _REMEMBERED)
        return ready

    def prepare(self, days: Iterable[int], purposes: Iterable[str], *, with_tokens: Container[str] = ()) -> None:
        """
        Make the keys that will be needed, so that no request waits for the disk to make one (5 ms). Call it from a
        thread.

        A destroyed key, or an unusable key file, is left for `seal` to report.

        Args: As for `needed`.
        """
        for day, label in self.needed(days, purposes, with_tokens=with_tokens):
            with suppress(KeyDestroyed, StoreError):
                self.keyring.key(day, label, create=True)

    def needed(
        self, days: Iterable[int], purposes: Iterable[str], *, with_tokens: Container[str] = ()
    ) -> Iterator[tuple[int, str]]:
        """
        Yield the day and the label of each key that records of these days and purposes need.

        Args:
            with_tokens: Of these purposes tokens are made too.
        """
        names = list(purposes)
        for day in days:
            spans = self._calendar.spans(day)
            for purpose in names:
                for span in dict.fromkeys((*spans, WHOLE)) if purpose in with_tokens else spans:
                    yield day, label_of(purpose, span)

    def check(self, record: Record) -> None:
        """
        See that `record` is as this site wrote it. That takes no key of its day, so also a record that nobody can open
        any more can be checked, and one that another host sealed.

        Raises:
            RecordDamaged: It was changed since, or somebody else wrote it.
        """
        if not self.is_whole(record):
            raise RecordDamaged(f"record {record.id}: was changed since it was written, or not written by this site")

    def is_whole(self, record: Record) -> bool:
        """Whether `record` is as this site wrote it; see `check`."""
        sealed = record.sealed
        if sealed[:1] != _MARKED:
            return False
        said = (record.id.bytes, record.kind, record.purpose, record.subject, record.ring, record.data, sealed[_BLOB])
        try:
            message = _message(said)
        except (TypeError, ValueError, OverflowError):  # what no record can hold: a store gave back something else
            return False
        return self.site_keys.vouches(sealed[_MARK], message)

    def whole(self, records: Iterable[Record]) -> list[Record]:
        """Return those of `records` that are as this site wrote them. May take a while: call it in a thread."""
        return [record for record in records if self.is_whole(record)]

    def open(self, record: Record) -> bytes:
        """
        Return what was sealed in `record`; nothing where it names no keyring.

        Raises:
            RecordDamaged: It was changed since it was written, or somebody else wrote it.
            KeyDestroyed: Its key is gone.
            ConfigurationError: Another keyring sealed it.
            SchemaError: A newer version sealed it.
            StoreError: The keyring cannot be reached.
        """
        self.check(record)
        if not record.ring:
            return b""
        names = names_of(record.kind, record.purpose)
        blob = record.sealed[_BLOB]
        return self.open_bytes(record.id.bytes, _day(record.id), record.purpose, names, record.ring, blob)

    def open_bytes(self, id_bytes: bytes, day: int, purpose: str, names: bytes, ring: str, sealed: bytes) -> bytes:
        """As `open`, for a blob that is not a record yet and has no signature; its parts are those of `seal_bytes`."""
        if len(sealed) < _LEAST_BYTES or sealed[0] != _VERSION:
            raise self._cannot_open(id_bytes, ring, sealed)
        place = day, label_of(purpose, Span(*sealed[_SPAN])), sealed[_STREAM]
        parts = sealed[_NONCE], sealed[_TEXT], id_bytes + names
        try:
            return self._opened(place, parts)
        except (KeyDestroyed, RecordDamaged) as error:
            if ring in self.rings:
                raise
            raise self._cannot_open(id_bytes, ring, sealed) from error

    def _opened(self, place: tuple[int, str, bytes], parts: tuple[bytes, bytes, bytes]) -> bytes:
        # Whatever the keyring is called: a host that goes over to a key service seals the days whose keys all hosts
        # have under these, and those that have not gone over yet open it.
        openers = self._current().openers
        try:
            return (openers.get(place) or self._opener(*place)).decrypt(*parts)
        except InvalidTag as error:
            return self._opened_by_another(place, parts, error)

    def _opened_by_another(
        self, place: tuple[int, str, bytes], parts: tuple[bytes, bytes, bytes], error: InvalidTag
    ) -> bytes:
        """Return what was sealed under another of the keys of its place. Raises RecordDamaged, and as `_opener`."""
        day, label, stream = place
        for key in keys_of(self.keyring, day, label)[1:]:
            cipher = AESGCM(_derived(key, stream))
            with suppress(InvalidTag):
                plain = cipher.decrypt(*parts)
                remember(self._current().openers, place, cipher, _REMEMBERED)
                return plain
        record_id = UUID(bytes=parts[2][:16])
        raise RecordDamaged(f"record {record_id}: changed since it was sealed, or sealed for another record") from error

    def span_of(self, record: Record) -> Span:
        """Return the part of its day whose key sealed `record`; of one that is not sealed, as the calendar cuts it."""
        blob = record.sealed[_BLOB]
        if record.ring and blob[:1] == _HEAD:
            return Span(*blob[_SPAN])
        quarter = (record.id.int >> 80) // _QUARTER_MILLISECONDS
        return self._calendar.at(_day(record.id), quarter % QUARTERS)

    def token(self, day: int, purpose: str, value: bytes) -> bytes:
        """
        Return a pseudonym (16 bytes) of `value` that holds for one day and purpose and dies with the key of all of it.

        Raises:
            KeyDestroyed: The key of that day and purpose is gone.
            StoreError: The keyring cannot be reached.
        """
        try:
            return token_of(self.token_secrets(day, purpose)[0], value)
        except KeyDestroyed:  # or there was none yet
            self.keyring.key(day, purpose, create=True)
            return token_of(self.token_secrets(day, purpose)[0], value)

    def token_secrets(self, day: int, purpose: str) -> tuple[bytes, ...]:
        """
        Return what the tokens of one day and purpose are made with (32 bytes each): the first makes new ones. There are
        others where several hosts could not agree in time. They open nothing that is sealed. Raises as `token`.
        """
        secrets = self._current().secrets
        secret = secrets.get((day, purpose))
        if secret is None:
            keys = keys_of(self.keyring, day, purpose)
            secret = tuple(blake2b(digest_size=32, key=key, person=_TOKEN_SECRET).digest() for key in keys)
            remember(secrets, (day, purpose), secret, _REMEMBERED_SECRETS)
        return secret

    def secrets_of(self, days: Iterable[int], purpose: str) -> Iterator[tuple[int, tuple[bytes, ...]]]:
        """Yield each of `days` whose key lives, with its `token_secrets`. Raises StoreError."""
        known = self._current().secrets
        for day in days:
            secret = known.get((day, purpose))
            if secret is None:
                try:
                    secret = self.token_secrets(day, purpose)
                except KeyDestroyed:
                    continue
            yield day, secret

    def days(self) -> Mapping[str, Sequence[int]]:
        """
        Return the days (since 1970, UTC) whose tokens can be made, by purpose, in order. They are listed again only
        when any process has made or destroyed a key. Raises as `token`.
        """
        remembered = self._current()
        if remembered.days is None:
            by_purpose: dict[str, list[int]] = {}
            for day, label in self.keyring.live():
                by_purpose.setdefault(label, []).append(day)
            remembered.days = {label: days for label, days in by_purpose.items() if of_label(label)[1] == WHOLE}
        return remembered.days

    def _cipher(self, ready: dict[str, Cipher], quarter: int, day: int, purpose: str) -> Cipher:
        stream = self._stream.id
        span = self._calendar.at(day, quarter % QUARTERS)
        cipher = AESGCM(_derived(self.keyring.key(day, label_of(purpose, span), create=True), stream))
        pair = bytes((_VERSION, *span)) + stream, cipher
        remember(ready, purpose, pair, _REMEMBERED)
        return pair

    def _opener(self, day: int, label: str, stream: bytes) -> AESGCM:
        """What one process sealed in a part of a day stands together. Raises KeyDestroyed and StoreError."""
        openers = self._current().openers
        cipher = AESGCM(_derived(self.keyring.key(day, label, create=False), stream))
        remember(openers, (day, label, stream), cipher, _REMEMBERED)
        return cipher

    def _current(self) -> _Remembered:
        """What is remembered, as long as no process made or destroyed a key."""
        remembered = self._remembered
        if remembered.generation != self.keyring.generation:
            # The number is read before any key: one that changes meanwhile is remembered under the number before it.
            remembered = self._remembered = _Remembered(self.keyring.generation)
        return remembered

    def _cannot_open(self, id_bytes: bytes, ring: str, sealed: bytes) -> ConsentError:
        record_id = UUID(bytes=id_bytes)
        if ring not in self.rings:
            return ConfigurationError(
                f"record {record_id}: sealed by keyring {ring}, not by {self.keyring.name}; open it there"
            )
        if len(sealed) < _LEAST_BYTES:
            return RecordDamaged(f"record {record_id}: {len(sealed)} sealed bytes are too few; some were cut off")
        return SchemaError(f"record {record_id}: sealed in format {sealed[0]}; upgrade consent-mw")


class PlainSealer(Sealer):
    """
    Seals nothing: for `seal = false`, so that a test can find on the disk what sealing hides. Never for visitors.

    What was sealed before can still be opened; what is written now outlives every key, and only this class reads it.
    """

    def seal_bytes(self, id_bytes: bytes, day: int, purpose: str, names: bytes, plain: bytes, nonce: bytes) -> bytes:
        """Return `plain` as it is, marked as such."""
        return _PLAIN + plain

    def ready(self, quarter: int) -> dict[str, Cipher]:
        """Nothing encrypts here."""
        return {}

    def open_bytes(self, id_bytes: bytes, day: int, purpose: str, names: bytes, ring: str, sealed: bytes) -> bytes:
        """As `Sealer.open_bytes`."""
        if sealed.startswith(_PLAIN):
            return sealed[1:]
        return super().open_bytes(id_bytes, day, purpose, names, ring, sealed)


_NOTHING: Final[Mapping[str, Scalar]] = {}
_urandom = os.urandom
_number = int.from_bytes
#: Makes what a mark is of. Stores keep no order among the clear fields, so they are sorted.
_message = msgspec.msgpack.Encoder(order="sorted").encode


def encoded(data: Mapping[str, Scalar]) -> msgspec.Raw:
    """Return clear fields as they go into a mark."""
    return msgspec.Raw(_message(data))


def token_of(secret: bytes, value: bytes) -> bytes:
    """Return the token (16 bytes) of `value` under the secret of a day and purpose."""
    return blake2b(value, digest_size=16, key=secret, person=_TOKEN).digest()


def tokens_under(secrets: Iterable[bytes], values: Collection[bytes]) -> frozenset[bytes]:
    """Return the tokens of `values` under each secret of a day and purpose."""
    return frozenset(
        [blake2b(value, digest_size=16, key=secret, person=_TOKEN).digest() for secret in secrets for value in values]
    )


def _day(record_id: UUID) -> int:
    return (record_id.int >> 80) // DAY_MILLISECONDS


def _derived(key: bytes, stream: bytes) -> bytes:
    return blake2b(stream, digest_size=32, key=key, person=_SEAL).digest()


@lru_cache(maxsize=256)
def names_of(kind: str, purpose: str) -> bytes:
    """Return what a seal is bound to beside the record's id: it opens for no other kind and purpose."""
    # The length tells where the kind ends, so that no other pair of names gives the same bytes.
    return f"{len(kind)}:{kind}{purpose}".encode()
