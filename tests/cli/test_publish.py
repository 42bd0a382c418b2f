"""`consent-mw publish`: what it says, what it refuses with which fix, and what it keeps."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tests.support.policies import POLICY
from tests.support.publishing import dated

from consent_mw.cli import main
from consent_mw.policy.loader import loads
from consent_mw.policy.revisions import Revisions

LONGER = POLICY.replace('"13 months"', '"14 months"', 1)
REWORDED = POLICY.replace("privacy@", "data@")


def day(after: int = 0) -> str:
    return str(datetime.now(ZoneInfo("Asia/Seoul")).date() + timedelta(days=after))


class Desk:
    """An operator's directory: a policy, and what the commands say about it."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.file = directory / "policy.toml"
        self.revisions = Revisions(directory / "consent-data" / "revisions")
        self._capsys = capsys

    def writes(self, text: str, revision: int, effective: int = 0, published: int = 0) -> None:
        text = text.replace("revision = 1", f"revision = {revision}")
        self.file.write_text(dated(text, day(published), day(effective)), "utf-8")

    def runs(self, command: str, *options: str) -> tuple[int, str, str]:
        code = main([command, str(self.file), *options])
        said = self._capsys.readouterr()
        return code, said.out, said.err.replace(str(self.file), "policy.toml")

    def json(self, *options: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.runs("publish", "--json", *options)[1])
        return answer

    @property
    def kept(self) -> list[int]:
        return sorted(self.revisions.numbers())


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, capsys)


@pytest.fixture
def begun(desk: Desk) -> Desk:
    desk.writes(POLICY, 1, effective=-90, published=-90)
    assert desk.runs("publish")[0] == 0
    return desk


def test_the_first_revision_may_hold_at_once_whenever_it_was_written(desk: Desk) -> None:
    desk.writes(POLICY, 1, effective=-3, published=-3)
    code, out, err = desk.runs("publish")
    assert (code, err, desk.kept) == (0, "", [1])
    assert "revision 1, the first" in out
    assert "Revision 1 is published and holds from the beginning." in out
    assert loads(desk.file.read_text("utf-8")).digest in out


def test_an_important_change_is_listed_with_its_reason_and_takes_effect_after_30_days(begun: Desk) -> None:
    begun.writes(LONGER, 2, effective=30)
    code, out, err = begun.runs("publish")
    assert (code, err, begun.kept) == (0, "", [1, 2])
    assert "revision 2, compared with 1, which is in force" in out
    assert "  - Analytics is kept longer (13 months → 14 months) (important: it is kept longer)" in out
    assert f"It takes 30 days' notice (important changes: 1): published on {day()}, it may hold from {day(30)}." in out
    assert f"Revision 2 is published and takes effect at {day(30)} 00:00:00 +0900 (Asia/Seoul)." in out


def test_an_early_day_is_refused_with_the_day_to_write(begun: Desk) -> None:
    for text, days, why in ((LONGER, 30, "important changes: 1"), (REWORDED, 7, "visitors read of it")):
        begun.writes(text, 2, effective=days - 1)
        code, out, err = begun.runs("publish")
        assert (code, begun.kept) == (1, [1])
        assert "published and" not in out
        assert err == (
            f"consent-mw: policy.toml: effective: {day(days - 1)} is too early: {days} days' notice after {day()} "
            f"({why}); write effective = {day(days)}, or later\n"
        )


def test_what_nobody_reads_may_hold_at_once(begun: Desk) -> None:
    begun.writes(POLICY + "# for us\n", 2)
    code, out, _ = begun.runs("publish")
    assert code == 0
    assert "nothing that visitors read" in out
    assert "It takes no notice, and may hold at once." in out


def test_the_day_of_publication_is_today_in_the_time_zone_of_the_policy(begun: Desk) -> None:
    begun.writes(REWORDED, 2, effective=20, published=-1)
    code, _, err = begun.runs("publish")
    assert (code, begun.kept) == (1, [1])
    assert f"{day(-1)} is not today, which is {day()} in Asia/Seoul" in err
    assert err.endswith(f"write published = {day()}\n")


@pytest.mark.parametrize(
    ("revision", "problem"),
    [(2, "revision 2 is published with other content"), (1, "revision 1 is lower than 2, which is published")],
)
def test_a_number_is_used_once_and_never_goes_down(begun: Desk, revision: int, problem: str) -> None:
    begun.writes(LONGER, 2, effective=30)
    assert begun.runs("publish")[0] == 0
    begun.writes(REWORDED, revision, effective=30)
    code, _, err = begun.runs("publish")
    assert (code, begun.kept) == (1, [1, 2])
    assert err == f"consent-mw: policy.toml: revision: {problem}; write revision = 3\n"


def test_publishing_the_same_again_says_so_and_keeps_nothing_more(begun: Desk) -> None:
    begun.writes(LONGER, 2, effective=30)
    first = begun.runs("publish")[1]
    code, out, err = begun.runs("publish")
    assert (code, err) == (0, "")
    assert out == first.replace("is published", "was already published").replace("which is in", "which was in")
    assert len(list(begun.revisions.directory.iterdir())) == 2


def test_an_announced_revision_is_replaced_and_compared_with_the_one_in_force(begun: Desk) -> None:
    begun.writes(LONGER, 2, effective=30)
    begun.runs("publish")
    begun.writes(REWORDED, 3, effective=7)
    code, out, _ = begun.runs("publish")
    assert code == 0
    assert "compared with 1, which is in force" in out
    assert "14 months" not in out
    assert "Revision 2, which was announced, will never hold." in out
    begun.writes(POLICY, 4)
    assert begun.json()["replaces_announced"] == 3  # the old text under a higher number takes it back, at once
    assert begun.revisions.course().ahead(datetime.now(UTC)) is None


