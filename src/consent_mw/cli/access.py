"""One reading of a site's records by staff: personal fields take a purpose and a reason, and leave a trace."""

from __future__ import annotations

import os
import pwd
import socket
import sys
from collections import Counter
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from consent_mw.audit import Audit
from consent_mw.cli.clock import utc_now
from consent_mw.cli.keys import keyring_at, site_keys_at
from consent_mw.cli.opened_record import opened, unopened
from consent_mw.cli.terminal import complain
from consent_mw.consent.data_subject import Person
from consent_mw.crypto.keyring import Keyring
from consent_mw.crypto.sealer import Sealer
from consent_mw.exceptions import ConfigurationError, StoreError
from consent_mw.paths import DATA_DIRECTORY, Places
from consent_mw.policy.model import ABUSE, Policy, did_you_mean
from consent_mw.policy.revisions import Revisions
from consent_mw.records import Record
from consent_mw.retention.aggregates import PURPOSE as AGGREGATES
from consent_mw.rights.desk import Desk, kept_by_store
from consent_mw.rights.ledger import Erased, Ledger
from consent_mw.rights.people import People
from consent_mw.rights.restriction import Restriction, restricted_by
from consent_mw.stores import site_store, store_from
from consent_mw.stores.base import Store
from consent_mw.stores.split import SplitStore
from consent_mw.stores.sqlite import SQLiteStore

__all__ = [
    "Access",
    "Errand",
    "accessing",
    "check_purposes",
    "existing_store",
    "from_whom",
    "log_store",
    "policies",
    "policy_in_force",
    "sealer_of",
    "staff",
    "where",
    "who",
]

_Command = TypeVar("_Command", bound=Callable[..., Any])
_EVERY_REVISION = sys.maxsize


def where(command: _Command) -> _Command:
    """Give a command the options that say which site is meant."""
    command = click.option(
        "--store", "url", help="Another store than the one in the directory, such as sqlite:///b.db."
    )(command)
    return click.option(
        "--directory",
        type=click.Path(path_type=Path),
        default=DATA_DIRECTORY,
        show_default=True,
        help="The site's data directory: its store and its keys.",
    )(command)


def log_store(command: _Command) -> _Command:
    """Give a command that reads visits the option that says where they are."""
    return click.option("--log-store", "log_url", help="Where visits and events are, if the site has log_store=.")(
        command
    )


def from_whom(command: _Command) -> _Command:
    """Give a command the options that say who reads, and why."""
    command = click.option("--as", "name", default="", help="Who you are, if the account does not tell.")(command)
    return click.option("--reason", help="Why personal fields are read. They stay sealed without one.")(command)


def existing_store(places: Places, url: str | None, log_url: str | None = None) -> Store:
    """
    Return the store that is meant, and refuse a file that is not there: opening would make it. Beside a database what
    the site kept in its file before is in it too.

    Args:
        log_url: Where visits and events are; None where everything is in one store.

    Raises:
        ConfigurationError: There is no such store, or another user could replace the keys beside it.
    """
    places.check()
    store = _existing(url or f"sqlite:///{places.database}")
    if url is None or isinstance(store, SQLiteStore):  # another file may be a copy of this one: it is read alone
        return SplitStore(store, _existing(log_url)) if log_url else store
    return site_store(places.database, store, _existing(log_url) if log_url else None)


def _existing(url: str) -> Store:
    store = store_from(url)
    if isinstance(store, SQLiteStore) and not store.path.exists():
        raise ConfigurationError(
            f"{store.path}: there is no log here; run the site first, or give its data directory with --directory"
        )
    return store


def check_purposes(places: Places, named: Sequence[str]) -> None:
    """
    Refuse a purpose that no declaration of the site ever had. Where none was kept, any name may be one.

    Raises:
        ConfigurationError: One of `named` is such a one; or the directory cannot be read.
    """
    declared = {name for policy in policies(places) for name in policy.purposes}
    known = {*declared, AGGREGATES}
    for name in named if declared else ():
        if name not in known:
            raise ConfigurationError(f'the purpose "{name}" is not known here; {did_you_mean(name, sorted(known))}')


