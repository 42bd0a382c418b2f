"""A host's own beats: it tells the others how it is, and notices by them that it was copied."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple
from uuid import UUID

from consent_mw.hosts.link import Link
from consent_mw.hosts.messages import Beat, Message

_log = logging.getLogger("consent_mw")

_ALONE_NS: Final = 60_000_000_000
#: The interval if there are other hosts: an erasure waits until each has reported that its spool is past it.
_AMONG_OTHERS_NS: Final = 10_000_000_000
#: Of so many of its latest beats a process knows when it sent them. A store that went back may show older ones.
_SENT: Final = 16


class Facts(NamedTuple):
    """
    The state of this host.

    Attributes:
        oldest: Time of the oldest entry in its spool, in seconds since 1970; None if the spool is empty.
        unshared: Whether an archive on its disk is still to move into the store.
        ring: The name of the key service under whose keys it seals; empty if it has its keys on its disk.
    """

    name: str
    version: str
    revision: int
    oldest: float | None
    unshared: bool = False
    ring: str = ""


class Pulse:
    """
    This host's own beats. The store has the latest alone.

    Args:
        facts: Returns the state of this host. Called in a thread.
        is_behind: Returns whether another host lacks keys that this one can open. Called in a thread.

    Attributes:
        beat: This host's latest beat in the store; None if there is none.
        is_aloud, is_asking: As in `Beat`, of the next one.
    """

    def __init__(self, link: Link, facts: Callable[[], Facts], is_behind: Callable[[], bool]) -> None:
        self._link = link
        self.facts = facts
        self._is_behind = is_behind
        self._run = b""
        self._beat_ns = 0
        self._beats: set[UUID] = set()  # this host's beats in the store; the next beat replaces them
        self.beat: UUID | None = None
        self._sent: deque[float] = deque(maxlen=_SENT)  # as `Beat.at`, before the store has it
        self.is_aloud: bool = False
        self.is_asking: bool = False

    def begin(self) -> None:
        """Begin the run of this process, if it has not begun."""
        if not self._run:
            self._run = self._link.keyring.identity.begin_run()

    @property
    def is_recent(self) -> bool:
        """Whether this host told within the last minute how it is, so that a reading of what is new must meet it."""
        return abs(self._link.clock() - self._beat_ns) < _ALONE_NS

    def is_lost(self, stands: set[UUID]) -> bool:
        """Whether a reading that met these messages should have met this host's beat, and did not."""
        return self.beat is not None and self.beat not in stands

    def forget(self) -> None:
        """Forget the own beat, so that the next one is due."""
        self.beat, self._beat_ns = None, 0

    def hear(self, message: Message, beat: Beat) -> None:
        """Take a beat that stands in the store under this host's name."""
        identity = self._link.keyring.identity
        if identity.has_run(beat.run) and not self._is_of_a_clone(beat):
            self._beats.add(message.record.id)
            if beat.left:  # another process of this host has ended
                self.forget()
            elif self.beat is not None and message.record.id > self.beat:  # once this process has sent its own beat
                self.beat, self._beat_ns = message.record.id, int(beat.at * 1e9)
        else:
            _log.error(
                "another machine says that it is this host: one of them is a copy, or was restored. This one goes on "
                "as a new host; keep %s out of images and backups",
                self._link.keyring.book.path.parent,
            )
            identity.renew()
            self.forget()  # a copy that keeps the name replaces it: the store has lost nothing then

    def _is_of_a_clone(self, beat: Beat) -> bool:
        """Whether a copy of this machine sent it, made while it ran: the copy goes on under the name of our run."""
        return beat.run == self._run and bool(self._sent) and beat.at > min(self._sent) and beat.at not in self._sent

    async def tell_if_due(self, fault: str) -> None:
        """
        Tell how this host is, if that is due. Raises StoreError and OSError.

        Args:
            fault: What is wrong with its clock.
        """
        view, me = self._link.keyring.view, self._link.keyring.identity.id
        others = view.names.keys() - view.retired.keys() - {me}
        is_due = abs(self._link.clock() - self._beat_ns) >= (_AMONG_OTHERS_NS if others else _ALONE_NS)
        if is_due or (others and (self.is_aloud or self.is_asking)):
            await self.tell(fault)

    async def tell(self, fault: str, *, left: bool = False) -> None:
        """Tell how this host is, and whether it ends. Raises StoreError and OSError."""
        # In this order: what is shared, the clock, the spool. So each value is exact or claims too little about what
        # was written before.
        unshared, now_ns = await asyncio.to_thread(self._is_behind), self._link.clock()
        facts = await asyncio.to_thread(self.facts)
        self._sent.append(now_ns / 1e9)
        keyring = self._link.keyring
        beat = Beat(
            **facts._replace(unshared=facts.unshared or unshared)._asdict(),
            run=self._run,
            at=now_ns / 1e9,
            fault=fault,
            ahead=self._link.store_clock.ahead.total_seconds(),
            left=left,
            began=self.beat is None,
            holds=keyring.view.holds(keyring.identity.id).number,
            is_aloud=self.is_aloud,
            asks=self.is_asking,
        )
        (said,) = await self._link.say([beat])
        self.is_aloud = self.is_asking = False
        await self._link.delete(list(self._beats))
        self.beat, self._beats = said.record.id, {said.record.id}
        self._beat_ns = now_ns
