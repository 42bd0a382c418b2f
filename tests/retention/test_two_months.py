"""Two simulated months around 29 February, judged by rules that share no code with the product (docs/year.md)."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tests.support.repository import ROOT
from tests.year.ends import Span, after
from tests.year.findings import RULES
from tests.year.judge import Judge
from tests.year.replay import entries
from tests.year.run import judged, story
from tests.year.world import Entry

#: A machine that runs the rest of the tests beside it may need longer than one test may elsewhere.
pytestmark = pytest.mark.timeout(600)

_YEAR = ROOT / "tests" / "year"
_DOCS = ROOT / "docs"
#: The judge's own files: what it knows it knows from the documents and from the journal.
_JUDGE = ("ends", "course", "traces", "people", "rows", "tallies", "readings", "findings", "judge", "replay")
_SEED = 1
#: What has to have happened, or two months without a fault would say nothing.
_HAPPENED = {
    "page", "choose", "withdraw", "erase", "restrict", "lift", "dispute", "erase_abuse", "ask", "letter", "look",
    "clear", "close", "own", "published", "killed", "stopped", "backup", "restored", "clock", "daily", "inspection",
    "copies", "read", "disclosed", "requests", "answered", "verified", "command",
}  # fmt: skip


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> tuple[Judge, Path]:
    directory = tmp_path_factory.mktemp("two-months")
    return judged(story(_SEED, short=True), directory), directory / "journal.jsonl"


def test_two_months_hold_what_the_documents_promise(lived):
    judge, _ = lived
    assert not judge.findings.all, "\n".join(map(str, judge.findings.all[:40]))


def test_everything_that_the_rules_are_about_happened(lived):
    judge, _ = lived
    assert set(judge.happened) >= _HAPPENED
    assert not {rule for rule in RULES if not judge.findings.judged[rule]}


def test_the_judge_shares_no_code_with_the_product():
    for name in _JUDGE:
        tree = ast.parse((_YEAR / f"{name}.py").read_text())
        modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        modules += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
        assert not [module for module in modules if module.startswith("consent_mw")], name
        ours = [module.rpartition(".")[2] for module in modules if module.startswith("tests.")]
        assert set(ours) <= set(_JUDGE) | {"run"}, name


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_stands_in_the_documents(rule):
    page, sentence = RULES[rule]
    assert _plain(sentence) in _plain((_DOCS / page).read_text())


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text)


# -- would the judge notice? --------------------------------------------------------------------------------------


class _NeverGone:
    """Nothing that ever was in the store goes."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def __call__(self, entry: Entry) -> Entry:
        self._seen |= set(entry["ids"])
        return {**entry, "ids": sorted(self._seen)}


def _without_a_row(entry: Entry) -> Entry:
    """A visit is lost."""
    lost = {row["id"] for row in entry["new"] if row["kind"] == "visit" and row["purpose"] == "analytics"}
    lost = set(sorted(lost)[:1])
    return {**entry, "new": [row for row in entry["new"] if row["id"] not in lost], "ids": [*set(entry["ids"]) - lost]}


def _for_another(entry: Entry) -> Entry:
    """Rows are kept for a purpose that their visitor did not allow."""
    return {
        **entry,
        "new": [{**row, "purpose": "ads"} if row["purpose"] == "research" else row for row in entry["new"]],
    }


def _one_more(entry: Entry) -> Entry:
    """Each count says one more, and each certificate."""
    return {**entry, "new": [_more(row) for row in entry["new"]]}


def _more(row: dict[str, Any]) -> dict[str, Any]:
    data = dict(row["data"])
    if row["kind"] == "aggregate":
        data["aggregate.cells"] = re.sub(r"\d+(?=[,}])", lambda match: str(int(match[0]) + 1), data["aggregate.cells"])
    if row["kind"] == "certificate":
        data["certificate.records"] += 1
    return {**row, "data": data}


def _opens(opens: bool) -> Callable[[Entry], Entry]:
    """Keys are never destroyed, or at once."""
    return lambda entry: {**entry, "found": [[ms, purpose, opens] for ms, purpose, _ in entry["found"]]}


