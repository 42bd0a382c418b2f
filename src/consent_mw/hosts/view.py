"""What a host knows about the keys of its site, from verified messages and its own notes. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Final, Literal, NamedTuple, TypeAlias
from uuid import UUID

from consent_mw.crypto.wrapping import key_id, unwrapped
from consent_mw.hosts.brief import Brief, digest_of_record
from consent_mw.hosts.messages import (
    AUDIT,
    PART_LINES,
    Beat,
    Body,
    Chosen,
    Confirm,
    Holds,
    Message,
    Place,
    Pub,
    Published,
    Retired,
    Runs,
    Wraps,
    context,
    days_of,
    later,
    places_of,
)
from consent_mw.records import Record
from consent_mw.system.escaping import printable

#: "used": this host sealed under its own key. "shared": it wrapped keys of the place for a host. "over": the place is
#: certified.
Note: TypeAlias = Literal["used", "shared", "over"]


_NO_HOLDS: Final = Holds(number=0, places={}, used={})


class Wrap(NamedTuple):
    """A wrapped key: the host that owns the key, and the host that it is wrapped for."""

    place: Place
    owner: bytes
    to: bytes


class BeatMessage(NamedTuple):
    """As `Message`, of a beat."""

    author: bytes
    body: Beat
    record: Record


class View:
    """
    What one host knows. Messages and notes go in through `take` and `note`.

    Attributes:
        messages: The messages except beats and those of `briefs`, by the id of the record.
        briefs: The messages that are here in brief only, by the same.
        beats: For each host, the newest of its beats that every host hears.
        labels: For each day, the labels of which some host holds a key.
        pubs: For each place and host, the public part or its digest, and the id of the host's own key.
        wraps: The wraps by place, owner and recipient. Several hosts may have wrapped the same key.
        owners, recipients: For each place, the hosts that are owner or recipient of a wrap.
        chosen: For each place, the host whose key is used.
        confirms: For each place and host, the hosts for which it had wrapped keys.
        claims: For each day and label, the hosts that state that they hold a key.
        claims_of_use: For each place, the hosts that state that their own key may have sealed something.
        retired: For each retired host, the reason.
        published: What any host published, by name, for each shelf; of what is here in brief, without the text.
        names: For each host, the name of its machine.
        replaced: Messages with a part of an audit chain that a later message of its host contains, or with a former
            statement of its keys.
        used, shared, over: The notes.
        at_ns: The time, by which what was published for a while is over.
    """

    def __init__(self) -> None:
        self.messages: dict[UUID, Message] = {}
        self.briefs: dict[UUID, Brief] = {}
        self.beats: dict[bytes, BeatMessage] = {}
        self.labels: dict[int, set[str]] = {}
        self.pubs: dict[Place, dict[bytes, tuple[bytes, bytes]]] = {}
        self.wraps: dict[Wrap, list[bytes]] = {}
        self.owners: dict[Place, set[bytes]] = {}
        self.recipients: dict[Place, set[bytes]] = {}
        self.chosen: dict[Place, bytes] = {}
        self.confirms: dict[Place, dict[bytes, frozenset[bytes]]] = {}
        self._latest_holds: dict[bytes, tuple[UUID, Holds]] = {}
        self.claims: dict[int, dict[str, set[bytes]]] = {}
        self.claims_of_use: dict[Place, set[bytes]] = {}
        self.retired: dict[bytes, str] = {}
        self.published: dict[str, dict[str, Published]] = {}
        self.names: dict[bytes, str] = {}
        self._parts: dict[bytes, dict[UUID, str]] = {}
        self.replaced: set[UUID] = set()
        self.used: set[Place] = set()
        self.shared: dict[Place, set[bytes]] = {}
        self.over: set[Place] = set()
        self.at_ns = 0

    def take(self, message: Message) -> None:
        """Add a verified message. Adding it again changes nothing. Of two `Chosen` for one place the later counts."""
        body, author = message.body, message.author
        if isinstance(body, Beat):
            if self.is_news(message):
                self.beats[author] = BeatMessage(author, body, message.record)
            return
        self.briefs.pop(message.record.id, None)
        self.messages[message.record.id] = message
        self._learn(author, body)
        if isinstance(body, Holds):
            self._learn_holds(author, message.record.id, body)
        elif isinstance(body, Published) and body.shelf == AUDIT:
            self._replace_parts(author, message.record.id, body)

    def take_brief(self, brief: Brief) -> None:
        """Add a message in brief, of which the book has the record."""
        self.briefs[brief.id] = brief
        self._learn(brief.author, brief.body)

    def _learn(self, author: bytes, body: Body) -> None:
        if isinstance(body, Pub):
            self.names[author] = body.name
            self.labels.setdefault(body.day, set()).update(body.parts)
            for label, part in body.parts.items():
                self.pubs.setdefault(Place(body.day, label), {}).setdefault(author, part)
        elif isinstance(body, Wraps):
            for label, owner, enc in body.keys:
                place = self._place(body.day, label)
                self.owners.setdefault(place, set()).add(owner)
                self.recipients.setdefault(place, set()).add(body.to)
                wraps = self.wraps.setdefault(Wrap(place, owner, body.to), [])
                if enc not in wraps:
                    wraps.append(enc)
        elif isinstance(body, Chosen):
            self.chosen[self._place(body.day, body.label)] = body.owner
        elif isinstance(body, Confirm):
            by_host = self.confirms.setdefault(self._place(body.day, body.label), {})
            by_host[author] = by_host.get(author, frozenset()) | frozenset(body.shared)
        elif isinstance(body, Published):
            self.published.setdefault(body.shelf, {}).setdefault(body.name, body)
        elif isinstance(body, Retired):
            self.retired.setdefault(body.host, body.reason)

    def _learn_holds(self, author: bytes, record_id: UUID, holds: Holds) -> None:
        """Take a host's statement in place of its former one."""
        former_id, former = self._latest_holds.get(author, (None, None))
        if former_id == record_id:
            return
        if former is not None and former.number >= holds.number:
            self.replaced.add(record_id)
            return
        if former_id is not None:
            self.replaced.add(former_id)
        self._latest_holds[author] = record_id, holds
        for place in _places(former.places if former else {}):
            self.claims[place.day][place.label].discard(author)
        for place in _places(holds.places):
            self.claims.setdefault(place.day, {}).setdefault(place.label, set()).add(author)
        for place in _places(former.used if former else {}):
            self.claims_of_use[place].discard(author)
        for place in _places(holds.used):
            self.claims_of_use.setdefault(place, set()).add(author)

    def _claiming(self, place: Place) -> Set[bytes]:
        # One that is retired states nothing new any more, also when the place is over.
        return self.claims.get(place.day, {}).get(place.label, set()) - self.retired.keys()

    @property
    def stating(self) -> Set[bytes]:
        """The hosts that have stated which keys they hold."""
        return self._latest_holds.keys()

    def holds(self, host: bytes) -> Holds:
        """Return what a host states last of the keys that it holds; an empty one if nothing is known."""
        return self._latest_holds.get(host, (None, _NO_HOLDS))[1]

    def _place(self, day: int, label: str) -> Place:
        self.labels.setdefault(day, set()).add(label)
        return Place(day, label)

    def has(self, record: Record) -> bool:
        """Whether it knows the message of exactly this record."""
        if (message := self.messages.get(record.id)) is not None:
            return message.record == record
        brief = self.briefs.get(record.id)
        return brief is not None and brief.digest == digest_of_record(record)

    def living(self) -> set[UUID]:
        """Return the ids of all messages except beats that are not over."""
        return {*self.messages, *self.briefs}.difference(self.ended())

    def ended(self) -> list[UUID]:
        """Return the ids of the messages that are over."""
        days = {place.day for place in self.over}
        known = [(number, message.body) for number, message in self.messages.items()]
        known += [(number, brief.body) for number, brief in self.briefs.items()]
        # Of the days of which a part is over there are few.
        return [
            number
            for number, body in known
            if (isinstance(body, Published | Holds) or getattr(body, "day", None) in days)
            and self._is_over(number, body)
        ]

    def forget_former_holds(self) -> list[UUID]:
        """
        Forget the statements of keys that later ones replaced, and return their ids. Their lines may stay in the book.
        """
        former = [number for number in self.replaced & self.messages.keys() if _is_holds(self.messages[number])]
        for number in former:
            del self.messages[number]
        return former

    def is_news(self, message: Message) -> bool:
        """
        Whether it is a beat that every host hears, or tells that this one lacks something, and the newest of its host
        that is known here.
        """
        body, known = message.body, self.beats.get(message.author)
        return (
            isinstance(body, Beat)
            and (body.is_for_all or body.holds > self.holds(message.author).number)
            and (known is None or (known.body != body and later(body, known.body) is body))
        )

    def _replace_parts(self, author: bytes, record_id: UUID, part: Published) -> None:
        """Find out which parts of an audit chain are in a whole block of it, which its author has told since."""
        parts = self._parts.setdefault(author, {})
        parts[record_id] = part.text
        is_block = part.text.count("\n") == PART_LINES
        blocks = [part.text] if is_block else [text for text in parts.values() if text.count("\n") == PART_LINES]
        within = {one for one, text in parts.items() for block in blocks if text != block and text in block}
        self.replaced |= within
        for one in within:
            del parts[one]

    def note(self, note: Note, place: Place, host: bytes = b"") -> None:
        """Add a note."""
        if note == "used":
            self.used.add(place)
        elif note == "shared":
            self.shared.setdefault(place, set()).add(host)
        else:
            self.over.add(place)

    # -- keys ---------------------------------------------------------------------------------------------------

    def key(self, place: Place, owner: bytes, ids: frozenset[bytes], secret: bytes) -> bytes | None:
        """
        Return the key of `owner` in a place; None if this host has no wrap of it.

        Args:
            ids: The current and former ids of this host.
            secret: What its slot of that place holds. This is its own key too.
        """
        if self.is_own(place, owner, ids, secret):
            return secret
        public = self.pubs.get(place, {}).get(owner)
        if public is None:
            return None
        for me in ids:
            own = self.pubs.get(place, {}).get(me)
            if own is None:
                continue
            for enc in self.wraps.get(Wrap(place, owner, me), ()):
                key = unwrapped(enc, secret, context(place, owner, me, own[0]))
                if key is not None and key_id(key) == public[1]:  # otherwise somebody wrapped a different key
                    return key
        return None

    def is_own(self, place: Place, host: bytes, ids: frozenset[bytes], secret: bytes) -> bool:
        """
        Whether `secret`, which this host has in a place, is that of `host`. A copy of a host, and one that came out of
        an image, has the former name too; under that, another machine may have published a secret since.
        """
        public = self.pubs.get(place, {}).get(host)
        return host in ids and (public is None or public[1] == key_id(secret))

    def in_use(self, place: Place, me: bytes) -> list[bytes]:
        """Return the hosts whose keys may have sealed something in a place, the chosen one first."""
        chosen = self.chosen.get(place)
        used = {me} if place in self.used else set[bytes]()
        used |= self.owners.get(place, set()) | self.claims_of_use.get(place, set())
        others = sorted(used - {chosen or b""})
        return [*([chosen] if chosen else []), *others]

    # -- holders ------------------------------------------------------------------------------------------------

    def unheard(self) -> frozenset[bytes]:
        """Return the hosts that have stated anew which keys they hold, as far as it is known, and what is not."""
        return frozenset(
            host
            for host, (_, beat, _) in self.beats.items()
            if beat.holds > self.holds(host).number and host not in self.retired
        )

    def is_confirmed(self, place: Place) -> bool:
        """Whether some host has overwritten its part of a place. No host joins a place that ends."""
        return place in self.over or bool(self.confirms.get(place))

    def holders(self, place: Place) -> frozenset[bytes]:
        """Return all hosts that may ever have been able to open a key of a place."""
        owners = {*self.pubs.get(place, ()), *self.shared.get(place, ()), *self.confirms.get(place, ())}
        owners |= self.owners.get(place, set()) | ({self.chosen[place]} if place in self.chosen else set())
        owners |= self.recipients.get(place, set()) | self._claiming(place)
        # A host lists the recipients of its wraps when it confirms. It can wrap no more then, so the list is complete.
        return frozenset(owners.union(*self.confirms.get(place, {}).values()))

    def unconfirmed(self, place: Place) -> frozenset[bytes]:
        """Return the holders that have not confirmed that they overwrote their part; none once all is certified."""
        if place in self.over:
            return frozenset()
        return self.holders(place) - self.confirms.get(place, {}).keys()

    @property
    def unlisted(self) -> frozenset[bytes]:
        """The hosts that hold a key by what others say alone, which a host that lies may have invented."""
        said = frozenset[bytes]().union(*map(self.unconfirmed, self.places))
        return said - self.names.keys() - self.stating - self.retired.keys()

    @property
    def places(self) -> frozenset[Place]:
        """All places of which some host holds a key."""
        return frozenset(
            Place(day, label) for day in self.labels.keys() | self.claims.keys() for label in self.labels_of(day)
        )

    def labels_of(self, day: int, beginning: str = "") -> Set[str]:
        """
        Return the labels of a day with this beginning of which some host holds a key, as far as one said so. Most of
        what is over is asked for by its purpose, of which nothing is left.
        """
        claims = [label for label in self.claims.get(day, ()) if label.startswith(beginning)]
        claimed = {label for label in claims if self._claiming(Place(day, label))}
        return claimed.union(label for label in self.labels.get(day, ()) if label.startswith(beginning))

    def name(self, host: bytes) -> str:
        """Return the name to show for a host: the machine's name, and the beginning of the id."""
        return f"{printable(self.names.get(host, 'unknown'))} ({host[:4].hex()})"

    def is_over(self, message: Message) -> bool:
        """
        Whether every place that a message is about is certified. What was published is over when nobody needs it.
        """
        return self._is_over(message.record.id, message.body)

    def _is_over(self, number: UUID, body: Body) -> bool:
        if number in self.replaced:
            return True
        if isinstance(body, Published):
            return 0 < body.until_ns < self.at_ns
        if isinstance(body, Holds):  # of one that is retired, until nobody holds a key of those days
            author = self.messages[number].author if number in self.messages else b""
            return author in self.retired and not any(place in self.pubs for place in _places(body.used))
        places = list(places_of(body))
        return bool(places) and self.over.issuperset(places)


def _places(runs: Mapping[str, Runs]) -> Iterator[Place]:
    for label, joined in runs.items():
        for day in days_of(joined):
            yield Place(day, label)


def _is_holds(message: Message) -> bool:
    return isinstance(message.body, Holds)
