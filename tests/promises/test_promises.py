"""
Each promise of the policy, by its number, kept once from end to end. Its finer points have files of their own.

The numbers are those of the policy page: 1 items, 2 purposes, 3 provision to others, 4 retention, 5 destruction,
6 what is not personal, 7 cookies, 8 rights, 9 the officer, 10 agencies, 11 notice.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.asgi import set_cookies
from tests.support.policies import POLICY
from tests.support.sites_with_records import HELD, UTC_POLICY, SiteWithRecords
from tests.support.visitors import Visitor

from consent_mw import get_consent
from consent_mw._asgi import Message, Receive, Scope, Send
from consent_mw.cli import main
from consent_mw.exceptions import PolicyError
from consent_mw.middleware import ConsentMiddleware
from consent_mw.policy.loader import load, loads
from consent_mw.policy.model import FIELDS
from consent_mw.policy.revisions import Revisions
from consent_mw.records import Query, Record
from consent_mw.retention.aggregates import cells_of

FOUNDING = Path("src/consent_mw/policy/founding.toml")
DAY = timedelta(days=1)
#: What a record says of an exchange: nothing in it tells one visitor from another.
FACTS = {
    "http.request.method", "http.response.status_code", "http.request.body.size", "http.response.body.size",
    "http.server.request.duration", "http.route", "network.protocol.name", "error.type",
    "consent.choice", "consent.revision", "consent.cookies.blocked",
}  # fmt: skip
FAMILIES = {
    "user_agent.name", "user_agent.version", "user_agent.os.name", "device.type", "user_agent.synthetic.type",
}  # fmt: skip


async def shop(scope: Scope, receive: Receive, send: Send) -> None:
    """Set a cookie of every kind, note an event, and report abuse where it is asked for."""
    consent = get_consent(scope)
    if scope["type"] == "http":
        consent.record_event("search", results=1)
        if scope["path"] == "/abuse":
            consent.report_abuse("scraping")
        lines = [b"session=1", b"theme=dark", b"_ga=2", b"ad=3", b"surprise=4"]
        headers = [(b"content-type", b"text/plain"), *((b"set-cookie", line + b"; Path=/") for line in lines)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"the same for everybody"})


def site(directory: Path, text: str = POLICY, **options: Any) -> ConsentMiddleware:
    file = directory / "policy.toml"
    file.write_text(text, "utf-8")
    return ConsentMiddleware(shop, policy=file, secret_keys=["a key of at least 16 bytes"], **options)


async def drained(app: ConsentMiddleware) -> None:
    """Wait until the store has everything: the site's own drain may be at it."""
    while app.runtime.spool.waiting_bytes:
        await app.runtime.drain.once()
        await asyncio.sleep(0.01)


async def kept(app: ConsentMiddleware, *kinds: str) -> list[tuple[Record, dict[str, Any]]]:
    """Return the records that the store has, each with its fields opened."""
    runtime = app.runtime
    await drained(app)
    records = await runtime.store.fetch(Query(kinds=frozenset(kinds)))
    opened = [msgspec.msgpack.decode(runtime.sealer.open(record)) if record.ring else {} for record in records]
    return [(record, {**record.data, **fields}) for record, fields in zip(records, opened, strict=True)]


def names(sent: Sequence[Message]) -> set[str]:
    return {line.partition(b"=")[0].decode() for line in set_cookies(list(sent))} - {"__Host-consent"}


def test_promise_1_a_stored_record_has_no_field_outside_the_declared_list(tmp_path: Path) -> None:
    async def run() -> None:
        app = site(tmp_path)
        visitor = Visitor(app)
        await visitor.picks("accept")
        agent = [(b"user-agent", b"Mozilla/5.0 Firefox/140.0"), (b"referer", b"https://other.example/from?q=1")]
        await visitor.gets("/abuse", headers=[*agent, (b"authorization", b"Bearer x")], query_string=b"q=secret")
        declared = app.runtime.policy.log
        records = await kept(app, "visit", "abuse", "event")
        assert {record.kind for record, _ in records} == {"visit", "event", "abuse"}
        for record, fields in records:
            allowed = FACTS | set(declared.get(record.purpose, {})) | {"event.name", "event.results", "abuse.reason"}
            if declared.get(record.purpose, {}).get("user_agent.original") == "family":
                allowed = (allowed | FAMILIES) - {"user_agent.original"}
            assert fields.keys() <= allowed, record.purpose

    asyncio.run(run())
    # The founding list has neither agent, referrer nor query: they are off until the policy declares them.
    assert {name for log in load(FOUNDING).log.values() for name in log} < set(FIELDS)
    assert "url.query" not in {name for log in load(FOUNDING).log.values() for name in log}


