"""`consent-mw report`: from aggregates alone, in the terminal, as JSON and as one file; nothing of a person is read."""

from __future__ import annotations

import asyncio
import json
import random
import re
import resource
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from playwright.sync_api import sync_playwright
from tests.support import browser_site
from tests.support.axe import faults
from tests.support.policies import POLICY

from consent_mw.cli import main
from consent_mw.cli.report import _write
from consent_mw.cli.report_chart import _ticks, columns, rows
from consent_mw.cli.report_page import report_page
from consent_mw.cli.report_table import print_report
from consent_mw.crypto.keyring import FileKeyring
from consent_mw.crypto.sealer import Sealer
from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.exceptions import ConfigurationError
from consent_mw.paths import Places
from consent_mw.policy.loader import loads
from consent_mw.policy.revisions import Revisions
from consent_mw.records import Record, Scalar, new_id
from consent_mw.retention.aggregates import DayCounts
from consent_mw.retention.calendar import Retention
from consent_mw.retention.reports import Count, Day, Owed, Period, Report, endings, report_of
from consent_mw.retention.small_cells import OTHER
from consent_mw.spool.spool import Backlog
from consent_mw.stores.memory import MemoryStore
from consent_mw.stores.sqlite import SQLiteStore
from consent_mw.system.days import day_of

DAY = (date(2026, 11, 20) - date(1970, 1, 1)).days
DAY_NS = 86_400_000_000_000
SECRET_KEYS = [b"the secret key of a site"]
SEALER = Sealer.without_keys(SiteKeys.made_of(SECRET_KEYS))


def record(day: int, second: int, kind: str, purpose: str, data: dict[str, Scalar]) -> Record:
    subject = second.to_bytes(16) if purpose == "analytics" else None
    return SEALER.record(new_id(day * DAY_NS + second * 1_000_000_000), kind, purpose, subject=subject, data=data)


def visit(seconds: float, route: str, status: int = 200) -> dict[str, Scalar]:
    return {
        "http.route": route,
        "http.response.status_code": status,
        "http.server.request.duration": seconds,
        "consent.choice": "accept",
        "consent.cookies.blocked": "theme _ga*" if status == 200 else None,
        "user_agent.name": "Firefox",
    }


def aggregates(day: int, exchanges: int = 100) -> list[Record]:
    """Count a day in which a quarter of the visitors allowed analytics; nine in ten answers were fast."""
    chance = random.Random(day)
    counts = {purpose: DayCounts(day, purpose) for purpose in ("necessary", "analytics", "receipts")}
    for number in range(exchanges):
        facts = visit(0.004 if number % 10 else 0.6, chance.choice(["/책", "/books/{id}"]), 200 if number % 20 else 500)
        second = number * 600 % 86_000
        counts["necessary"].add([record(day, second, "visit", "necessary", facts)])
        if number % 4 == 0:
            counts["analytics"].add([record(day, second, "visit", "analytics", facts)])
    for number in range(12):
        choice: dict[str, Scalar] = {"consent.choice": "reject" if number % 2 else "accept", "consent.language": "ko"}
        counts["receipts"].add([record(day, number, "receipt", "receipts", choice)])
    for name in ("cart", "cart", "seen"):
        forgotten: dict[str, Scalar] = {"cookie.name": name, "cookie.source": "response"}
        counts["necessary"].add([record(day, 86_000, "undeclared", "necessary", forgotten)])
    return [aggregate for count in counts.values() for aggregate in count.records(SEALER)]


@pytest.fixture
def places(tmp_path: Path) -> Places:
    places = Places(tmp_path / "consent-data")
    places.prepare()
    SiteKeys.kept(places.site_keys, SECRET_KEYS)
    keep(places, *(aggregate for day in range(DAY, DAY + 3) for aggregate in aggregates(day, 100 + 20 * (day - DAY))))
    return places


def keep(places: Places, *records: Record) -> None:
    async def append() -> None:
        store = SQLiteStore(places.database)
        await store.open()
        await store.append(records)
        await store.close()

    asyncio.run(append())


def run(places: Places, *words: str) -> int:
    span = ["--since", "2026-11-20", "--until", "2026-11-22"]
    return main(["report", "--directory", str(places.directory), *span, *words])


