"""Cookies that wait for the visitor's answer: sealed on the server for ten minutes, and delivered once."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import secrets
from collections.abc import Collection, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

import msgspec

from consent_mw.consent.permissions import Decision
from consent_mw.cookies.quota import Room
from consent_mw.exceptions import ConsentError
from consent_mw.kinds import PENDING
from consent_mw.policy.model import Cookie, Policy
from consent_mw.records import Query, Record, new_id, time_of
from consent_mw.system.days import instant_of

if TYPE_CHECKING:  # they take a sixth of the time of `import consent_mw`
    from consent_mw.crypto.sealer import Sealer
    from consent_mw.stores.base import Store

_log = logging.getLogger("consent_mw")

#: A line that the visitor does not answer is deleted after this time.
WAITS: Final = timedelta(minutes=10)

#: The most that one visitor can make us keep. RFC 6265bis caps name and value at 4,096 bytes, attributes at 1,024 each.
_MOST_LINES = 20
_MOST_LINE_BYTES = 8_192
#: The limit for all visitors: 32 MiB in a process. One network gets half a mebibyte, which is a thousand usual lines.
_TOGETHER_LINES = 64_000
_TOGETHER_BYTES = 32 << 20
_SHARE = 64
#: The size of a record in a store, without its line.
_RECORD_BYTES = 256

_KINDS = frozenset((PENDING,))
_MAX_AGE = re.compile(rb"(;[ \t]*max-age[ \t]*=[ \t]*)(\d+)(?=[ \t]*(?:;|$))", re.IGNORECASE)


#: Separates a session's id and the purposes that the visitor refused for this visit. No purpose's name contains it.
_HUSHED: Final = "~"


def hushed(session: str | None) -> frozenset[str]:
    """Return the purposes that the visitor of `session` refused for this visit. They are not asked about again."""
    return frozenset((session or "").split(_HUSHED)[1:])


def hush(session: str, purposes: Collection[str]) -> str:
    """Return the session in which `purposes` are not asked about again. Without purposes all are asked about."""
    return _HUSHED.join((session.partition(_HUSHED)[0], *sorted(purposes)))


class NoRoom(ConsentError):
    """Too many cookies wait already, from one network or from all, so no more is kept."""


class Waiting(NamedTuple):
    """
    A cookie that waits: the id of its question, its name, and its declaration.

    A page that is open keeps its questions when a later answer sets the same cookies again.
    """

    id: UUID
    name: str
    declared: Cookie


class _Line(msgspec.Struct, frozen=True, array_like=True):
    name: str
    line: bytes


class Pending:
    """
    Keep Set-Cookie lines that wait, in a store that all workers share.

    A random session id finds the lines. It is in a separate session cookie. The store holds only a digest of the id,
    and the id does not link to any other record.

    A client that leaves that cookie out gets a new session and can fill more space. Therefore the total that this
    process keeps is bounded, and so is the share of one network.
    """

    def __init__(self, policy: Policy, store: Store, sealer: Sealer) -> None:
        self._policy = policy
        self._store = store
        self._sealer = sealer
        self._tasks: set[asyncio.Task[int]] = set()
        self._room = Room(things=_TOGETHER_LINES, size=_TOGETHER_BYTES, share=_SHARE, within=WAITS)

    def under(self, policy: Policy, sealer: Sealer) -> Pending:
        """Return the same under another revision of the policy. Cookies that wait already stay."""
        other = Pending(policy, self._store, sealer)
        other._tasks = self._tasks
        other._room = self._room
        return other

    async def keep(
        self, session: str | None, lines: Sequence[tuple[Decision, bytes]], now_ns: int, network: str = ""
    ) -> str:
        """
        Keep `lines` for the visitor of `session`, and return that session or a new one.

        If several lines have the same name, only the latest one waits.

        Args:
            network: The visitor's network, if it is known. Each network has a limited share of the room.

        Raises:
            NoRoom: Too many cookies wait already. None of `lines` is kept.
            StoreError: The lines could not be stored. None of them is kept.
        """
        latest = {decision.name: (decision, line) for decision, line in lines if len(line) <= _MOST_LINE_BYTES}
        before = await self._records(session, now_ns) if session else []
        session = session or secrets.token_urlsafe(16)
        replaced = [(record, old) for record, old in before if old.name in latest]
        stale = [record.id for record, _ in replaced]
        kept = list(latest.values())[: _MOST_LINES - (len(before) - len(stale))]
        more_bytes = sum(len(line) for _, line in kept) - sum(len(old.line) for _, old in replaced)
        more_lines = len(kept) - len(replaced)
        if not self._room.take(network, more_lines, more_bytes + _RECORD_BYTES * more_lines, now_ns):
            raise NoRoom("too many cookies wait already, of this network or of all")
        records = [
            # One microsecond apart, so that the page shows them in the order in which they were set.
            self._record(session, decision, line, now_ns + 1_000 * number)
            for number, (decision, line) in enumerate(kept)
        ]
        if records:
            await self._store.append(records)
        if stale:
            # A deletion waits for the disk. This one may happen later: only the latest line of a name is ever read.
            self._later(self._store.delete(self._query(session, now_ns, stale)))
        return session

    def _later(self, deletion: Coroutine[Any, Any, int]) -> None:
        task = asyncio.get_running_loop().create_task(deletion, name="consent-mw pending")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[int]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.warning("older lines of a waiting cookie expire later: %s", task.exception())

    async def settle(self) -> None:
        """Wait for the delayed deletions to finish. Call it before closing the store."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def waiting(self, session: str, now_ns: int) -> list[Waiting]:
        """Return the cookies that wait for the visitor of `session`, oldest first, and no other visitor's."""
        waiting = await self._records(session, now_ns)
        declared = [(record, line, self._policy.cookie(line.name)) for record, line in waiting]
        return [Waiting(_question(session, line.name), line.name, cookie) for _, line, cookie in declared if cookie]

    async def claim(self, session: str, ids: Collection[UUID], now_ns: int) -> list[bytes]:
        """
        Return the Set-Cookie lines of the questions `ids` to this caller only: two tabs never both get the same line.

        Each Max-Age is shortened by the time that the line has waited.
        """
        lines: list[bytes] = []
        waiting = await self._about(session, ids, now_ns)
        for record, line in _latest(waiting):
            if await self._store.delete(self._query(session, now_ns, [record.id])) == 1:
                waited = _instant(now_ns) - time_of(record.id)
                lines.append(_aged(line.line, int(waited.total_seconds())))
        if older := {record.id for record, _ in waiting} - {record.id for record, _ in _latest(waiting)}:
            await self._store.delete(self._query(session, now_ns, older))
        return lines

    async def drop(self, session: str, ids: Collection[UUID], now_ns: int) -> int:
        """Delete the lines of the questions `ids`, which the visitor refused; return the number of deleted records."""
        waiting = await self._about(session, ids, now_ns)
        return await self._store.delete(self._query(session, now_ns, [record.id for record, _ in waiting]))

    async def expire(self, now_ns: int) -> int:
        """Delete every line of any visitor that has waited too long, and return the number of deleted records."""
        return await self._store.delete(Query(kinds=_KINDS, until=_instant(now_ns) - WAITS))

    def _record(self, session: str, decision: Decision, line: bytes, now_ns: int) -> Record:
        record_id = new_id(now_ns)
        purpose = decision.purpose or ""
        plain = msgspec.msgpack.encode(_Line(decision.name, line))
        return self._sealer.record(record_id, PENDING, purpose, subject=_subject(session), plain=plain)

    async def _records(self, session: str, now_ns: int) -> list[tuple[Record, _Line]]:
        return _latest(await self._lines_of(session, now_ns))

    async def _lines_of(self, session: str, now_ns: int) -> list[tuple[Record, _Line]]:
        records = await self._store.fetch(self._query(session, now_ns), limit=4 * _MOST_LINES)
        return [(record, line) for record in records if (line := self._opened(record)) is not None]

    async def _about(self, session: str, ids: Collection[UUID], now_ns: int) -> list[tuple[Record, _Line]]:
        """
        Return the lines that the questions `ids` are about, older ones with the same names included.

        The store may hold an older line that a newer one could not see and replace, because it was written too late. If
        it stayed, it would wait again once the visitor has answered the latest line.
        """
        return [
            (record, line)
            for record, line in await self._lines_of(session, now_ns)
            if _question(session, line.name) in ids
        ]

    def _opened(self, record: Record) -> _Line | None:
        try:
            return msgspec.msgpack.decode(self._sealer.open(record), type=_Line)
        except (ConsentError, msgspec.MsgspecError):
            return None  # its key is gone, or it is not ours: it cannot be delivered any more, and expires

    def _query(self, session: str, now_ns: int, ids: Collection[UUID] | None = None) -> Query:
        return Query(
            kinds=_KINDS,
            subjects=frozenset((_subject(session),)),
            ids=None if ids is None else frozenset(ids),
            since=_instant(now_ns) - WAITS,
        )


def _latest(waiting: Sequence[tuple[Record, _Line]]) -> list[tuple[Record, _Line]]:
    return list({line.name: (record, line) for record, line in waiting}.values())


def _question(session: str, name: str) -> UUID:
    """Return the id of the question about one name, as the pages of this session show it. It opens nothing."""
    text = f"{session.partition(_HUSHED)[0]}{_HUSHED}{name}".encode()
    return UUID(bytes=hashlib.blake2b(text, digest_size=16, person=b"consent-asked").digest())


def _subject(session: str) -> bytes:
    """Return the digest that stands for a session in the store. A reader of the store cannot claim lines with it."""
    return hashlib.blake2b(session.partition(_HUSHED)[0].encode(), digest_size=16, person=b"consent-pending").digest()


def _instant(now_ns: int) -> datetime:
    return instant_of(now_ns)


def _aged(line: bytes, seconds: int) -> bytes:
    return _MAX_AGE.sub(lambda match: match[1] + b"%d" % max(0, int(match[2]) - seconds), line)