def test_promise_2_what_names_no_declared_purpose_starts_nothing_and_marketing_is_off(tmp_path: Path) -> None:
    for wrong in ('purpose = "marketing"', "[log.analytics]", 'purpose = "analytics"\nfields'):
        with pytest.raises(PolicyError, match="is not declared"):
            site(tmp_path, POLICY.replace(wrong, wrong.replace("marketing", "stats").replace("analytics", "stats")))

    async def run() -> None:
        sent = await Visitor(site(tmp_path)).gets()
        assert "ad" not in names(sent)

    asyncio.run(run())


def test_promise_3_personal_fields_come_back_for_the_purpose_they_were_collected_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = SiteWithRecords(tmp_path, UTC_POLICY)
    Revisions(site.places.revisions).keep(site.policy, UTC_POLICY)
    now = datetime.now(UTC)
    site.keeps(*(site.record(now, purpose=purpose, url=f"/{purpose}") for purpose in ("necessary", "analytics")))
    directory = ["--directory", str(site.places.directory)]
    assert main(["export", *directory, "--format", "jsonl", "--purpose", "analytics", "--reason", "why"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["purpose"], row["url"]) for row in rows] == [("analytics", "/analytics")]
    given = ["--to", "a court", "--basis", "lawful_demand", "--reference", "2026-1", "--purpose", "analytics"]
    assert main(["disclose", *directory, *given]) == 0
    capsys.readouterr()
    assert main(["disclose", "list", *directory, "--json"]) == 0
    assert '"a court"' in capsys.readouterr().out


def test_promise_4_every_purpose_ends_and_abuse_after_one_year(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="retention"):
        loads(POLICY.replace('retention = "90 days"\n', "", 1))
    assert str(load(FOUNDING).purposes["abuse"].retention) == "1 year"
    site = SiteWithRecords(tmp_path, UTC_POLICY)
    leap = datetime(2024, 2, 29, 12, tzinfo=UTC)
    site.keeps(site.record(leap, kind="abuse", purpose="abuse", secret="198.51.100.7"))
    assert site.destroys(datetime(2025, 2, 28, 12, 59, tzinfo=UTC)).records == 0
    assert site.destroys(datetime(2025, 2, 28, 13, tzinfo=UTC)).records == 1