def _with(**facts: Any) -> Callable[[Entry], Entry]:
    return lambda entry: {**entry, **facts}


def _my_data(**facts: Any) -> Callable[[Entry], Entry]:
    return lambda entry: {**entry, "data": {**entry["data"], **facts}}


def _due(entry: Entry) -> Entry:
    return {**entry, "cases": [{**case, "due": "2028-12-24"} for case in entry["cases"]]}


#: Faults that can be told apart, several in one reading of the journal: the kinds of entries that each alters, how, and
#: the rules that have to say so.
_FAULTS: dict[str, list[tuple[set[str], Callable[[Entry], Entry], set[str]]]] = {
    "a row is lost, keys stay, every cookie passes, staff see nothing, restrictions are made up": [
        ({"daily", "inspection"}, _without_a_row, {"kept"}),
        ({"copies"}, _opens(True), {"key"}),
        ({"page"}, _with(kept=["c_analytics", "c_marketing", "c_research", "c_ads"]), {"gate"}),
        ({"read"}, _with(paths=[]), {"read"}),
        ({"look"}, _my_data(restricted=True), {"my data, restricted"}),
        ({"requests"}, _due, {"due"}),
    ],
    "rows stay, keys go at once, nobody is asked, my data is empty": [
        ({"inspection"}, _NeverGone(), {"ended", "late", "erased"}),
        ({"copies"}, _opens(False), {"key too early"}),
        ({"page"}, _with(banner=False), {"asked"}),
        ({"look"}, _my_data(held=[]), {"my data"}),
    ],
    "rows are kept for another purpose, no notice is shown, disclosures leave nobody out": [
        ({"daily", "inspection"}, _for_another, {"not kept", "kept"}),
        ({"page"}, _with(notice=False), {"notice"}),
        ({"disclosed"}, _with(left_out=0, records=100_000), {"disclosed"}),
        ({"verified"}, _with(code=1), {"verify"}),
    ],
    "numbers are too high, a receipt is missing, the archive is empty": [
        ({"daily", "inspection"}, _one_more, {"counts", "certificate"}),
        ({"inspection"}, _with(archived=[]), {"archive"}),
        ({"command"}, _with(code=1), {"command"}),
        ({"look"}, _with(status=404), {"known"}),
    ],
}


@pytest.mark.parametrize("faults", _FAULTS)
def test_the_judge_notices_when(lived, faults):
    """What the site said is altered as such faults would alter it: each of the rules says so."""
    _, journal = lived
    judge = Judge(story(_SEED, short=True).course)
    for entry in entries(journal):
        for kinds, alter, _ in _FAULTS[faults]:
            entry = alter(entry) if entry["what"] in kinds else entry
        judge(entry)
    assert {finding.rule for finding in judge.findings.all} >= set().union(*(rules for _, _, rules in _FAULTS[faults]))


def test_no_restriction_that_is_ignored_escapes_the_judge(lived):
    """Whoever asks to be left alone is not heard: staff read all the same, and the judge knows who had asked."""
    _, journal = lived
    judge = Judge(story(_SEED, short=True).course)
    for entry in entries(journal):
        if entry["what"] == "read":
            every = judge.people.traces
            entry["paths"] = [[trace.kind, trace.path] for trace in every if trace.purpose == entry["purpose"]]
        judge(entry)
    assert "restricted" in {finding.rule for finding in judge.findings.all}


def test_the_judge_knows_that_what_was_to_be_erased_may_have_ended_first(lived):
    """The simulated site did not look in between, so the certificate of the day may count what was to be erased."""
    rows = lived[0].rows
    first, second = rows.looks[:2]
    assert rows.looked(first, second)
    assert not rows.looked(first + (second - first) / 2, second)


def test_a_month_of_the_judge_ends_on_the_last_day_of_february():
    moment = datetime(2028, 1, 31, 12, tzinfo=UTC)
    assert after(moment, Span.of("1 month"), ZoneInfo("UTC")) == datetime(2028, 2, 29, 12, tzinfo=UTC)
    assert after(moment, Span.of("30 days"), ZoneInfo("UTC")) == moment + timedelta(days=30)