def policies(places: Places) -> list[Policy]:
    """
    Return every declaration of the site that was published and can be read.

    Raises:
        ConfigurationError: The directory cannot be read.
    """
    return list(Revisions(places.revisions).before(_EVERY_REVISION).values())


def policy_in_force(places: Places, now: datetime) -> Policy:
    """
    Return the declaration that holds at `now` (aware): by its jurisdiction and time zone the operator's clocks run.

    Raises:
        ConfigurationError: None was kept that can be read; or the directory cannot be read.
    """
    found = Revisions(places.revisions).course().at(now)
    if found is None:
        raise ConfigurationError(
            f"{places.revisions}: no declaration is kept here; run the site first, or give its data directory with "
            "--directory"
        )
    return found


def sealer_of(places: Places, ring: str | None) -> Sealer:
    """
    Return what seals and opens the records of the site.

    Raises:
        ConfigurationError: Its keys are not here, or cannot be used.
    """
    keyring = keyring_at(places, ring)
    if keyring is None:
        raise ConfigurationError(
            f"{places.keys}: there is no key file here; run this where the site's keys are, or name its --directory"
        )
    return Sealer.of_site(places, keyring)


class Errand(NamedTuple):
    """
    What somebody is about to read.

    Attributes:
        command: As it was called, without the name of the program.
        purposes: Those whose personal fields are meant; none is no personal field at all.
        since, until: ISO 8601, or "".
        reason: Why; None where it was not given.
        basis: Of the archive: on what legal basis it is opened; "" for the live store.
        laws: Of the archive: what demanded that these records are held, as the policy declares it.
    """

    command: str
    purposes: Sequence[str]
    reason: str | None
    name: str = ""
    since: str = ""
    until: str = ""
    basis: str = ""
    laws: Sequence[str] = ()

    @property
    def personal(self) -> bool:
        """Whether personal fields are read, and a trace is left."""
        return self.reason is not None or bool(self.basis)

    def asked(self) -> Errand:
        """
        Return the errand with its reason: asked for at a terminal where it is missing.

        Raises:
            click.UsageError: There is a reason and no purpose.
        """
        if self.reason is not None and not self.purposes:
            raise click.UsageError("a reason opens the personal fields of a purpose; add --purpose")
        reason = self.reason
        if reason is None and self.purposes and sys.stdin.isatty() and sys.stderr.isatty():
            reason = click.prompt(
                "Why do you read personal fields? It is recorded (Enter: they stay sealed)",
                default="",
                show_default=False,
                err=True,
            )
        return self._replace(reason=(reason or "").strip() or None)


