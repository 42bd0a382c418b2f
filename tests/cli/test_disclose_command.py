"""`consent-mw disclose`: a ledger of what was given to others, which nobody shortens or changes unnoticed."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from tests.support.commands import run
from tests.support.sites_with_visitors import Site, visited

from consent_mw.audit import Audit
from consent_mw.crypto.sealer import Sealer
from consent_mw.paths import Places
from consent_mw.policy.loader import load
from consent_mw.records import Query, time_of
from consent_mw.retention.calendar import Retention
from consent_mw.rights.disclosure_proof import compared, entries_of, named
from consent_mw.rights.disclosures import Disclosure, Disclosures
from consent_mw.stores.base import Store
from consent_mw.stores.sqlite import SQLiteStore

DEMAND = ("disclose", "--to", "Seoul police", "--basis", "lawful_demand", "--reference", "warrant 2026-123")
CONSENT = ("disclose", "--to", "Ads Inc.", "--basis", "consent", "--reference", "contract 7")
ANALYTICS = ("--purpose", "analytics")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return visited(tmp_path)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """One site for all that is refused and so leaves no trace."""
    return visited(tmp_path_factory.mktemp("kept"))


def chain(site: Site) -> Audit:
    return Audit(site.places.audit, site.places.audit_head)


def using(site: Site, work: Callable[[Store], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        store = SQLiteStore(site.places.database)
        await store.open()
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


def test_an_entry_says_to_whom_on_which_basis_what_and_how_many(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    items = ("--item", "user_agent.original", "--since", "2026-01-01", "--until", "2999-01-01T09:00+09:00")
    assert site.runs(*DEMAND, *ANALYTICS, *items, "--as", "Kim") == 0
    assert re.search(r"disclosure [0-9a-f-]{36}: [1-9]\d* records lie in its scope", capsys.readouterr().out)
    assert site.runs("disclose", "list", "--json") == 0
    (entry,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (entry["to"], entry["basis"], entry["reference"]) == ("Seoul police", "lawful_demand", "warrant 2026-123")
    assert (entry["purposes"], entry["items"], entry["named"]) == (["analytics"], ["user_agent.original"], False)
    assert datetime.fromisoformat(entry["until"]) == datetime(2999, 1, 1, tzinfo=UTC)
    assert entry["by"].startswith("Kim, ")
    assert site.runs("disclose", "list") == 0
    assert "Seoul police" in capsys.readouterr().out


def test_the_audit_chain_says_how_many_records_are_given(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert site.runs(*DEMAND, *ANALYTICS, "--json") == 0
    many = json.loads(capsys.readouterr().out)["records"]
    assert many > 1
    assert site.runs(*DEMAND, *ANALYTICS, "--until", "2020-01-01") == 0
    assert [entry.facts["records"] for entry in chain(site).entries() if "closes" in entry.facts] == [many, 0]


def test_who_is_under_restriction_is_not_counted_and_not_named_by_consent(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    def counted() -> tuple[int, int]:
        capsys.readouterr()
        assert site.runs(*CONSENT, *ANALYTICS, "--json") == 0
        answer = json.loads(capsys.readouterr().out)
        return answer["records"], answer["left_out"]

    whole, none = counted()
    assert none == 0
    site.registers(site.request(of=0))
    assert counted() == (whole // 2, whole // 2)
    named = (*CONSENT, *ANALYTICS, "--receipt")
    assert site.runs(*named, site.names[0]) == 1
    assert "is under restriction: nobody may use their data until" in capsys.readouterr().err
    assert site.runs(*named, site.names[1], "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["records"], answer["named"]) == (whole // 2, True)
    assert len(using(site, entries_of)) == 3


def test_a_lawful_demand_reaches_who_is_under_restriction(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.registers(*(site.request("restriction", of=number) for number in range(2)))
    site.registers(site.request("restriction"), sealer=site.of_another_host)  # of whom, nobody can tell here
    assert site.runs(*DEMAND, *ANALYTICS, "--receipt", site.names[0], "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["records"] > 0
    assert answer["left_out"] == 0


def test_whom_an_entry_names_is_sealed_and_concerns_them_alone(site: Site) -> None:
    assert site.runs(*DEMAND, *ANALYTICS, "--receipt", site.names[0]) == 0
    (record,) = using(site, entries_of)
    sealer = Sealer.of_site(site.places)
    (entry,) = using(site, lambda store: Disclosures(store, sealer).all())
    before, after = entry.at - timedelta(minutes=1), entry.at + timedelta(minutes=1)
    assert [entry.concerns([name], "analytics", before, after) for name in site.names] == [True, False]
    assert not entry.concerns(site.names, "analytics", after, after), "what came afterwards was not given"
    assert site.names[0] not in str(record.data) + site.places.audit.read_text()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((*DEMAND[:5], *ANALYTICS), 2, "write it with --reference"),
        ((*DEMAND[:5], "--reference", " ", *ANALYTICS), 2, "write it with --reference"),
        (DEMAND, 2, "missing option '--purpose'"),
        (("disclose",), 2, "missing option '--to'"),
        (("disclose", "--to", " ", *DEMAND[3:], *ANALYTICS), 2, "write who receives it"),
        (("disclose", "--to", "x", "--basis", "whim", *ANALYTICS), 2, "is not one of 'consent', 'lawful_demand'"),
        (
            ("disclose", "--to", "x", "--basis", "consent", "--purpose", "necessary"),
            1,
            'nobody consented to the purpose "necessary": its basis is necessary; give what was consented to, or name',
        ),
        (("disclose", "--to", "x", "--basis", "consent", "--purpose", "abuse", *ANALYTICS), 1, "legitimate_interest"),
        ((*DEMAND, "--purpose", "analytic"), 1, 'did you mean "analytics"?'),
        ((*DEMAND, *ANALYTICS, "--item", "two words"), 2, "write one such as client.address"),
        ((*DEMAND, *ANALYTICS, "--since", "2026-02-30"), 2, "is not a time"),
        ((*DEMAND, *ANALYTICS, "--since", "2026-02-02", "--until", "2026-02-01"), 2, "--since is not before --until"),
        ((*DEMAND, *ANALYTICS, "--receipt", "nobody"), 1, "pii_principal_id"),
    ],
)
def test_what_rests_on_nothing_is_refused_and_leaves_no_trace(
    kept: Site, words: tuple[str, ...], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kept.runs(*words) == code
    shown = capsys.readouterr()
    assert said in shown.err
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert using(kept, entries_of) == []
    assert not kept.places.audit.exists()


def test_consent_needs_no_reference_where_the_visitor_was_asked(site: Site) -> None:
    assert site.runs("disclose", "--to", "Ads Inc.", "--basis", "consent", *ANALYTICS) == 0


# -- proof ---------------------------------------------------------------------------------------------------------


def verified(site: Site, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capsys.readouterr()
    code = site.runs("audit", "verify")
    shown = capsys.readouterr()
    return code, shown.out + shown.err


def test_an_entry_that_is_taken_away_or_changed_is_noticed(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        assert site.runs(*DEMAND[:6], f"number {number}", *ANALYTICS) == 0
    code, said = verified(site, capsys)
    assert (code, "3 disclosures are in the ledger as they were written" in said) == (0, True)
    first, second, _ = using(site, entries_of)
    using(site, lambda store: store.delete(Query(kinds=frozenset(("disclosure",)), ids=frozenset((first.id,)))))
    with closing(sqlite3.connect(site.places.database)) as database, database:
        database.execute("UPDATE records SET data = replace(data, 'number 1', 'number 9') WHERE kind = 'disclosure'")
    code, said = verified(site, capsys)
    assert code == 1
    assert f"disclosure {first.id} (entry 1): is missing from the ledger" in said
    assert f"disclosure {second.id} (entry 3): was changed since it was written" in said
    assert site.runs("audit", "verify", "--json") == 1
    assert json.loads(capsys.readouterr().out)["disclosures"]["held"] == 1


def test_what_was_destroyed_when_its_time_was_over_is_not_missed(site: Site) -> None:
    assert site.runs(*DEMAND, *ANALYTICS) == 0
    (record,) = using(site, entries_of)
    retention = Retention([load(site.places.directory.parent / "policy.toml")])
    vouched = named(chain(site).entries())

    def broken(after: timedelta) -> int:
        return len(compared(vouched, [], retention, time_of(record.id) + after).broken)

    assert broken(timedelta(days=364)) == 1
    assert broken(timedelta(days=367)) == 0


def test_a_command_that_was_stopped_before_the_ledger_was_written_is_a_note(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    number = Disclosure.new(1, to="x", basis="consent").id
    chain(site).append({"disclosure": str(number), "sha256": "0" * 64}, now=datetime.now(UTC))
    code, said = verified(site, capsys)
    assert code == 0
    assert f"note: disclosure {number} (entry 1): was never written; its command was stopped" in said


def test_what_another_program_wrote_into_the_ledger_is_a_note(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    sealer = Sealer.of_site(site.places)
    disclosure = Disclosure.new(1, to="x", basis="consent")
    using(site, lambda store: Disclosures(store, sealer).append(disclosure))
    code, said = verified(site, capsys)
    assert (code, "1 disclosures are not in this chain" in said) == (0, True)


def test_a_chain_that_vouches_for_what_no_store_holds_asks_for_the_store(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert site.runs(*DEMAND, *ANALYTICS) == 0
    moved = site.places.directory / "moved.sqlite3"
    site.places.database.rename(moved)
    code, said = verified(site, capsys)
    assert code == 1
    assert "2 entries hold; anchor 2:" in said
    assert "the disclosures cannot be looked up" in said
    assert "name their store with --store" in said
    assert site.runs("audit", "verify", "--store", f"sqlite:///{moved}") == 0


def test_the_chain_shows_who_disclosed_and_why(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert site.runs(*DEMAND, *ANALYTICS, "--as", "Kim") == 0
    capsys.readouterr()
    assert site.runs("audit", "show", "--json") == 0
    entry, closing_entry = map(json.loads, capsys.readouterr().out.splitlines())
    assert (entry["command"], entry["as"], entry["purposes"]) == ("disclose", "Kim", ["analytics"])
    assert entry["reason"] == "Seoul police: lawful_demand warrant 2026-123"
    assert UUID(entry["disclosure"])
    assert (closing_entry["closes"], closing_entry["ended"]) == (1, "whole")


def test_where_the_keys_are_not_nothing_is_written(kept: Site, capsys: pytest.CaptureFixture[str]) -> None:
    aside = Places(kept.places.directory).directory / "aside"
    kept.places.keys.rename(aside)
    try:
        assert kept.runs(*DEMAND, *ANALYTICS) == 1
        assert "there is no key file here" in capsys.readouterr().err
        assert kept.runs("disclose", "list") == 0
    finally:
        aside.rename(kept.places.keys)


def test_the_commands_work_as_processes_of_their_own(site: Site) -> None:
    directory = ("--directory", site.places.directory)
    written = run(*DEMAND, *ANALYTICS, *directory)
    assert (written.returncode, written.stderr) == (0, "")
    listed = run("disclose", "list", *directory)
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d\+09:00  Seoul police", listed.stdout)
    assert run("audit", "verify", *directory).returncode == 0
