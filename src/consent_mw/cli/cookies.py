"""`consent-mw cookies`: the cookies that were seen and that the policy forgot, with the TOML that declares them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import click

from consent_mw.cli.proposal import Proposal, names_of_families, proposed, providers, purposes_of
from consent_mw.cli.session import with_store
from consent_mw.cli.site_options import by_policy, other_store, places_of
from consent_mw.cli.table import print_table
from consent_mw.cli.terminal import busy, complain, local
from consent_mw.cli.well_known import guess
from consent_mw.crypto.sealer import Sealer
from consent_mw.kinds import UNDECLARED
from consent_mw.paths import Places
from consent_mw.policy.durations import Duration
from consent_mw.policy.loader import load
from consent_mw.policy.model import Policy
from consent_mw.records import Query, Record
from consent_mw.spool.backlog import waiting_records
from consent_mw.staff.existing_site import check_in_use, existing_store, site_keys_at
from consent_mw.staff.opened_record import unopened
from consent_mw.stores.base import Store
from consent_mw.stores.pages import every
from consent_mw.system.escaping import as_json, printable

_SEALED = "(a sealed path)"


class _Seen(NamedTuple):
    """
    One undeclared cookie, over all of its records.

    Attributes:
        places: The routes that set it; where the framework tells none there may be a path, which is sealed.
        fates: The gate's decisions about it, in words.
        set_here: Whether the application sets it. If not, browsers send it anyway.
        records: One for each process and place: a site that starts often has many.
        expires: The longest that the application asked for, as a policy writes it; None where only browsers send it.
    """

    name: str
    places: tuple[str, ...]
    fates: tuple[str, ...]
    set_here: bool
    first: datetime
    last: datetime
    records: int
    expires: str | None

    def as_dict(self) -> dict[str, object]:
        return {
            "name": self.name,
            "set_by_application": self.set_here,
            "places": list(self.places),
            "fates": list(self.fates),
            "first": self.first.isoformat(timespec="seconds"),
            "last": self.last.isoformat(timespec="seconds"),
            "records": self.records,
            "expires": self.expires,
        }


@click.command(epilog="Example: consent-mw cookies --policy policy.toml")
@by_policy
@other_store
@click.option("--json", "json_wanted", is_flag=True, help="One JSON object instead of text.")
def cookies(file: Path, directory: Path | None, url: str | None, json_wanted: bool) -> int:
    """List the undeclared cookies that were seen, where, and what the gate did with them, with the TOML to paste.

    What the policy declares by now is left out. A process notes each name once for each place, so how often it was set
    is not known. Those that only browsers send were set by a script, by an earlier version of the site, or by a
    neighbour on a parent domain.
    """
    policy = load(file)
    places = places_of(file, directory)
    with busy("reading the records"):
        seen = [cookie for cookie in _gathered(_records(places, url)) if policy.cookie(cookie.name) is None]
    proposals = _proposals(seen, policy)
    toml = [proposal.toml(policy.languages) for proposal in proposals] + providers(proposals, policy, policy.languages)
    if json_wanted:
        click.echo(as_json({"policy": str(file), "cookies": [cookie.as_dict() for cookie in seen], "toml": toml}))
    elif not seen:
        click.echo(f"No cookie was seen that {printable(str(file))} does not declare.")
    else:
        _show(seen)
        if proposals:
            click.echo(f"\nTo declare them, add to {printable(str(file))}:\n")
            click.echo("\n".join(toml), nl=False)
    return 0


def _proposals(seen: Sequence[_Seen], policy: Policy) -> list[Proposal]:
    """One for each name or family; of what only browsers send the well-known ones, since anybody can invent a name."""
    wanted = [cookie.name for cookie in seen if cookie.set_here or guess(cookie.name)]
    lasts: dict[str, list[str | None]] = {}
    for name, family in names_of_families(wanted).items():
        lasts.setdefault(family, []).extend(cookie.expires for cookie in seen if cookie.name == name)
    return [proposed(name, purposes_of(policy), expires=_longest(some)) for name, some in lasts.items()]


# -- reading ---------------------------------------------------------------------------------------------------------


def _records(places: Places, url: str | None) -> list[Record]:
    """Return what the store holds and what still waits in the spool, each record once, oldest first."""
    # The spool first: what is drained between the two readings is in both, and not in neither.
    records = {record.id: record for record in waiting_records(places.spool, (UNDECLARED,))}
    places.check()
    if url is None:
        check_in_use(places, url)
    if url or places.database.exists() or not places.spool.exists():  # else nothing was drained yet
        records |= {record.id: record for record in with_store(existing_store(places, url), _stored)}
    sealer = Sealer.without_keys(site_keys_at(places))
    return sealer.whole(records[record_id] for record_id in sorted(records))


async def _stored(store: Store) -> list[Record]:
    return await every(store, Query(kinds=frozenset((UNDECLARED,))))


def _gathered(records: Iterable[Record]) -> list[_Seen]:
    """Return one for each name: the application's own first, each in the order of the names."""
    by_name: dict[str, list[Mapping[str, object]]] = {}
    for record in records:
        row = unopened(record)
        by_name.setdefault(str(row.get("cookie.name", "")), []).append(row)
    seen = [_summed(name, rows) for name, rows in by_name.items()]
    return sorted(seen, key=lambda cookie: (not cookie.set_here, cookie.name))


def _summed(name: str, rows: Sequence[Mapping[str, object]]) -> _Seen:
    times = [datetime.fromisoformat(str(row["time"])) for row in rows]
    set_here = [row for row in rows if row.get("cookie.source") == "response"]
    return _Seen(
        name,
        tuple(dict.fromkeys(_place(row) for row in set_here)),
        tuple(dict.fromkeys(map(_fate, rows))),
        bool(set_here),
        min(times),
        max(times),
        len(rows),
        _longest(str(row["cookie.expires"]) for row in set_here if "cookie.expires" in row),
    )


def _longest(asked_for: Iterable[str | None]) -> str | None:
    """Return the longest of some times to live; "session" is the shortest."""
    known = [text for text in asked_for if text]
    return max(known, key=lambda text: 0 if text == "session" else Duration.parse(text).seconds, default=None)


def _place(row: Mapping[str, object]) -> str:
    route = row.get("http.route")
    return str(route) if route else _SEALED if "sealed" in row else "(no route)"


def _fate(row: Mapping[str, object]) -> str:
    if row.get("cookie.source") == "request":
        return "left in requests" if row.get("cookie.verdict") == "kept" else "taken out of requests"
    return "kept, only reported" if row.get("cookie.verdict") == "kept" else str(row.get("cookie.verdict", ""))


# -- showing ---------------------------------------------------------------------------------------------------------


def _show(seen: Sequence[_Seen]) -> None:
    headings = ("cookie", "what happened to it", "where it is set", "last seen")
    rows = (
        (
            cookie.name,
            ", ".join(cookie.fates),
            ", ".join(cookie.places) if cookie.set_here else "not by this application",
            local(cookie.last),
        )
        for cookie in seen
    )
    print_table(headings, rows)
    if not all(cookie.set_here for cookie in seen):
        complain("note: what is not set by this application may come from a script, an older version or a neighbour")
    if any(_SEALED in cookie.places for cookie in seen):
        complain("note: to see the paths: consent-mw log --kind undeclared --purpose necessary --reason 'why'")
