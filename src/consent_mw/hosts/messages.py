"""Messages between hosts, which travel through the store. The author signs them, the site marks them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from hashlib import blake2b
from typing import Final, NamedTuple, TypeAlias
from uuid import UUID

import msgspec

from consent_mw.crypto.sealer import Sealer
from consent_mw.hosts.identity import KEY_BYTES, SIGNATURE_BYTES, Identity, id_of_key, is_signed
from consent_mw.kinds import HOST, PUBLICATION, SHARING
from consent_mw.records import Query, Record, decode_record, fixed_id, new_id

#: The purpose of these records. No policy declares it, and it never ends by itself.
PURPOSE: Final = "hosts"
#: The shelf of audit chains, on which each host publishes its own alone.
AUDIT: Final = "audit"
# The subject of what every host has to hear. A beat carries its author's id: only the author looks for it all the time,
# and if every host read the beats of all, the work would grow with the square of their number. Where a host begins or
# ends, all of them hear it: an older beat that somebody puts back then counts for nothing.
_EVERY_HOST: Final = b"every host"
#: A longer part of a chain is published as several; one of so many lines replaces those whose lines are in it.
PART_LINES: Final = 200
#: No site has so many keys, nor a day so late (in the year 4707). A host that lies would fill the others' memory.
_MOST_DAYS: Final = 1_000_000
#: So many bytes of a label fit into a slot of a key file.
_LABEL_BYTES: Final = 80
#: The last second of that year, which every calendar knows, and more than any clock is off.
_MOST_SECONDS: Final = _MOST_DAYS * 86_400.0
_KINDS: Final = frozenset((HOST, SHARING, PUBLICATION))
_PURPOSES: Final = frozenset((PURPOSE,))
_SIGNED: Final = b"consent-mw host message 1"
_WRAP: Final = b"consent-mw wrap 1"
_DIGEST_BYTES: Final = 32


class Place(NamedTuple):
    """A day (since 1970, UTC), and the keyring's label for the key of one part of it."""

    day: int
    label: str


class Beat(msgspec.Struct, frozen=True, tag="beat", kw_only=True):
    """
    The state of a running host.

    Attributes:
        run: Random name of the run; see `Identity`.
        at: When the host wrote it, in seconds since 1970 by its own clock.
        oldest: Time of the oldest entry in its spool, in the same unit; None if the spool is empty.
        fault: What is wrong with its clock; empty if nothing is.
        ahead: By how many seconds its clock is ahead of the store's.
        unshared: Whether another host lacks keys that this one can open, or an archive that is on its disk.
        left: Whether this was the last message before the process ended.
        began: Whether the author knew of no beat of its own in the store.
        holds: The number of the author's latest `Holds`.
        is_aloud: Whether every host hears it although it is neither: a host is new.
        asks: Whether every host is to read everything: the author lacks something, or has put something back.
        ring: The name of the key service under whose keys the host seals; empty if it has its keys on its disk.
    """

    name: str
    version: str
    revision: int
    run: bytes
    at: float
    oldest: float | None = None
    fault: str = ""
    ahead: float = 0.0
    unshared: bool = False
    left: bool = False
    began: bool = False
    holds: int = 0
    is_aloud: bool = False
    asks: bool = False
    ring: str = ""

    @property
    def is_for_all(self) -> bool:
        """Whether every host hears it: the first and the last of a run, and one that says something new."""
        return self.began or self.left or self.is_aloud or self.asks


#: Days (since 1970), ascending, as the first of each run and how many follow on each other.
Runs: TypeAlias = list[tuple[int, int]]


def runs(days: Iterable[int]) -> Runs:
    """Return these days as runs."""
    joined: Runs = []
    for day in sorted(days):
        if joined and sum(joined[-1]) == day:
            joined[-1] = joined[-1][0], joined[-1][1] + 1
        else:
            joined.append((day, 1))
    return joined


class Holds(msgspec.Struct, frozen=True, tag="holds", kw_only=True):
    """
    Every place in which the author holds a key of its own. A host that lacks the author's other messages, because
    somebody took them out of the store, sees it by this one.

    Attributes:
        number: Counts the author's statements of this kind: the highest counts.
        places: For each label, the days.
        used: The same, of the places in which the author's own key may have sealed something.
    """

    number: int
    places: dict[str, Runs]
    used: dict[str, Runs]