def test_promise_5_what_is_destroyed_cannot_be_reproduced_and_what_is_held_takes_a_legal_basis(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = SiteWithRecords(tmp_path, UTC_POLICY + HELD)
    then = datetime.now(UTC) - 500 * DAY
    for purpose in ("analytics", "abuse"):
        site.keeps(site.record(then, kind="abuse", purpose=purpose, secret=f"personal in {purpose}"))
    key = site.sealer.keyring.key(int(then.timestamp()) // 86_400, "analytics", create=False)
    done = site.destroys(datetime.now(UTC))
    assert (done.troubles, done.archived) == ([], 1)
    blob = b"".join(path.read_bytes() for path in site.places.directory.rglob("*") if path.is_file())
    assert key not in blob
    assert b"personal in" not in blob
    certificates = site.records("certificate")
    assert {record.data["certificate.records"] for record in certificates} == {1}
    assert all(record.ring == "" and record.subject is None for record in certificates)
    archive = ["export", "--archive", "--directory", str(site.places.directory), "--purpose", "abuse", "--json"]
    assert main(archive) == 2
    assert "personal in abuse" not in capsys.readouterr().out
    assert main([*archive, "--basis", "order 2026-114"]) == 0
    assert "personal in abuse" in capsys.readouterr().out


def test_promise_6_daily_counts_stay_and_tell_nobody(tmp_path: Path) -> None:
    site = SiteWithRecords(tmp_path, UTC_POLICY)
    then = datetime(2024, 11, 23, 9, tzinfo=UTC)
    routes = ["/"] * 20 + ["/only-one-went-here"]
    site.keeps(*(site.record(then + n * timedelta(seconds=1), data={"http.route": route}, secret=f"{n}")
                 for n, route in enumerate(routes)))  # fmt: skip
    site.destroys(datetime(2025, 11, 23, tzinfo=UTC))
    assert site.records("visit") == []
    counts = {str(record.data["aggregate.by"]): cells_of(record) for record in site.records("aggregate")}
    assert counts["kind"] == {"visit": 21}
    assert "/only-one-went-here" not in counts["route"]
    assert all(record.subject is None and not record.ring for record in site.records("aggregate"))


def test_promise_7_three_choices_for_every_response_and_a_refusal_identifies_nobody(tmp_path: Path) -> None:
    async def run() -> None:
        app = site(tmp_path)
        answers: dict[str, tuple[set[str], bytes]] = {}
        for choice in ("", "accept", "prompt", "reject"):
            visitor = Visitor(app)
            if choice:
                await visitor.picks(choice)
            sent = await visitor.gets("/books")
            body = b"".join(message.get("body", b"") for message in sent)
            answers[choice] = (names(sent) - {"__Host-consent-pending", "__Host-consent-waiting"}, body)
        assert answers["accept"][0] == {"session", "theme", "_ga", "ad"}
        assert answers[""][0] == answers["prompt"][0] == answers["reject"][0] == {"session"}
        assert {body for _, body in answers.values()} == {b"the same for everybody"}
        first, second = Visitor(app), Visitor(app)
        lines = [set_cookies(await who.picks("reject"))[0] for who in (first, second)]
        assert lines[0] == lines[1]

    asyncio.run(run())


def test_promise_8_a_withdrawal_erases_what_was_collected_until_it_is_certified(tmp_path: Path) -> None:
    async def run() -> None:
        app = site(tmp_path)
        visitor = Visitor(app)
        await visitor.picks("accept")
        await visitor.gets("/books")
        assert {"analytics", "necessary"} <= {record.purpose for record, _ in await kept(app, "visit")}
        sent = await visitor.picks("reject")
        assert any(line.startswith(b"theme=; Max-Age=0") for line in set_cookies(sent))
        await drained(app)
        outcome = await app.runtime.erasure.once(datetime.now(UTC) + timedelta(seconds=1))
        assert (outcome.troubles, len(outcome.done)) == ([], 1)
        assert {record.purpose for record, _ in await kept(app, "visit", "event")} == {"necessary"}
        assert len(await kept(app, "erased")) == 1

    asyncio.run(run())


def test_promise_9_an_officer_is_named_and_a_late_answer_is_an_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    officer = next(line for line in POLICY.splitlines() if line.startswith("officer"))
    with pytest.raises(PolicyError, match="officer"):
        loads(POLICY.replace(officer, ""))
    place = SiteWithRecords(tmp_path, UTC_POLICY)
    place.keeps()
    Revisions(place.places.revisions).keep(place.policy, UTC_POLICY)
    directory = ["--directory", str(place.places.directory)]
    assert main(["requests", *directory]) == 0
    received = (datetime.now(UTC).date() - 40 * DAY).isoformat()
    added = ["requests", "add", *directory, "--kind", "access", "--channel", "phone", "--received", received]
    assert main(added) == 0
    capsys.readouterr()
    assert main(["requests", *directory]) == 1
    assert "overdue" in "".join(capsys.readouterr())


def test_promise_10_the_agencies_on_the_page_are_those_of_the_declaration(tmp_path: Path) -> None:
    async def page(name: str, text: str) -> str:
        (tmp_path / name).mkdir()
        sent = await Visitor(site(tmp_path / name, text)).gets("/consent/policy", query_string=b"lang=en")
        return b"".join(message.get("body", b"") for message in sent).decode()

    mine = '[[agencies]]\nname = "The Agency of Elsewhere"\nphone = "4711"\n'
    assert "The Agency of Elsewhere" in asyncio.run(page("own", POLICY.replace("[controller]", mine + "[controller]")))
    assert "118" not in asyncio.run(page("law", POLICY))


def test_promise_11_a_change_is_published_ahead_and_the_old_rules_hold_until_then(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site(tmp_path)
    today = datetime.now(load(tmp_path / "policy.toml").time_zone).date()
    dates = {"published = 2026-11-23": f"published = {today}", "revision = 1": "revision = 2"}

    def second(days: int) -> int:
        text = POLICY.replace('retention = "13 months"', 'retention = "3 years"')
        for old, new in {**dates, "effective = 2026-11-23": f"effective = {today + days * DAY}"}.items():
            text = text.replace(old, new)
        (tmp_path / "policy.toml").write_text(text, "utf-8")
        return main(["publish", str(tmp_path / "policy.toml")])

    assert second(29) == 1
    assert "30" in "".join(capsys.readouterr())
    assert second(30) == 0
    app = ConsentMiddleware(shop, policy=tmp_path / "policy.toml", secret_keys=["a key of at least 16 bytes"])
    assert app.runtime.policy.revision == 1
