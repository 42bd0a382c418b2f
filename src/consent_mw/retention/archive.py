"""What a law demands beyond its purpose: moved out of the live store, sealed under keys of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence

from consent_mw.consent.data_subject import Person, values_on
from consent_mw.crypto.archive_keys import archive_keys
from consent_mw.crypto.keyring import FileKeyring, Keyring, SeveralKeys
from consent_mw.crypto.sealer import Sealer, token_of
from consent_mw.crypto.wrapping import key_id
from consent_mw.exceptions import ConfigurationError, KeyDestroyed, RecordDamaged, SchemaError, StoreError
from consent_mw.kinds import NAMING
from consent_mw.paths import Places
from consent_mw.policy.model import Policy
from consent_mw.records import Query, Record, fixed_id, time_of
from consent_mw.retention.earlier_archive import EarlierArchive
from consent_mw.stores import store_from
from consent_mw.stores.archiving import archive_beside
from consent_mw.stores.base import Store
from consent_mw.stores.pages import pages
from consent_mw.stores.self_opening import OpenedStore
from consent_mw.system.days import day_of, start_of


class Archive:
    """
    A store and a keyring apart from the live ones. Its keys follow the day of the record, not of the move.

    Attributes:
        earlier: What this host had on its disk before the site's hosts shared their archive.
    """

    def __init__(self, store: Store, sealer: Sealer) -> None:
        self.store = store
        self.earlier: EarlierArchive | None = None
        self.sealer = sealer
        # The owner of a record must be known until the last of a day has ended: without a calendar, all of it.
        self._days = Sealer(sealer.keyring, sealer.site_keys)

    @classmethod
    def of_site(cls, policies: Iterable[Policy], places: Places, store: Store, sealer: Sealer) -> Archive | None:
        """
        Return the archive of the site at `places`; None where none of its declarations ever held anything, and no file
        says otherwise. Hosts that share a store have it there, under keys that they share; any other site has it on its
        disk.

        Args:
            store: The site's, with what keeps it.
            sealer: That of the live records.

        Raises:
            ConfigurationError: Its keys cannot be used.
        """
        published = tuple(policies)
        if not places.archive.exists() and not any(
            purpose.archive for policy in published for purpose in policy.purposes.values()
        ):
            return None

        def archive(store: Store, keyring: Keyring) -> Archive:
            of_archive = Sealer(keyring, sealer.site_keys)
            of_archive.follow(published)
            return cls(OpenedStore(store), of_archive)

        shared_store, shared_keys = archive_beside(store), archive_keys(sealer.keyring)
        if shared_store is None or shared_keys is None:
            return archive(store_from(f"sqlite:///{places.archive}"), FileKeyring(places.archive_keys))
        whole = archive(shared_store, shared_keys)
        if places.archive.exists():
            file = OpenedStore(store_from(f"sqlite:///{places.archive}"))
            whole.earlier = EarlierArchive(places, file, Sealer(FileKeyring(places.archive_keys), sealer.site_keys))
        return whole

    async def keep(self, records: Sequence[Record], live: Sealer) -> int:
        """
        Keep copies of `records`, sealed anew, and return how many could not be opened and are left out.

        On return the copies survive a power cut, so the originals may go. Doing it again after a crash is harmless:
        the first copy of a record stays. Subjects are kept with the secret that they were made with, sealed under the
        archive's own key, so people who ask for their data or its erasure are found here too.

        Raises:
            StoreError: Store or keys of either side cannot be reached; then nothing was kept.
        """
        copies = await asyncio.to_thread(lambda: [copy for record in records if (copy := self._copy(record, live))])
        if copies:
            secrets = await asyncio.to_thread(lambda: list(self._secrets(copies, live)))
            await self.store.append([*secrets, *copies], durable=True)
        return len(records) - len(copies)

    async def tokens(self, person: Person) -> dict[tuple[int, str], frozenset[bytes]]:
        """
        Return the tokens of `person` in the archive, by day and purpose.

        Raises:
            StoreError: The archive or its keys cannot be reached, or a part of it is still on its way into the store.
        """
        if self.earlier and self.earlier.is_there:
            can_be_opened = await asyncio.to_thread(self.earlier.days)
            if can_be_opened:
                raise StoreError(f"{self.earlier.path}: moves into the store at this moment; ask again in a minute")
        tokens: dict[tuple[int, str], frozenset[bytes]] = {}
        since = None if person.first_day is None else start_of(person.first_day)
        async for page in pages(self.store, Query(kinds=frozenset((NAMING,)), since=since)):
            await asyncio.to_thread(self._add_tokens, page, person, tokens)
        return tokens

    def _add_tokens(
        self, page: Iterable[Record], person: Person, tokens: dict[tuple[int, str], frozenset[bytes]]
    ) -> None:
        for record in page:
            key = day, purpose = day_of(time_of(record.id)), record.purpose
            values = values_on(person.values, day, purpose)
            if not values:
                continue
            try:
                secret = self.sealer.open(record)
            except (ConfigurationError, KeyDestroyed, RecordDamaged):
                continue
            tokens[key] = tokens.get(key, frozenset()) | {token_of(secret, value.encode()) for value in values}

    def _secrets(self, copies: Sequence[Record], live: Sealer) -> Iterator[Record]:
        places = {(day_of(time_of(copy.id)), copy.purpose) for copy in copies if copy.subject is not None}
        for day, purpose in sorted(places):
            try:
                secrets = live.token_secrets(day, purpose)
            except KeyDestroyed:  # nothing of it was sealed, so that its copies did not need the key
                continue
            for secret in secrets:
                record_id = fixed_id(day, NAMING, purpose, live.keyring.name, *_told_apart(secret, live.keyring))
                yield self._days.record(record_id, NAMING, purpose, plain=secret)

    def _copy(self, record: Record, live: Sealer) -> Record | None:
        try:
            return self.resealed(record, live)
        except (ConfigurationError, KeyDestroyed, RecordDamaged, SchemaError):
            return None

    def resealed(self, record: Record, of: Sealer) -> Record:
        """Return a record that `of` opens, sealed for the archive. Raises as `Sealer.open` and `Sealer.record`."""
        plain = of.open(record)
        sealer = self._days if record.kind == NAMING else self.sealer
        return sealer.record(
            record.id,
            record.kind,
            record.purpose,
            subject=record.subject,
            data=record.data,
            plain=plain if record.ring else None,
        )

    def missing(self, days: Iterable[tuple[int, str]]) -> list[tuple[int, str]]:
        """
        Return the day and label of each key here that other hosts would lack if records of these days and purposes
        moved here now; none where no keys are shared. Raises StoreError.
        """
        keyring = self.sealer.keyring
        if not isinstance(keyring, SeveralKeys):
            return []
        keys = [key for day, purpose in days for key in self.sealer.needed([day], [purpose], with_tokens=(purpose,))]
        return [key for key in keys if not keyring.is_agreed(*key)]


def _told_apart(secret: bytes, keyring: Keyring) -> tuple[str, ...]:
    """Return what tells one of several secrets of a day; nothing where there is never but one."""
    return (key_id(secret).hex(),) if isinstance(keyring, SeveralKeys) else ()
