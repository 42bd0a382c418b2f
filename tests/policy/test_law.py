"""What the law asks a privacy policy to say: the lists are whole, and `check` tells what one policy does not say."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path

import msgspec
import pytest
from tests.support.policies import POLICY
from tests.support.smallest_policy import SMALLEST

from consent_mw.cli import main
from consent_mw.policy.checklist import checklist, findings
from consent_mw.policy.loader import loads
from consent_mw.policy.plausible import implausible, mistaken_languages, placeholders
from consent_mw.policy.pointer import declarable
from consent_mw.policy.toml_lines import line_of, lines_of

LAWS = ("KR", "EU", "UK", "US", "US-CA")
#: Those with a law on consumer privacy in force on the day of the list.
STATES = (
    "CA", "CO", "CT", "DE", "FL", "IA", "IN", "KY", "MD", "MN",
    "MT", "NE", "NH", "NJ", "OR", "RI", "TN", "TX", "UT", "VA",
)  # fmt: skip
FOUNDING = (files("consent_mw.policy") / "founding.toml").read_text("utf-8")


@pytest.mark.parametrize("jurisdiction", LAWS)
def test_each_duty_names_its_article_its_source_and_its_day_once(jurisdiction: str) -> None:
    law = checklist(jurisdiction)
    assert law is not None
    assert len({duty.id for duty in law.entry}) == len(law.entry)
    for duty in law.entry:
        assert re.search(r"\d|지침|Act", duty.article), duty.id
        assert duty.source.startswith("https://"), duty.id
        assert duty.since <= law.written, duty.id
        assert duty.compared is None or duty.since <= duty.compared <= law.written, duty.id
        # Of several articles one may have been read alone: then the entry says which.
        assert duty.compared is not None or not duty.compared_part, duty.id
        assert duty.compared is None or duty.compared_part or not re.search(r", ?\d|, ?제|;", duty.article), duty.id
        assert duty.fix or duty.said_by == ("page",), f"{duty.id} can be missing and tells no way to say it"
        for pointer in (*duty.when, *duty.said_by):
            assert re.fullmatch(r"([a-z_*|]+(\[[a-z_]+(!?=[a-z_]+)?\])*\.?)+(~.+)?", pointer), pointer
            re.compile(pointer.partition("~")[2])


def test_a_jurisdiction_without_a_list_is_asked_for_nothing() -> None:
    assert checklist("XX") is None
    assert findings(msgspec.structs.replace(loads(POLICY), jurisdiction="XX")) == []


def test_a_duty_of_a_state_is_asked_for_in_that_state_alone() -> None:
    policy = loads(POLICY)
    asked = {
        name: {finding.duty.id for finding in findings(msgspec.structs.replace(policy, jurisdiction=name))}
        for name in ("US", "US-CA", "US-VA")
    }
    assert "ca-sold" in asked["US-CA"] - asked["US"] - asked["US-VA"]
    assert asked["US"] <= asked["US-CA"] & asked["US-VA"]


@pytest.mark.parametrize("state", STATES)
def test_each_state_with_a_law_of_its_own_has_an_entry(state: str) -> None:
    law = checklist(f"US-{state}")
    assert law is not None
    assert [duty.id for duty in law.entry if state in duty.states]


TWO = """
[[recipients]]
name = "One"
purpose = "necessary"
items = "x"
retention = "1 year"
[[recipients]]
name = "Two"
purpose = "necessary"
items = "x"
until = "the contract ends"
"""


@pytest.mark.parametrize(("taken", "missing"), [("nothing", ()), ("until", ("recipients[2].retention",))])
def test_one_of_several_keys_says_it(taken: str, missing: tuple[str, ...]) -> None:
    text = POLICY.replace("languages", 'jurisdiction = "KR"\nlanguages', 1) + TWO.replace(f"{taken} =", "contact =")
    places_of = {duty.id: places for duty, places in findings(loads(text))}
    assert places_of["recipient-period"] == missing


@pytest.mark.parametrize(("basis", "duty"), [("opt_out", "opt-out-basis"), ("necessary", "necessary-basis")])
def test_in_the_uk_what_names_no_basis_of_its_law_has_to_name_one(basis: str, duty: str) -> None:
    text = POLICY.replace("languages", 'jurisdiction = "UK"\nlanguages', 1)
    added = f'[purposes.p]\nbasis = "{basis}"\nretention = "1 year"\n'
    for grounds, missing in (("", ("purposes.p.grounds",)), ('grounds = "article 6(1)(f)"\n', ())):
        places_of = {required.id: places for required, places in findings(loads(text + added + grounds))}
        assert [place for place in places_of[duty] if ".p." in place] == list(missing)


def test_a_state_whose_law_the_list_does_not_have_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "policy.toml"
    for state, noted in (("NY", True), ("CA", False)):
        file.write_text(POLICY.replace("languages", f'jurisdiction = "US-{state}"\nlanguages', 1), "utf-8")
        main(["check", str(file)])
        assert ("has nothing of NY's own law" in capsys.readouterr().err) == noted


def test_what_a_fix_tells_to_write_is_a_key_that_there_is() -> None:
    for law in LAWS:
        duties = checklist(law)
        assert duties is not None
        for duty in duties.entry:
            assert all(map(declarable, (key for key in duty.said_by if key not in ("page", "signals")))), (
                f"{law} {duty.id}"
            )


def test_check_notes_what_must_be_said_and_strict_refuses_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(POLICY, "utf-8")
    assert main(["check", str(file)]) == 0
    notes = capsys.readouterr().err
    assert "agencies: EU must: the right to complain to a supervisory authority (GDPR, article 13(2)(d), 77)" in notes
    assert notes.splitlines()[-1].endswith("no legal advice")
    assert main(["check", str(file), "--strict"]) == 1
    assert "agencies: EU must" in capsys.readouterr().err
    file.write_text(POLICY + '[[agencies]]\nname = "DPA"\n', "utf-8")
    assert main(["check", str(file), "--json"]) == 0
    said = {duty["id"]: duty["unsaid"] for duty in json.loads(capsys.readouterr().out)["law"]}
    assert said["complain"] == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('"privacy@example.com"', '"no e-mail at all"', 'controller.officer.email: "no e-mail at all" is no e-mail'),
        ('"privacy@example.com"', '"privacy@localhost"', 'controller.officer.email: "privacy@localhost" is no e-mail'),
        ('"ko", "en"', '"ko", "xx"', 'languages[2]: "xx" is no language'),
        ("https://ecrm.police.go.kr", "ecrm.police", 'agencies[4].url: "ecrm.police" is no address of a page'),
        ("https://ecrm.police.go.kr", "javascript:x", "agencies[4].url"),
        ("https://ecrm.police.go.kr", "https://[::1", "agencies[4].url"),
        ("#[[cookies.declared]]\n#name",
         '[[cookies.declared]]\nprovider = "G"\npurpose = "analytics"\nexpires = "1 day"\nname',
         '"_ga*".provider: "G" is neither a recipient nor a processor'),
        ('basis = "consent"', 'basis = "opt_out"', 'purposes.functional.basis: "opt_out" under jurisdiction = "KR"'),
        ('basis = "legitimate_interest"', 'basis = "legitimate_interest"\nrefused_by = ["gpc"]',
         "purposes.abuse.refused_by: no signal can refuse"),
    ],
)  # fmt: skip
def test_check_refuses_what_cannot_be_meant_and_names_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, fault: str
) -> None:
    file = tmp_path / "policy.toml"
    assert old in FOUNDING
    file.write_text(FOUNDING.replace(old, new), "utf-8")
    assert main(["check", str(file)]) == 1
    message = capsys.readouterr().err
    assert fault in message
    number = int(message.partition("policy.toml:")[2].partition(":")[0])
    lines = "\n".join(file.read_text("utf-8").splitlines()[number - 3 : number + 1])
    assert new.splitlines()[-1].split(" = ")[0] in lines or new.splitlines()[0] in lines


@pytest.mark.parametrize(
    ("languages", "written", "messages"),
    [
        ('"kr"', "en", ['"kr" is Kanuri; did you mean "ko"?']),
        ('"ko", "kr"', "en", ['"kr" is Kanuri; did you mean "ko"?']),
        ('"se"', "sv", ['"se" is Northern Sami; did you mean "sv"?']),
        ('"se"', "se", []),
        ('"sv"', "sv", []),
        ('"ko", "en", "jp"', "ko", []),  # which is a fault
    ],
)
def test_a_country_that_was_written_for_its_language_is_told(languages: str, written: str, messages: list[str]) -> None:
    text = SMALLEST.replace('"en", "ko"', languages).replace(
        "[purposes.necessary]", f'[purposes.necessary]\ntitle = {{ {written} = "x" }}'
    )
    assert [f"{fault.problem}; {fault.fix}" for fault in mistaken_languages(loads(text))] == messages


@pytest.mark.parametrize("country", ["US", "KR", "GB", "XK"])
def test_a_country_of_iso_3166_is_one(country: str) -> None:
    assert implausible(loads(POLICY + RECIPIENT.format(country))) == []


@pytest.mark.parametrize(
    ("country", "meant"), [("Amerika", "US"), ("us", "US"), ("Germany", "DE"), ("독일", "DE"), ("EU", "")]
)
def test_any_other_country_is_told_with_the_one_that_was_meant(country: str, meant: str) -> None:
    (fault,) = implausible(loads(POLICY + RECIPIENT.format(country)))
    assert fault.problem == f'"{country}" is no country'
    assert meant in fault.fix


def test_what_init_left_to_be_written_is_noted() -> None:
    assert {note.place for note in placeholders(loads(FOUNDING))} == {
        "controller.name",
        "controller.officer.name",
        "controller.officer.email",
        "controller.officer.phone",
    }


def test_every_table_and_key_of_the_founding_policy_is_found_on_its_line() -> None:
    places, lines = lines_of(FOUNDING), FOUNDING.splitlines()
    assert len(places) > 60
    for place, number in places.items():
        key = re.sub(r"\[\d+\]", "", place).rpartition(".")[2]
        assert key in lines[number - 1], place


def test_a_place_below_a_list_and_around_a_text_of_several_lines_is_found() -> None:
    text = '[[a]]\nx = """\n[b]\ny = 1\n"""\n[[a]]\n[a.t]\nz = 1 # [c]\n"q r" = { s = 2 }\n'
    places = lines_of(text)
    assert places == {"a[1]": 1, "a[1].x": 2, "a[2]": 6, "a[2].t": 7, "a[2].t.z": 8, "a[2].t.q r": 9, "a[2].t.q r.s": 9}
    assert [line_of(place, places) for place in ("a[2].t.z", "a[2].other", 'a[1] "name".x', "b.y")] == [8, 6, 2, None]


@pytest.mark.parametrize(
    ("table", "place", "line"),
    [
        ('[a]\n[[a.b]]\nname = "x\\"y"\np = 1\n', 'a.b[1] "x"y".p', 4),
        ('[a]\n[[a.b]]\nname = "x\\"y"\n', 'a.b[1] "x"y"', 2),
        ('[a]\n[[a.b]]\nname = "x\\".p"\np = 1\nq = 1\n', 'a.b[1] "x".p".q', 5),
        ('[a]\n[a."x\\"y"]\np = 1\n', 'a.x"y.p', 3),
        ('[a]\n[a."x#y"]\np = 1\n', "a.x#y.p", 3),
        ("[a]\n[ a . 'x]y' ] # [z]\np = 1\n", "a.x]y", 2),
    ],
)
def test_a_place_is_found_whatever_its_name_contains(table: str, place: str, line: int) -> None:
    assert line_of(place, lines_of(table)) == line


RECIPIENT = '[[recipients]]\nname = "R"\npurpose = "marketing"\nitems = "x"\nretention = "1 day"\ncountry = "{}"\n'
