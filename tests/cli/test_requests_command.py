"""`consent-mw requests`: what is open and by when, what came by phone, and answers that are given once."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from tests.support.commands import refused, run
from tests.support.sites_with_visitors import NOW, REASON, Site, visited

from consent_mw.audit import Audit
from consent_mw.cli.case_view import short_numbers
from consent_mw.consent.data_subject import Person
from consent_mw.crypto.keyring import FileKeyring
from consent_mw.crypto.sealer import Sealer
from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.exceptions import AnswerRefused
from consent_mw.policy.loader import load
from consent_mw.rights.answering import check_answer
from consent_mw.rights.contact import contact_item
from consent_mw.rights.erasure import Erasure
from consent_mw.rights.queue import Queue, queue_of
from consent_mw.rights.request import Answer, Case, Outcome, Request, RequestKind
from consent_mw.stores.sqlite import SQLiteStore

SEOUL = ZoneInfo("Asia/Seoul")
TODAY = NOW.astimezone(SEOUL).date()
ABUSE = ("--purpose", "abuse")


def came(days_ago: int = 0) -> tuple[str, str]:
    return "--received", (TODAY - timedelta(days=days_ago)).isoformat()


def added(site: Site, *words: str, kind: str = "access", days_ago: int = 0) -> str:
    """Register a request and return its number."""
    with redirect_stdout(StringIO()) as out:
        head = ("requests", "add", "--kind", kind, "--channel", "phone", *came(days_ago))
        assert site.runs(*head, *words, "--json") == 0
    return str(json.loads(out.getvalue())["number"])


def listed(site: Site, capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert site.runs("requests", *words, "--json") == code
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return visited(tmp_path)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """One site for all that is refused and so leaves no trace."""
    return visited(tmp_path_factory.mktemp("kept"))


# -- the list ------------------------------------------------------------------------------------------------------


def test_the_list_begins_with_what_is_due_first_and_shows_times_with_their_offset(site: Site) -> None:
    late, early = added(site, days_ago=1), added(site, "--phone", "02-120", kind="complaint", days_ago=8)
    result = run("requests", "--directory", site.places.directory)
    assert (result.returncode, result.stderr) == (0, "")
    heading, first, second = result.stdout.splitlines()
    assert heading.split() == ["number", "kind", "came", "by", "received", "due", "state"]
    assert [early.startswith(first.split()[0]), late.startswith(second.split()[0])] == [True, True]
    assert re.search(r"complaint  phone    \d{4}-\d\d-\d\d 00:00\+09:00  \d{4}-\d\d-\d\d 23:59\+09:00  open", first)
    assert "02-120" not in result.stdout


def test_an_overdue_request_makes_a_monitor_ring_and_an_answer_makes_it_stop(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert listed(site, capsys) == []
    added(site)
    number = added(site, days_ago=400)
    assert [row["state"] for row in listed(site, capsys, code=1)] == ["overdue", "open"]
    assert site.runs("requests", "list") == 1
    assert "consent-mw: overdue: 1, the oldest was due on " in capsys.readouterr().err
    assert site.runs("requests", "answer", number) == 0
    assert [row["overdue"] for row in listed(site, capsys)] == [False]
    assert [row["state"] for row in listed(site, capsys, "--all")] == ["open", "done"]


def test_the_counts_for_a_report_open_nothing(site: Site) -> None:
    policy = load(site.places.directory.parent / "policy.toml")

    sealer = Sealer.without_keys(SiteKeys.read(site.places.site_keys))

    def counted() -> Queue:
        async def count() -> Queue:
            store = SQLiteStore(site.places.database)
            await store.open()
            try:
                return await queue_of(store, policy, NOW + timedelta(seconds=60), sealer)
            finally:
                await store.close()

        return asyncio.run(count())

    assert counted() == Queue()
    added(site, days_ago=400)
    added(site)
    site.places.keys.unlink()
    queue = counted()
    assert (queue.open, queue.overdue) == (2, 1)
    assert queue.next_due == Case(Request.new("access", "phone", int(NOW.timestamp() * 1e9))).due(policy)


@pytest.mark.parametrize(
    ("numbers", "short"),
    [
        (["11111111-1111-7111-8111-111111111111"], ["11111111"]),
        (
            ["11111111-1111-7111-8111-111111111111", "11111111-1112-7111-8111-111111111111"],
            ["11111111-1111", "11111111-1112"],
        ),
        (
            ["11111111-1111-7111-8111-111111111111", "11111111-2222-7111-8111-111111111111"],
            ["11111111-1", "11111111-2"],
        ),
    ],
)
def test_a_number_is_as_short_as_it_can_be_and_never_ends_with_a_dash(numbers: list[str], short: list[str]) -> None:
    assert list(short_numbers(map(UUID, numbers)).values()) == short


def test_the_report_tells_what_is_open_and_overdue(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    late = added(site, days_ago=400)
    added(site)
    capsys.readouterr()
    assert site.runs("report", "--json") == 0
    requests = json.loads(capsys.readouterr().out)["requests"]
    assert [request["overdue"] for request in requests] == [True, False]
    assert requests[0]["number"] == late
    assert site.runs("report") == 0
    assert "requests of visitors: 2 open, 1 overdue" in capsys.readouterr().out


# -- what came by phone --------------------------------------------------------------------------------------------


def test_the_clock_runs_from_the_day_on_which_it_came_in_the_policys_time_zone(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = site.places.directory.parent / "policy.toml"
    assert load(policy).jurisdiction == "KR"
    added(site, days_ago=3)
    (row,) = listed(site, capsys)
    assert row["due"] == (TODAY - timedelta(days=3) + timedelta(days=10)).isoformat()
    begun = datetime.fromisoformat(row["received"])
    assert begun.astimezone(SEOUL).isoformat() == f"{TODAY - timedelta(days=3)}T00:00:00+09:00"
    assert re.fullmatch(r".+@.+", row["by"])


def test_an_hour_may_be_told_and_another_offset(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("requests", "add", "--kind", "access", "--channel", "fax", "--received")
    assert site.runs(*words, "2026-01-02T03:04") == 0
    assert site.runs(*words, "2026-01-02T03:04Z") == 0
    moments = {datetime.fromisoformat(row["received"]).astimezone(UTC) for row in listed(site, capsys, code=1)}
    assert moments == {datetime(2026, 1, 1, 18, 4, tzinfo=UTC), datetime(2026, 1, 2, 3, 4, tzinfo=UTC)}


@pytest.mark.parametrize(
    ("received", "said"),
    [
        ("tomorrow", "write 2026-11-23 or"),
        ("2026-02-30", "write 2026-11-23 or"),
        ("", "write 2026-11-23 or"),
        ("23.11.2026", "write 2026-11-23 or"),
        ("2999-01-01", "is in the future in Asia/Seoul; write the day on which it came"),
        ((TODAY + timedelta(days=1)).isoformat(), "is in the future in Asia/Seoul"),
        ("0001-01-01", "write"),
        ("1926-11-23", "is too long ago; write the day on which it came"),
    ],
)
def test_a_day_on_which_nothing_can_have_come_is_one_line(
    kept: Site, received: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kept.runs("requests", "add", "--kind", "access", "--channel", "phone", "--received", received) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert (shown.out, shown.err.count("\n")) == ("", 1)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--email", "nobody"), 2, "write name@example.com"),
        (("--message", "a\x1b[2J"), 2, "cannot be shown"),
        (("--message", "x" * 10_001), 2, "10,001 characters are too many"),
        (("--phone", "\udcff"), 2, "cannot be shown"),
        (("--purpose", "analytic"), 1, 'did you mean "analytics"?'),
        (("--receipt", "nobody"), 1, "its name stands in the downloaded file as pii_principal_id"),
    ],
)
def test_what_cannot_be_kept_is_one_line(
    kept: Site, words: tuple[str, ...], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kept.runs("requests", "add", "--kind", "access", "--channel", "phone", *came(), *words) == code
    shown = capsys.readouterr()
    assert said in shown.err
    assert (shown.out, shown.err.count("\n")) == ("", 1)


def test_a_message_may_come_from_standard_input(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["requests", "add", "--kind", "complaint", "--channel", "post", *came(), "--message", "-"]
    command = [sys.executable, "-m", "consent_mw", *words, "--directory", str(site.places.directory)]
    subprocess.run(command, input="처음\n끝\n".encode(), check=True, capture_output=True)
    (row,) = listed(site, capsys)
    assert site.runs("requests", "show", row["number"], *REASON, "--json") == 0
    assert json.loads(capsys.readouterr().out)["message"] == "처음\n끝"


def test_a_request_with_a_receipt_is_its_holders_and_restricts_their_data(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    number = added(site, "--receipt", site.names[0], kind="restriction")
    capsys.readouterr()
    assert site.runs("log", "--purpose", "analytics") == 0
    assert "records are left out" in capsys.readouterr().err
    assert site.runs("requests", "show", number, *REASON) == 0
    assert f"receipts  {site.names[0]}" in capsys.readouterr().out


def test_a_corrected_address_is_the_one_that_is_shown_and_only_its_sender_corrects_it(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, theirs = Person((site.names[0],)), Person((site.names[1],))
    now_ns = int(NOW.timestamp() * 1e9)
    asked = Request.new("complaint", "site", now_ns, person=mine, email="old@example.com")
    item = contact_item("email", asked.id)
    corrections = [Request.new("correction", "site", now_ns + n, person=person, item=item, value=f"new{n}@example.com")
                   for n, person in enumerate((mine, theirs), 1)]  # fmt: skip
    done = [Answer.new(correction.id, "done", now_ns + 9) for correction in corrections]
    site.registers(asked, *corrections, answers=done)
    assert site.runs("requests", "show", str(asked.id), *REASON, "--json") == 0
    assert json.loads(capsys.readouterr().out)["email"] == "new1@example.com"


# -- who sent it ---------------------------------------------------------------------------------------------------


def test_who_sent_it_takes_a_reason_that_is_recorded_before(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    number = added(site, "--email", "a@example.com", "--message", "모두 보여 주세요")
    assert site.runs("requests", "show", number) == 0
    shown = capsys.readouterr()
    assert f"request {number}: access, open" in shown.out
    assert "a@example.com" not in shown.out
    assert "add --reason 'why'" in shown.err
    assert not site.places.audit.exists()
    assert site.runs("requests", "show", number[:20].upper(), *REASON) == 0
    assert "message   모두 보여 주세요" in capsys.readouterr().out
    entries = [entry.facts for entry in Audit(site.places.audit, site.places.audit_head).entries()]
    assert entries[0]["command"] == f"requests show {number}"
    assert (entries[0]["reason"], entries[1]["records"], entries[1]["ended"]) == ("a test", 1, "whole")
    keys = site.places.keys.rename(site.places.directory / "of another machine")
    FileKeyring(site.places.keys).close()
    assert site.runs("requests", "show", number, *REASON) == 0
    assert "모두 보여 주세요" not in capsys.readouterr().out
    *_, last = Audit(site.places.audit, site.places.audit_head).entries()
    assert (last.facts["records"], last.facts["not_opened"]) == (0, 1)
    keys.rename(site.places.keys)
    site.places.audit.unlink()
    site.places.audit.mkdir()  # refuses root as well
    assert site.runs("requests", "show", number, *REASON) == 1
    assert capsys.readouterr().out == ""


# -- answers -------------------------------------------------------------------------------------------------------


def test_an_answer_says_who_gave_it_and_is_given_once(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    number = added(site)
    assert site.runs("requests", "answer", number, "--reason", "sent by post", "--as", "Kim") == 0
    assert re.search(r"done      .+, by Kim, .+@", capsys.readouterr().out)
    for words in (("answer",), ("refuse", "--reason", "no"), ("grant",)):
        assert site.runs("requests", words[0], number, *words[1:]) == 1
        assert re.search(r"was answered already: done on .+\+\d\d:\d\d by Kim, .+@", capsys.readouterr().err)
    (row,) = listed(site, capsys, "--all")
    assert [answer["outcome"] for answer in row["answers"]] == ["done"]
    assert site.runs("requests", "show", number, *REASON) == 0
    assert "reasons   sent by post" in capsys.readouterr().out


def test_of_those_who_answer_at_once_the_first_wins_and_the_others_are_told(site: Site) -> None:
    number = added(site)
    words = [sys.executable, "-m", "consent_mw", "requests", "answer", number]
    command = [*words, "--directory", str(site.places.directory)]
    racers = [subprocess.Popen([*command, "--as", f"clerk {n}"], stderr=subprocess.PIPE, stdout=subprocess.PIPE)
              for n in range(4)]  # fmt: skip
    messages = [racer.communicate(timeout=60)[1].decode() for racer in racers]
    assert sorted(racer.returncode for racer in racers) == [0, 1, 1, 1]
    assert sum("was answered already: done on" in message for message in messages) == 3
    shown = run("requests", "--all", "--json", "--directory", site.places.directory)
    assert len(json.loads(shown.stdout)["answers"]) == 1


def test_a_refusal_without_a_reason_is_not_understood(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    number = added(site)
    assert site.runs("requests", "refuse", number) == 2
    assert "say why with --reason" in capsys.readouterr().err
    assert site.runs("requests", "refuse", number, "--reason", " ") == 2
    assert site.runs("requests", "refuse", number, "--reason", "nobody proved whose data is meant") == 0
    assert listed(site, capsys, "--all")[0]["state"] == "refused"


def test_an_erasure_of_abuse_is_granted_once_and_stays_open_until_it_is_carried_out(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    number = added(site, *ABUSE, "--receipt", site.names[0], kind="erasure")
    assert site.runs("requests", "answer", number) == 1
    assert "waits for a decision: grant it" in capsys.readouterr().err
    assert site.runs("requests", "grant", number) == 0
    assert site.runs("requests", "grant", number) == 1
    assert "was decided already: granted on" in capsys.readouterr().err
    assert listed(site, capsys)[0]["state"] == "granted"


def test_a_restriction_that_is_granted_is_in_force_until_it_is_answered(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    number = added(site, "--receipt", site.names[0], kind="restriction", days_ago=400)
    added(site)
    assert listed(site, capsys, code=1)[0]["state"] == "overdue"
    assert site.runs("requests", "grant", number) == 0
    assert [row["state"] for row in listed(site, capsys)] == ["open", "in force"]
    assert site.runs("log", "--purpose", "analytics") == 0
    assert "records are left out" in capsys.readouterr().err
    assert site.runs("requests", "answer", number) == 0
    assert "note: the restriction ends with it" in capsys.readouterr().err
    assert [row["state"] for row in listed(site, capsys)] == ["open"]


def test_what_came_with_a_receipt_is_carried_out_and_answered_by_the_site(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = ("log", "--json", "-n", "100", "--kind", "visit", "--purpose", "analytics")
    assert site.runs(*shown) == 0
    whole = len(capsys.readouterr().out.splitlines())
    withdrawal = added(site, "--purpose", "analytics", "--receipt", site.names[0], kind="withdrawal")
    abuse = added(site, *ABUSE, "--receipt", site.names[1], kind="erasure")
    assert site.runs("requests", "grant", abuse) == 0
    asyncio.run(carried_out(site))
    states = {row["number"]: row["state"] for row in listed(site, capsys, "--all")}
    assert states == {withdrawal: "done", abuse: "done"}
    assert site.runs(*shown) == 0
    assert len(capsys.readouterr().out.splitlines()) == whole // 2


async def carried_out(site: Site) -> None:
    store = SQLiteStore(site.places.database)
    await store.open()
    sealer = Sealer.of_site(site.places)
    policy = load(site.places.directory.parent / "policy.toml")
    outcome = await Erasure.of_site([policy], site.places, store, sealer).once(datetime.now(UTC))
    await store.close()
    assert (outcome.troubles, outcome.waiting) == ([], [])


PERSON = Person(("a receipt",))


@pytest.mark.parametrize(
    ("kind", "purposes", "person", "outcome", "why"),
    [
        ("access", (), PERSON, "granted", "needs no decision"),
        ("erasure", (), PERSON, "granted", "needs no decision"),
        ("restriction", (), Person(), "granted", "does not say whose records are meant"),
        ("restriction", (), PERSON, "granted", ""),
        ("restriction", (), PERSON, "refused", ""),
        ("restriction", (), PERSON, "done", ""),
        ("erasure", ("abuse",), Person(), "granted", "does not say whose records are meant"),
        ("erasure", (), PERSON, "done", "is carried out and answered by the site itself"),
        ("withdrawal", ("analytics",), PERSON, "done", "is carried out and answered by the site itself"),
        ("withdrawal", ("analytics",), PERSON, "refused", "which nobody has to agree to"),
        ("erasure", (), Person(), "done", ""),
        ("withdrawal", (), Person(), "refused", ""),
        ("erasure", (), PERSON, "refused", ""),
        ("erasure", ("abuse",), PERSON, "refused", ""),
        ("correction", (), PERSON, "done", ""),
    ],
)
def test_staff_answer_what_is_theirs_to_answer(
    kind: RequestKind, purposes: tuple[str, ...], person: Person, outcome: Outcome, why: str
) -> None:
    case = Case(Request.new(kind, "site", 0, person=person, purposes=purposes))
    if not why:
        check_answer(case, outcome)
        return
    with pytest.raises(AnswerRefused, match=why):
        check_answer(case, outcome)


def test_a_granted_one_is_not_refused_any_more() -> None:
    request = Request.new("erasure", "site", 0, person=PERSON, purposes=("abuse",))
    with pytest.raises(AnswerRefused, match="was decided already: granted on"):
        check_answer(Case(request, (Answer.new(request.id, "granted", 1),)), "refused")


# -- numbers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "said"),
    [
        ("ffff", "there is no request ffff here"),
        ("x", '"x" is not the number'),
        ("", '"" is not the number'),
        ("-", "is not the number"),
    ],
)
def test_a_number_that_means_none_is_one_line(
    kept: Site, number: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (("show",), ("answer",), ("refuse", "--reason", "x"), ("grant",)):
        assert kept.runs("requests", command[0], number, *command[1:]) == 1
        shown = capsys.readouterr()
        assert (shown.out, shown.err.count("\n")) == ("", 1)
        assert said in shown.err


def test_a_number_that_means_two_names_them(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    both = [added(site), added(site)]
    assert site.runs("requests", "answer", both[0][:4]) == 1
    err = capsys.readouterr().err
    assert "write more of the number" in err
    assert all(number in err for number in both)


# -- where nothing is ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("list",),
        ("show", "ffff"),
        ("answer", "ffff"),
        ("add", "--kind", "access", "--channel", "phone", "--received", "2026-01-01"),
    ],
    ids=lambda words: str(words[0]),
)
def test_where_no_site_ran_it_is_one_line_and_nothing_is_made(words: tuple[str, ...], tmp_path: Path) -> None:
    assert "run the site first" in refused(run("requests", *words, "--directory", tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_without_its_keys_nothing_is_registered_or_answered_and_the_list_is_still_there(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    number = added(site)
    site.places.keys.unlink()
    assert len(listed(site, capsys)) == 1
    for words in (
        ("show", number, *REASON),
        ("answer", number),
        ("add", "--kind", "access", "--channel", "phone", *came()),
    ):
        assert site.runs("requests", *words) == 1
        assert "there is no key file here" in capsys.readouterr().err
    assert not site.places.keys.exists()