class Again(msgspec.Struct, frozen=True, tag="again", kw_only=True):
    """
    A message that some host has and the store has not, because something else stands under its id.

    Attributes:
        record: The whole record, with the signatures of its own author.
    """

    record: bytes


class Pub(msgspec.Struct, frozen=True, tag="pub", kw_only=True):
    """
    The author's public parts for the places of a day, with the ids of its own keys. The author is a key holder there.

    Other hosts wrap keys for the author under these public parts.

    Attributes:
        name: The name of the author's machine.
        parts: For each label, the public part and the id of the author's key.
    """

    name: str
    day: int
    parts: dict[str, tuple[bytes, bytes]]


class Wraps(msgspec.Struct, frozen=True, tag="wraps", kw_only=True):
    """
    Wrapped keys of a day, for one host.

    Attributes:
        to: The id of that host.
        keys: For each key: the label, the id of the host that owns the key, and the wrap.
    """

    day: int
    to: bytes
    keys: list[tuple[str, bytes, bytes]]


class Chosen(msgspec.Struct, frozen=True, tag="chosen", kw_only=True):
    """
    The host whose key all hosts use in a place from now on.

    The id of its record is fixed by the place, so the first record in the store counts.
    """

    day: int
    label: str
    owner: bytes


class Confirm(msgspec.Struct, frozen=True, tag="confirm", kw_only=True):
    """The author has overwritten its part of a place. It had wrapped keys of it for the hosts in `shared`."""

    day: int
    label: str
    shared: list[bytes]


class Retired(msgspec.Struct, frozen=True, tag="retired", kw_only=True):
    """An operator declared that a host is gone for good."""

    host: bytes
    reason: str


class Published(msgspec.Struct, frozen=True, tag="published", kw_only=True):
    """
    A declaration that a host published, words that it showed to visitors, or what else every host keeps; see `Shelf`.

    Attributes:
        until_ns: From when on nobody needs it, in nanoseconds since 1970; 0 if that never comes.
    """

    shelf: str
    name: str
    text: str
    at_ns: int
    until_ns: int = 0


Body: TypeAlias = Beat | Pub | Wraps | Chosen | Confirm | Retired | Published | Holds | Again


class Message(NamedTuple):
    """The content of a verified record."""

    author: bytes
    body: Body
    record: Record


def places_of(body: Body) -> Iterator[Place]:
    """Yield the places that a message is about."""
    if isinstance(body, Pub):
        yield from (Place(body.day, label) for label in body.parts)
    elif isinstance(body, Wraps):
        yield from (Place(body.day, label) for label, _, _ in body.keys)
    elif isinstance(body, Chosen | Confirm):
        yield Place(body.day, body.label)


def days_of(joined: Runs) -> Iterator[int]:
    """Yield the days of these runs."""
    for first, length in joined:
        yield from range(first, first + length)


def later(beat: Beat, other: Beat | None) -> Beat:
    """Return the later of two beats of a host, by the store's clock: its own may have been set back."""
    return beat if other is None or beat.at - beat.ahead >= other.at - other.ahead else other


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Body).decode


def written(body: Body, author: Identity, sealer: Sealer, now_ns: int) -> Record:
    """Return the signed record that carries `body` from `author`."""
    record_id = chosen_id(Place(body.day, body.label)) if isinstance(body, Chosen) else new_id(now_ns)
    said = _encode(body)
    signature = author.signature(_signed(record_id, said))
    kind = HOST if isinstance(body, Beat | Retired) else PUBLICATION if isinstance(body, Published | Again) else SHARING
    is_usual = isinstance(body, Beat) and not body.is_for_all
    subject = author.id if is_usual else _EVERY_HOST
    return sealer.statement(record_id, kind, PURPOSE, author.key + signature + said, subject)


def believed(record: Record, sealer: Sealer) -> Message | None:
    """Return the message of a record; None unless a host with the site's keys wrote exactly this record."""
    message = remembered(record, sealer)
    key, signature, said = _parts(record, sealer)
    return message if message and is_signed(key, signature, _signed(record.id, said)) else None


