"""Publishing through the store for a command: without a running site, from any directory that has the site's keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from consent_mw.crypto.sealer import Sealer
from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.hosts.identity import Identity
from consent_mw.hosts.messages import Again, Published, believed, publications, repeated, written
from consent_mw.paths import Places
from consent_mw.records import Record
from consent_mw.stores.base import Store
from consent_mw.stores.pages import every
from consent_mw.system.shelf import Kept, Shelf


class StorePublications:
    """What the hosts of a site have published in their store, read and continued by a command."""

    def __init__(self, places: Places, site_keys: SiteKeys, shelves: Sequence[Shelf], clock: Callable[[], int]) -> None:
        """
        Args:
            clock: Returns nanoseconds since 1970.
        """
        self._places = places
        self._sealer = Sealer.without_keys(site_keys)
        self._shelves = {shelf.label: shelf for shelf in shelves}
        self._clock = clock

    async def fetch(self, store: Store) -> None:
        """Keep what the store has and this directory has not. Raises StoreError, ConfigurationError and OSError."""
        for said in await self._published(store):
            shelf = self._shelves.get(said.shelf)
            if shelf is not None and said.name not in shelf.names():
                shelf.take(said.name, Kept(said.text, said.at_ns, said.until_ns))

    async def missing(self, store: Store) -> dict[str, list[str]]:
        """Return, by shelf, the names of what the store has and this directory lacks. Raises as `fetch`."""
        said = [one for one in await self._published(store) if not 0 < one.until_ns < self._clock()]
        return {
            label: sorted({one.name for one in said if one.shelf == label} - shelf.names())
            for label, shelf in self._shelves.items()
        }

    async def publish(self, store: Store) -> None:
        """Append what this directory has and the store has not. On return it is there. Raises as `fetch`."""
        known = {(said.shelf, said.name) for said in await self._published(store)}
        identity = Identity(self._places.host_identity)
        new: list[Record] = [
            written(
                Published(shelf=label, name=name, **shelf.kept(name)._asdict()), identity, self._sealer, self._clock()
            )
            for label, shelf in self._shelves.items()
            for name in sorted(shelf.names())
            if (label, name) not in known
        ]
        if new:
            await store.append(new, durable=True)

    async def _published(self, store: Store) -> list[Published]:
        records = await every(store, publications())
        messages = [message for record in records if (message := believed(record, self._sealer))]
        messages += [
            message for again in messages if isinstance(again.body, Again)
            if (message := repeated(again.body, self._sealer))
        ]  # fmt: skip
        return [message.body for message in messages if isinstance(message.body, Published)]
