"""The hosts of a site, for operators: list them, and retire one that is gone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from consent_mw.crypto.sealer import Sealer
from consent_mw.hosts.keyring import SharedKeyring
from consent_mw.hosts.messages import Beat, Message, Retired, believed, later, of_hosts, written
from consent_mw.stores.base import Store
from consent_mw.stores.pages import every
from consent_mw.system.escaping import printable

#: Two clocks may differ by this much from what both hosts measured against the store's clock.
_SLACK: Final = timedelta(seconds=2)
#: If one process of a host ends and another still runs, the other one announces the host within this time.
_SURELY_LEFT: Final = timedelta(seconds=10)


class KnownHost(msgspec.Struct, frozen=True, kw_only=True):
    """
    One host of the site.

    Attributes:
        id: The host's id, in hexadecimal.
        name: The name of its machine.
        here: Whether this data directory belongs to it.
        seen: When it last announced itself, by its own clock; None if that is no longer known.
        oldest: Time of the oldest entry in its spool; None if the spool was empty.
        fault: What is wrong with its clock.
        ahead: By how many seconds its clock was ahead of the store's.
        unshared: Whether other hosts lacked keys that it can open, or an archive that is on its disk.
        left: Whether it announced that it ends.
        overdue: How many parts of days another host has destroyed and this one has not.
        retired: Why an operator retired it; None if nobody did.
    """

    id: str
    name: str
    here: bool = False
    version: str = ""
    revision: int | None = None
    seen: datetime | None = None
    oldest: datetime | None = None
    fault: str = ""
    ahead: float = 0.0
    unshared: bool = False
    left: bool = False
    overdue: int = 0
    retired: str | None = None

    @property
    def called(self) -> str:
        """The name to show: the machine's name, and the beginning of the id."""
        return f"{self.name} ({self.id[:8]})"

    def is_past(self, instant: datetime, now: datetime) -> bool:
        """
        Whether its spool holds nothing from before `instant`. Both times are by the store's clock.
        """
        if self.seen is None or self.unshared:
            return False
        ahead = timedelta(seconds=self.ahead)
        if self.left and not self.oldest and now - (self.seen - ahead) > _SURELY_LEFT:
            return True
        return min(self.seen, self.oldest or self.seen) - ahead > instant


class Spools(NamedTuple):
    """
    The hosts, grouped by whether their spools may hold something from before an instant.

    All three lists are empty for a site with one host.
    """

    waiting: list[KnownHost]
    past: list[KnownHost]
    retired: list[KnownHost]

    @property
    def names(self) -> str:
        """The names of the hosts that are past the instant or retired, as text for a certificate."""
        return "; ".join([*(host.called for host in self.past), *(f"{host.called}, retired" for host in self.retired)])


class Register:
    """Combine what the store holds about the hosts of a site with what this host knows."""

    def __init__(
        self, store: Store, keyring: SharedKeyring, sealer: Sealer, heard: dict[bytes, Beat] | None = None
    ) -> None:
        """
        Args:
            sealer: Marks and checks messages; it does not need a key of any day.
            heard: The newest beat of each host that this process knows, kept up to date here. An older one may be put
                back into the store by anybody who writes there, and counts for nothing. A process that has just started
                has the first or last beat of each host's latest run from its own host's book.
        """
        self._heard: dict[bytes, Beat] = {} if heard is None else heard
        self.store = store
        self.keyring = keyring
        self._sealer = sealer

    async def hosts(self, *, unlisted: bool = False) -> list[KnownHost]:
        """
        Return all hosts, with the retired ones at the end. Raises StoreError.

        Args:
            unlisted: Also those that never said anything, of which others say that they hold a key: certificates wait
                for them.
        """
        records = await every(self.store, of_hosts())
        messages = [message for record in records if (message := believed(record, self._sealer))]
        beats = self._heard
        view, retired = self.keyring.view, dict(self.keyring.view.retired)
        for host, (_, beat, _) in view.beats.items():
            beats[host] = later(beat, beats.get(host))
        for message in messages:
            if isinstance(message.body, Beat):
                beats[message.author] = later(message.body, beats.get(message.author))
            elif isinstance(message.body, Retired):
                retired.setdefault(message.body.host, message.body.reason)
        hosts = {*beats, *view.names, *view.stating, *retired, *(view.unlisted if unlisted else ())}
        known = [self._known(host, beats.get(host), retired.get(host)) for host in hosts]
        return sorted(known, key=lambda host: (host.retired is not None, host.name, host.id))

    async def spools(self, instant: datetime, now: datetime) -> Spools:
        """
        Group the hosts by whether their spools may hold something from before `instant`, by the clock of any host.

        For a site with one host all lists are empty. Raises StoreError.

        Args:
            now: The current time (aware), by this host's clock.
        """
        known = await self.hosts()
        if all(host.here for host in known):
            return Spools([], [], [])
        now -= timedelta(seconds=sum(host.ahead for host in known if host.here))
        latest = instant + timedelta(seconds=max(0.0, *(-host.ahead for host in known))) + _SLACK
        spools = Spools([], [], [])
        for host in known:
            live = spools.past if host.is_past(latest, now) else spools.waiting
            (live if host.retired is None else spools.retired).append(host)
        return spools

    async def retire(self, host: KnownHost, reason: str, now_ns: int) -> None:
        """
        Declare that a host is gone for good. No host wraps keys for it any more, and no certificate waits for it.

        Raises StoreError.
        """
        body = Retired(host=bytes.fromhex(host.id), reason=reason)
        record = written(body, self.keyring.identity, self._sealer, now_ns)
        await self.store.append([record], durable=True)
        self.keyring.add([Message(self.keyring.identity.id, body, record)])

    def _known(self, host: bytes, beat: Beat | None, retired: str | None) -> KnownHost:
        view = self.keyring.view
        overdue = sum(host in view.unconfirmed(place) for place in view.places if view.confirms.get(place))
        here, name = host == self.keyring.identity.id, printable(view.names.get(host, "unknown"))
        if beat is None:
            return KnownHost(id=host.hex(), name=name, here=here, overdue=overdue, retired=retired)
        return KnownHost(
            id=host.hex(),
            name=printable(beat.name),
            here=here,
            version=beat.version,
            revision=beat.revision,
            seen=datetime.fromtimestamp(beat.at, UTC),
            oldest=None if beat.oldest is None else datetime.fromtimestamp(beat.oldest, UTC),
            fault=beat.fault,
            ahead=beat.ahead,
            unshared=beat.unshared,
            left=beat.left,
            overdue=overdue,
            retired=retired,
        )