def test_a_dry_run_says_the_same_and_writes_nothing(desk: Desk) -> None:
    desk.writes(POLICY, 1)
    assert "can be published" in desk.runs("publish", "--dry-run")[1]
    assert not desk.revisions.directory.exists()
    desk.runs("publish")
    desk.writes(LONGER, 2, effective=3)
    assert desk.runs("publish", "--dry-run")[0] == 1
    desk.writes(LONGER, 2, effective=30)
    assert desk.runs("publish", "--dry-run")[0] == 0
    assert desk.kept == [1]


def test_as_json_it_tells_all_of_that(begun: Desk) -> None:
    begun.writes(LONGER, 2, effective=31)
    answer = begun.json("--dry-run")
    assert answer["changes"][0] == {
        "what": "retention.longer",
        "text": "Analytics is kept longer (13 months → 14 months) (important: it is kept longer)",
        "important": True,
        "reason": "kept",
    }
    assert answer["asked_again"] == {"purposes": ["analytics"], "cookies": []}
    assert (answer["in_force"], answer["notice_days"], answer["earliest"]) == (1, 30, day(30))
    assert answer["effective_at"] == f"{day(31)}T00:00:00+09:00"
    assert (answer["ok"], answer["dry_run"], answer["published"], answer["faults"]) == (True, True, False, [])
    begun.writes(LONGER, 2, effective=1)
    refused = begun.json()
    assert (refused["ok"], refused["published"], refused["faults"][0]["place"]) == (False, False, "effective")


def test_a_faulty_policy_is_told_as_check_tells_it(begun: Desk) -> None:
    begun.file.write_text("schema = 1\n", "utf-8")
    assert begun.runs("publish")[2] == begun.runs("check")[2] != ""


def test_check_names_the_command_for_what_was_never_published(begun: Desk) -> None:
    begun.writes(LONGER, 2, effective=30)
    code, _, err = begun.runs("check")
    assert code == 1
    assert err.startswith("consent-mw: policy.toml:3: revision: revision 2 was never published, and 1 was; run: ")
    begun.runs("publish")
    code, out, err = begun.runs("check")
    assert code == 0
    assert f"revision 2, announced, in force from {day(30)} (Asia/Seoul)" in out


def test_check_says_what_holds(begun: Desk) -> None:
    assert f"revision 1, in force since {day(-90)} (Asia/Seoul)" in begun.runs("check")[1]
    begun.writes(POLICY + "# for us\n", 2)
    begun.runs("publish")
    begun.writes(POLICY, 1, effective=-90, published=-90)
    assert "revision 1, not in force any more: revision 2 is" in begun.runs("check")[1]


def test_words_are_corrected_under_their_number_and_only_words(begun: Desk) -> None:
    begun.writes(POLICY.replace('en = "', 'en = "Our ', 1), 1, effective=-90, published=-90)
    code, _, err = begun.runs("check")
    assert code == 1
    assert "revision 1 was published in other words; if they mean the same, run: consent-mw publish --wording" in err
    assert begun.runs("publish", "--wording", "--dry-run")[0] == 0
    assert begun.runs("check")[0] == 1
    code, out, err = begun.runs("publish", "--wording")
    assert (code, err) == (0, "")
    assert "Revision 1 is corrected; start the site again to show it." in out
    assert begun.runs("check")[0] == 0
    assert len(list(begun.revisions.directory.glob("0001-*.toml"))) == 2, "old receipts prove the words of then"
    begun.writes(LONGER, 1, effective=-90, published=-90)
    code, _, err = begun.runs("publish", "--wording")
    assert code == 1
    assert "retention.longer of analytics" in err


def test_words_of_what_was_never_published_are_no_correction(begun: Desk) -> None:
    begun.writes(POLICY, 2, effective=30)
    code, _, err = begun.runs("publish", "--wording")
    assert code == 1
    assert "revision 2 is not published; leave out --wording to publish it" in err


def test_a_first_revision_whose_day_is_still_to_come_says_so(desk: Desk) -> None:
    desk.writes(POLICY, 1, effective=30)
    code, out, _ = desk.runs("publish")
    assert code == 0
    assert f"Revision 1 is published and takes effect at {day(30)} 00:00:00 +0900 (Asia/Seoul)." in out
    code, _, err = desk.runs("check")
    assert code == 1
    assert "no revision that is in force now is in" in err


def test_of_two_who_publish_at_once_one_is_refused(begun: Desk, tmp_path: Path) -> None:
    desks = []
    for number in range(2):
        begun.writes(f"{LONGER}# {number}\n", 2, effective=30)
        file = tmp_path / f"{number}.toml"
        file.write_text(begun.file.read_text("utf-8"), "utf-8")
        command = [sys.executable, "-m", "consent_mw", "publish", str(file), "--json"]
        desks.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL))
    answers = [json.loads(publisher.communicate(timeout=60)[0]) for publisher in desks]
    assert [answer["published"] for answer in answers].count(True) == 1
    assert len(list(begun.revisions.directory.glob("0002-*"))) == 1


def test_the_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["publish", "--help"]) == 0
    assert "Example: consent-mw publish policy.toml --dry-run" in capsys.readouterr().out
