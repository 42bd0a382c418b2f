"""One access of staff to records. Reading personal fields needs a purpose and a reason, and leaves a trace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path

from consent_mw.audit import Audit
from consent_mw.consent.data_subject import Person
from consent_mw.crypto.keyring import Keyring
from consent_mw.crypto.sealer import Sealer
from consent_mw.exceptions import ConfigurationError, StoreError
from consent_mw.paths import Places
from consent_mw.policy.model import ABUSE
from consent_mw.records import Record
from consent_mw.rights.desk import Desk, kept_by_store
from consent_mw.rights.ledger import Erased, entries_at
from consent_mw.rights.people import People
from consent_mw.rights.restriction import Restriction, restricted_by
from consent_mw.staff.errand import Errand, who
from consent_mw.staff.existing_site import site_keys_at
from consent_mw.staff.opened_record import opened, unopened
from consent_mw.stores.base import Store


class Access:
    """
    Open records for one errand, and count them.

    Leaves out the records of persons under restriction, except records of abuse.

    Attributes:
        records: How many records were read.
        opened: Of how many records staff saw personal fields. The audit chain holds this number.
        demanded: Whether a law demands the access. Then a restriction leaves nothing out.
        closed: How many records have personal fields that were not opened, by reason.
        left_out: How many records may not be used because of a restriction.
        changed: How many records were changed since the site wrote them, or were written by somebody else.
        put_back: How many records were erased before and are there again.

    Args:
        purposes: The purposes whose personal fields are to be read.
        demanded: See above.
        erased: What was erased, and may have been put back since.
        spool: The directory where requests may wait that the store does not have yet.
        note: Receives messages for the reader: what is left out, and why.
    """

    def __init__(
        self,
        sealer: Sealer,
        *,
        personal: bool,
        purposes: Collection[str] = (),
        demanded: bool = False,
        erased: Erased | None = None,
        spool: Path | None = None,
        note: Callable[[str], None],
    ) -> None:
        self._sealer = sealer
        self._spool = spool
        self.note = note
        self._erased = erased or Erased()
        self.personal = personal
        self._left_open = demanded or set(purposes) == {ABUSE}
        self.demanded = demanded
        self.records: int = 0
        self.opened: int = 0
        self.left_out: int = 0
        self.changed: int = 0
        self.put_back: int = 0
        self.closed: Counter[str] = Counter()
        self._restriction = Restriction((), self._sealer)
        self._untold = ""

    async def consult(self, store: Store) -> None:
        """
        Find the persons whose data may not be used now. Call it before any record is shown.

        Raises:
            ConfigurationError: Personal fields are to be read, and a request cannot be opened here, so its person is
                unknown.
            StoreError, SpoolError: The store, the keyring or the spool cannot be reached.
        """
        cases = await Desk(store, self._sealer, kept_by_store(store)).restricting(self._spool)
        self._restriction = await restricted_by(cases, People(store, self._sealer), self._sealer)
        closed = [case.request for case in cases if not case.request.readable]
        if not closed or self._left_open:
            return
        untold = (
            f"request {closed[0].id} cannot be opened here, so nobody can tell whose records must not be used; "
            "read them where its keyring is, or answer it"
        )
        if self.personal:
            raise ConfigurationError(untold)
        if untold != self._untold:
            self._untold = untold
            self.note(untold)

    def may_use(self, person: Person) -> bool:
        """Whether the records about this person may be used."""
        return self.demanded or not self._restriction.is_under(person)

    def usable(self, records: Sequence[Record]) -> list[Record]:
        """
        Return the `records` that may be used and that are as the site wrote them. Count the others.

        Raises StoreError.
        """
        whole = self.whole(records)
        if self.demanded:
            return whole
        usable = [record for record in whole if not self._restriction.closes(record)]
        self.left_out += len(whole) - len(usable)
        return usable

    def whole(self, records: Sequence[Record]) -> list[Record]:
        """Return the `records` that are as the site wrote them and were not erased. Count the others."""
        whole = self._sealer.whole(records)
        self.changed += len(records) - len(whole)
        kept = [record for record in whole if not self._erased.has(record)]
        self.put_back += len(whole) - len(kept)
        return kept

    def rows(self, records: Sequence[Record]) -> list[dict[str, object]]:
        """Return the usable ones of `records` as rows that staff may read: see `row`."""
        return [self.row(record) for record in self.usable(records)]

    def row(self, record: Record) -> dict[str, object]:
        """Return one usable record as a row that staff may read: see `opened` and `unopened`."""
        self.records += 1
        row = opened(record, self._sealer) if self.personal else unopened(record)
        if record.ring:
            why = row.get("sealed")
            if why is None:
                self.opened += 1
            else:
                self.closed[str(why)] += 1
        return row

    @property
    def unreadable(self) -> Counter[str]:
        """How many records could not be opened although their keys should be there, by reason."""
        return Counter({why: count for why, count in self.closed.items() if why not in ("sealed", "destroyed")})


@contextmanager
def accessing(
    places: Places, errand: Errand, keyring: Keyring | None, note: Callable[[str], None], now: Callable[[], datetime]
) -> Generator[Access]:
    """
    Yield an `Access`, and record it in the audit chain if personal fields are to be read.

    The first entry is durable before any personal field is shown. A second entry, "closes", holds the number of records
    that were opened.

    Args:
        keyring: The keyring of the store that is read; None if there is none.
        note: Receives messages for the reader: what is left out, and why.
        now: Returns the current time (aware).

    Raises:
        StoreError: The access cannot be recorded. Nothing was read.
    """
    site_keys = site_keys_at(places)
    sealer = Sealer(keyring, site_keys) if keyring else Sealer.without_keys(site_keys)
    erased = Erased(entries_at(places))
    access = Access(
        sealer,
        personal=errand.personal,
        purposes=errand.purposes,
        demanded=bool(errand.basis),
        erased=erased,
        spool=places.spool,
        note=note,
    )
    try:
        with _recorded(places, errand, access, now) if access.personal else nullcontext():
            yield access
    finally:
        if access.left_out:
            note(
                f"{access.left_out} records are left out: nobody may use them until a request of their subject "
                "is done (consent-mw requests)"
            )
        if access.changed:
            note(
                f"{access.changed} records are left out: somebody else wrote them, or changed them since the "
                "site did (consent-mw store check)"
            )
        if access.put_back:
            note(
                f"{access.put_back} records are left out: they were erased and somebody put them back; the "
                "running site erases them again within the hour"
            )


@contextmanager
def _recorded(places: Places, errand: Errand, access: Access, now: Callable[[], datetime]) -> Generator[None]:
    audit = Audit(places.audit, places.audit_head)
    number = audit.append(who(errand), now=now())
    ended = "stopped"
    try:
        yield
        ended = "whole"
    finally:
        count = {"closes": number, "records": access.opened, "not_opened": access.closed.total(), "ended": ended}
        try:
            audit.append(count, now=now())
        except StoreError as error:  # the access itself is recorded already
            access.note(str(error))