def test_everything_is_there_as_json(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(places, "--json") == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert [day["exchanges"] for day in report["days"].values()] == [100, 120, 140]
    assert [day["receipts"] for day in report["days"].values()] == [12, 12, 12]
    assert report["days"]["2026-11-20"]["choices"] == {"accept": 6, "reject": 6}
    assert report["counts"]["route"]["of"] == "necessary"
    assert sum(report["counts"]["route"]["cells"].values()) == 360
    assert report["counts"]["status"]["cells"] == {"2xx": 342, "5xx": 18}
    assert report["counts"]["receipt language"]["cells"] == {"ko": 36}
    assert report["counts"]["receipt language choice"]["cells"] == {"ko: accept": 18, "ko: reject": 18}
    assert report["counts"]["blocked"]["cells"] == {"_ga*": 342, "theme": 342}
    assert [(day["blocked"], day["undeclared"]) for day in report["days"].values()] == [(190, 2), (228, 2), (266, 2)]
    assert report["requests"] is None
    assert report["latency"] == {"p50": 0.005, "p90": 0.005, "p99": 0.75}
    assert report["drain"] == {"waiting_bytes": 0, "behind_seconds": 0, "oldest": None}


def test_a_terminal_reads_tables_with_bars(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(places) == 0
    shown = capsys.readouterr().out
    assert re.search(r"2026-11-22 +140 +\S+ +– +12 +266 +2 +█{20,}", shown)
    assert re.search(r"choices by day +accept +reject *\n2026-11-20 +6 +6 +█{20,}", shown)
    assert re.search(r"choices by language \(receipts\) *\nko: accept +18 +50% +█+", shown)
    assert "latency: p50 0.005 s, p90 0.005 s, p99 0.75 s" in shown
    assert re.search(r"routes \(necessary\)\s+/\S+ +\d+ +5\d% +█+", shown)
    assert "drain: nothing waits" in shown
    assert "\x1b" not in shown


def test_a_page_for_which_the_disk_has_no_room_leaves_that_of_last_week(tmp_path: Path) -> None:
    file = tmp_path / "week.html"
    file.write_text("last week")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, hard))
    try:
        with pytest.raises(ConfigurationError, match="cannot be written"):
            _write(file, "this week" * 1_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [(left.name, left.read_text()) for left in tmp_path.iterdir()] == [("week.html", "last week")]


def test_a_page_that_a_link_names_is_written_where_it_leads(tmp_path: Path) -> None:
    link, page = tmp_path / "latest.html", tmp_path / "week.html"
    link.symlink_to(page)
    _write(link, "this week")
    assert (link.is_symlink(), page.read_text()) == (True, "this week")


def test_the_page_is_one_file_with_a_table_for_each_chart(places: Places, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    assert run(places, "--html", str(file)) == 0
    page = file.read_text("utf-8")
    assert "<script" not in page
    assert re.findall(r"""(?:src|href)=["']?https?:""", page) == []
    assert page.count('<svg role="img"') == page.count("<details>") > 5
    assert "/책" in page
    assert '<th scope="row">2026-11-21</th><td>120</td>' in page


@pytest.mark.parametrize(
    ("largest", "ticks"),
    [
        (0, [0, 1]),
        (1, [0, 1]),
        (3, [0, 1, 2, 3]),
        (5, [0, 2, 4, 6]),
        (140, [0, 50, 100, 150]),
        (1999, [0, 500, 1000, 1500, 2000]),
    ],
)
def test_an_axis_has_a_few_round_whole_numbers_up_to_the_largest(largest: int, ticks: list[int]) -> None:
    assert list(_ticks(largest)) == ticks


def test_the_bars_are_as_high_as_their_numbers() -> None:
    def heights(chart: str) -> dict[str, float]:
        bars = re.findall(r'height="([\d.]+)" fill="[^"]+"><title>([^<]+: [^<]+)<', chart)
        return {title: float(height) for height, title in bars}

    daily = {"requests": [100, None, 50], "visits": [25, 10, None]}
    beside = heights(columns(["one", "two", "three"], daily))
    assert beside == {
        "one, requests: 100": 200, "one, visits: 25": 50, "two, visits: 10": 20, "three, requests: 50": 100,
    }  # fmt: skip
    parts = heights(columns(["one"], {"accept": [30], "reject": [10]}, shares=True))
    assert parts == {"one, accept: 30": 150, "one, reject: 10": 50}
    assert ElementTree.fromstring(columns([], {"requests": []})).findall("*")
    widths = re.findall(r'width="([\d.]+)"[^>]*><title>', rows([("<b>", 100), ("(other)", 50), ("none", 0)]))
    assert [float(width) for width in widths] == [170, 85, 0]


def test_what_a_stranger_invents_is_text_on_the_page(places: Places, tmp_path: Path) -> None:
    counts = DayCounts(DAY, "functional")
    counts.add(record(DAY, n, "visit", "functional", visit(0.1, "/<script>alert(1)</script>")) for n in range(500))
    keep(places, *counts.records(SEALER))
    file = tmp_path / "report.html"
    assert run(places, "--html", str(file)) == 0
    page = file.read_text("utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_what_visitors_wait_for_is_told_where_there_is_a_queue(
    capsys: pytest.CaptureFixture[str],
) -> None:
    late = Owed("17", "erasure", "2026-11-20T00:00+09:00", overdue=True)
    report = Report(since="2026-11-20", until="2026-11-22", days={}, counts={}, latency={}, requests=[late])
    print_report(report, Backlog(0, None))
    shown = capsys.readouterr().out
    assert "requests of visitors: 1 open, 1 overdue" in shown
    assert "2026-11-20T00:00+09:00  overdue  erasure 17" in shown
    page = report_page(report, Backlog(0, None))
    assert '<th scope="row">17</th><td>erasure</td>' in page
    assert '<span class="late">overdue</span>' in page


def test_few_events_do_not_hide_the_visits_of_their_day() -> None:
    async def read() -> Report:
        store = MemoryStore()
        await store.open()
        counts = DayCounts(DAY, "analytics")
        counts.add(record(DAY, n, "visit", "analytics", visit(0.1, "/")) for n in range(30))
        counts.add([record(DAY, 40, "event", "analytics", {"event.name": "search"})])
        await store.append(counts.records(SEALER))
        return await report_of(store, SEALER, DAY, DAY)

    (day,) = asyncio.run(read()).days.values()
    assert (day.exchanges, day.events) == (30, None)


def test_what_is_mostly_hidden_has_no_chart_and_each_choice_its_own_colour_in_any_report() -> None:
    def drawn(*choices: str, other: int) -> str:
        cells = dict.fromkeys(choices, 10) | {OTHER: other}
        period = Period(["2026-11-20"], cells, sum(cells.values()))
        hidden = {
            "joined hour": Count("analytics", {"08": 5, OTHER: 6}),
            "route": Count("analytics", {"/": 5, OTHER: 5}),
        }
        days = {"2026-11-20": Day(exchanges=50), "2026-11-21": Day(exchanges=50, visits=5)}
        report = Report(since="2026-11-20", until="2026-11-20", days=days, counts=hidden, latency={}, choices=[period])
        return report_page(report, Backlog(0, None))

    page = drawn("accept", "reject", other=7)
    by_hour = page.partition("Visits by hour")[2].partition("</section>")[0]
    assert "so there is no chart" in by_hour
    assert '<th scope="row">09</th><td>–</td>' in by_hour
    assert "<svg" in page.partition("Routes")[2].partition("</section>")[0]
    assert '<th scope="row">2026-11-20</th><td>50</td><td>–</td>' in page

    def colours(page: str) -> dict[str, str]:
        chart = page.partition("Choices by day")[2].partition("</svg>")[0]
        return {name: colour for colour, name in re.findall(r'fill="([^"]+)"><title>2026-11-20, ([^:]+):', chart)}

    both, one = colours(page), colours(drawn("reject", other=3))
    assert set(both) == {"accept", "reject", OTHER}
    assert (one["reject"], one[OTHER]) == (both["reject"], both[OTHER]) == ("var(--chart-2)", "var(--chart-other)")


def test_a_span_without_counted_days_says_so(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--directory", str(places.directory), "--since", "2020-01-01", "--until", "2020-01-02"]) == 0
    assert "no day in this span was counted yet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--since", "2026-11-23", "--until", "2026-11-20"], 2, "--since is after --until"),
        (["--since", "soon"], 2, "does not match the format"),
        (["--days", "0"], 2, "is not in the range"),
        (["--html", "/nowhere/at/all.html"], 1, "cannot be written"),
    ],
)
def test_bad_input_is_one_line(
    places: Places, words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "--directory", str(places.directory), *words]) == code
    errors = capsys.readouterr().err
    assert said in errors
    assert errors.count("\n") == 1