class Access:
    """
    Opens records for one errand, and counts them. Those of persons under restriction are left out, but for records of
    abuse.

    Attributes:
        records: How many were looked at.
        opened: Of how many somebody saw personal fields, which is what the audit chain says.
        closed: How many have such fields and were not opened, by why.
        left_out: How many nobody may use now.
        changed: How many are not as the site wrote them.
        put_back: How many were erased before.

    Args:
        purposes: Those whose personal fields are meant.
        demanded: A law demands it: nothing is left out for a restriction.
        erased: What was erased, and may have been put back since.
        spool: Where requests may wait that the store does not have yet.
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
    ) -> None:
        self._sealer = sealer
        self._spool = spool
        self._erased = erased or Erased()
        self.personal = personal
        self._left_open = demanded or set(purposes) == {ABUSE}
        self._demanded = demanded
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
        Find out whose data nobody may use now, before any of it is shown.

        Raises:
            ConfigurationError: Personal fields were to be read, and some request does not tell here whose they are.
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
            complain(f"note: {untold}")

    def may_use(self, person: Person) -> bool:
        """Whether what is held about this person may be used."""
        return self._demanded or not self._restriction.is_under(person)

    def usable(self, records: Sequence[Record]) -> list[Record]:
        """
        Return those of `records` that are as the site wrote them and may be used, and count the others. Raises
        StoreError.
        """
        whole = self.whole(records)
        if self._demanded:
            return whole
        usable = [record for record in whole if not self._restriction.closes(record)]
        self.left_out += len(whole) - len(usable)
        return usable

    def whole(self, records: Sequence[Record]) -> list[Record]:
        """Return those of `records` that are as the site wrote them and were not erased, and count the others."""
        whole = self._sealer.whole(records)
        self.changed += len(records) - len(whole)
        kept = [record for record in whole if not self._erased.has(record)]
        self.put_back += len(whole) - len(kept)
        return kept

    def rows(self, records: Sequence[Record]) -> list[dict[str, object]]:
        """Return those of `records` that may be used as staff may read them: see `row`."""
        return [self.row(record) for record in self.usable(records)]

    def row(self, record: Record) -> dict[str, object]:
        """Return one usable record as staff may read it: see `opened` and `unopened`."""
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
        """How many could not be opened although their keys should be there, by why."""
        return Counter({why: count for why, count in self.closed.items() if why not in ("sealed", "destroyed")})


@contextmanager
def accessing(places: Places, errand: Errand, keyring: Keyring | None) -> Generator[Access]:
    """
    Give what opens records. If personal fields are to be read, the audit chain says so, durably, before the first of
    them is shown; a second entry, "closes", says of how many records it became so.

    Args:
        keys: Another key file than that of the live store.

    Raises:
        StoreError: The access cannot be recorded. Nothing was read.
    """
    site_keys = site_keys_at(places)
    sealer = Sealer(keyring, site_keys) if keyring else Sealer.without_keys(site_keys)
    erased = Erased(Ledger(places.erasures).entries())
    access = Access(sealer, personal=errand.personal, purposes=errand.purposes, erased=erased, spool=places.spool)
    try:
        with _recorded(places, errand, access) if access.personal else nullcontext():
            yield access
    finally:
        if access.left_out:
            complain(
                f"note: {access.left_out} records are left out: nobody may use them until a request of their subject "
                "is done (consent-mw requests)"
            )
        if access.changed:
            complain(
                f"note: {access.changed} records are left out: somebody else wrote them, or changed them since the "
                "site did (consent-mw store check)"
            )
        if access.put_back:
            complain(
                f"note: {access.put_back} records are left out: they were erased and somebody put them back; the "
                "running site erases them again within the hour"
            )


@contextmanager
def _recorded(places: Places, errand: Errand, access: Access) -> Generator[None]:
    audit = Audit(places.audit, places.audit_head)
    number = audit.append(who(errand), now=utc_now())
    ended = "stopped"
    try:
        yield
        ended = "whole"
    finally:
        count = {"closes": number, "records": access.opened, "not_opened": access.closed.total(), "ended": ended}
        try:
            audit.append(count, now=utc_now())
        except StoreError as error:  # what was read is recorded all the same
            complain(f"note: {error}")


def staff(name: str) -> str:
    """Return who acts here, in one line: the account, and the name that was given with it."""
    account = f"{_user()}@{socket.gethostname()}"
    return f"{name}, {account}" if name else account


def who(errand: Errand) -> dict[str, object]:
    """Return what the audit chain says of an errand."""
    facts: dict[str, object] = {
        "user": _user(),
        "sudo": os.environ.get("SUDO_USER", ""),
        "as": errand.name,
        "host": socket.gethostname(),
        "command": errand.command,
        "purposes": list(errand.purposes),
        "since": errand.since,
        "until": errand.until,
        "reason": errand.reason,
        "basis": errand.basis,
        "laws": list(errand.laws),
    }
    return {name: value for name, value in facts.items() if value}


def _user() -> str:
    """The account of this process. Not from the environment, which says what one likes."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