def remembered(record: Record, sealer: Sealer) -> Message | None:
    """
    As `believed`, for what this host heard and kept: its author's signature was checked then, and takes most of
    the time. The site's mark says that it is the same.
    """
    if not sealer.is_whole(record):
        return None
    key, _, said = _parts(record, sealer)
    try:
        body = _decode(said)
    except msgspec.MsgspecError:
        return None
    if not _is_possible(body):
        return None
    if isinstance(body, Chosen) and record.id != chosen_id(Place(body.day, body.label)):
        return None
    author = id_of_key(key)
    if isinstance(body, Published) and body.shelf == AUDIT and not body.name.startswith(f"{author.hex()}-"):
        return None
    return Message(author, body, record)


def repeated(again: Again, sealer: Sealer) -> Message | None:
    """Return the message that another one repeats; None unless it is one that its own author signed."""
    try:
        message = believed(decode_record(again.record), sealer)
    except (msgspec.MsgspecError, ValueError):
        return None
    return None if message is None or isinstance(message.body, Beat | Again) else message


def _is_possible(body: Body) -> bool:
    """
    Whether key files and calendars can hold what it says. With anything else a host that lies would stop the others.
    """
    if isinstance(body, Beat):
        seconds = (body.at, body.at if body.oldest is None else body.oldest)
        return all(0 <= number <= _MOST_SECONDS for number in seconds) and abs(body.ahead) <= _MOST_SECONDS
    if isinstance(body, Holds):
        stated = [(label, run) for part in (body.places, body.used) for label, joined in part.items() for run in joined]
        return sum(abs(length) for _, (_, length) in stated) <= _MOST_DAYS and all(
            _is_place(Place(day, label)) for label, (first, length) in stated for day in (first, first + length)
        )
    return all(map(_is_place, places_of(body)))


def _is_place(place: Place) -> bool:
    return 0 <= place.day <= _MOST_DAYS and 0 < len(place.label.encode()) <= _LABEL_BYTES


def _parts(record: Record, sealer: Sealer) -> tuple[bytes, bytes, bytes]:
    """Return the author's key, the signature, and what is signed."""
    stated = sealer.stated(record)
    return stated[:KEY_BYTES], stated[KEY_BYTES : KEY_BYTES + SIGNATURE_BYTES], stated[KEY_BYTES + SIGNATURE_BYTES :]


def chosen_id(place: Place) -> UUID:
    """Return the id of the record that names the chosen key of a place."""
    return fixed_id(place.day, SHARING, "chosen", place.label)


def messages(*ids: UUID) -> Query:
    """Return the query for these messages, or for all messages of hosts."""
    return Query(kinds=_KINDS, purposes=_PURPOSES, ids=frozenset(ids) if ids else None)


def news(host: bytes, since: datetime) -> Query:
    """Return the query for what a host has to hear: the messages to all since then, and its own beats."""
    subjects = frozenset((host, _EVERY_HOST))
    return Query(kinds=_KINDS, purposes=_PURPOSES, subjects=subjects, since=since)


def of_hosts() -> Query:
    """Return the query for the messages that list the hosts. There are few of them."""
    return Query(kinds=frozenset((HOST,)), purposes=_PURPOSES)


def publications(since: datetime | None = None) -> Query:
    """Return the query for everything that hosts published, or what they did since an instant (aware)."""
    return Query(kinds=frozenset((PUBLICATION,)), purposes=_PURPOSES, since=since)


def digest_of_public(public: bytes) -> bytes:
    """Return the digest of a public part; if it is one already, the same. No public part is so short."""
    return public if len(public) == _DIGEST_BYTES else blake2b(public, digest_size=_DIGEST_BYTES).digest()


def context(place: Place, owner: bytes, to: bytes, public: bytes) -> bytes:
    """
    Return the context that a wrap is bound to: the place, the key's owner, the recipient and its public part, or the
    digest of that.
    """
    parts = (_WRAP, str(place.day).encode(), place.label.encode(), owner, to, digest_of_public(public))
    return b"".join(len(part).to_bytes(4) + part for part in parts)


def _signed(record_id: UUID, said: bytes) -> bytes:
    return _SIGNED + record_id.bytes + said