def test_what_ends_next_comes_from_the_declaration_and_the_keys(
    places: Places, capsys: pytest.CaptureFixture[str]
) -> None:
    Revisions(places.revisions).keep(loads(POLICY), POLICY)
    keyring = FileKeyring(places.keys)
    now = datetime.now(UTC)
    today = day_of(now)
    for day in (today - 1, today):
        keyring.key(day, "analytics", create=True)
    assert run(places, "--json") == 0
    (ending,) = json.loads(capsys.readouterr().out)["ending"]
    yesterday = datetime.fromtimestamp((today - 1) * 86_400, UTC).date()
    assert (ending["purpose"], ending["day"]) == ("analytics", str(yesterday))
    sooner = POLICY.replace('"13 months"', '"2 months"')
    early, late = (endings(Retention([loads(text)]), [(today, "analytics")], now)[0].ends for text in (sooner, POLICY))
    assert early < late


def test_more_aggregates_than_a_page_are_all_counted() -> None:
    async def read() -> int:
        store = MemoryStore()
        await store.open()
        for day in range(DAY - 99, DAY + 1):
            await store.append(aggregates(day, 30))
        report = await report_of(store, SEALER, DAY - 99, DAY)
        await store.close()
        return sum(day.exchanges or 0 for day in report.days.values())

    assert asyncio.run(read()) == 3_000


def test_axe_finds_nothing_on_the_page_narrow_or_wide_light_or_dark(places: Places, tmp_path: Path, shell: str) -> None:
    file = tmp_path / "report.html"
    assert run(places, "--html", str(file)) == 0
    with sync_playwright() as playwright:
        browser = browser_site.launch(playwright.chromium, shell)
        page = browser.new_context(bypass_csp=True).new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(file.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        assert faults(page, browser_site.axe()) == []
        assert asked == [file.as_uri()]
        browser.close()
