"""The declaration: whatever stands in `policy.toml`, each fault is told with its place and its fix."""

from __future__ import annotations

import copy
import json
import os
import re
import tomllib
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.support.commands import run
from tests.support.repository import ROOT
from tests.support.smallest_policy import SMALLEST

from consent_mw.exceptions import Fault, PolicyError
from consent_mw.policy import model
from consent_mw.policy.checklist import findings, wrong_bases, wrong_bases_of_tables
from consent_mw.policy.loader import load, loads
from consent_mw.policy.model import FIELDS, Policy
from consent_mw.policy.plausible import implausible, implausible_tables, placeholders, unspoken

FOUNDING = files("consent_mw.policy").joinpath("founding.toml").read_text("utf-8")


def faults_of(text: str) -> list[Fault]:
    with pytest.raises(PolicyError) as caught:
        loads(text)
    return list(caught.value.faults)


def changed(old: str, new: str) -> str:
    """Return the founding policy with the first `old` replaced."""
    line = FOUNDING[: FOUNDING.index(old)].rpartition("\n")[2]
    assert not line.startswith("#"), "that would change a comment"
    return FOUNDING.replace(old, new, 1)


def test_the_founding_policy_is_without_fault() -> None:
    policy = loads(FOUNDING)
    retention = {purpose.name: str(purpose.retention) for purpose in policy.purposes.values()}
    assert (
        retention.items()
        >= {
            "necessary": "90 days",
            "functional": "180 days",
            "analytics": "13 months",
            "marketing": "6 months",
            "abuse": "1 year",
        }.items()
    )
    assert policy.purposes["marketing"].refused_by == ("gpc",)
    assert [purpose.name for purpose in policy.asked] == ["functional", "analytics", "marketing"]
    assert policy.log["necessary"] == {"client.address": "masked", "url.path": "full"}
    assert policy.cookie("theme") is not None
    assert policy.recipients == ()
    for purpose in policy.purposes.values():
        assert {purpose.title.read(language)[1] for language in ("ko", "en")} == {"ko", "en"}


def test_every_example_of_the_founding_policy_can_be_switched_on() -> None:
    policy = loads(re.sub(r"(?m)^#(?=\S)", "", FOUNDING))
    assert [str(recipient.name.read("en")[0]) for recipient in policy.recipients] == ["Delivery Inc."]
    assert policy.cookie("_ga_ABC") == policy.cookies[1]


# What is changed in the founding policy, then the place, the problem and the fix that must be told.
FAULTS: dict[str, tuple[str, str, str, str, str]] = {
    "unknown key": ("revision = 1", "revison = 1\nrevision = 1", "revison", "is no known key", '"revision"'),
    "unknown table": ("[log.abuse]", "[logs.abuse]", "logs", "is no known key", 'did you mean "log"?'),
    "unknown key of a purpose": (
        'retention = "1 year"\n',
        'retention = "1 year"\nretain = 1\n',
        "purposes.abuse.retain",
        "is no known key",
        "known are: basis, title",
    ),
    "no retention": (
        'retention = "13 months"\n',
        "",
        "purposes.analytics",
        "has no retention",
        'retention = "90 days"',
    ),
    "retention as a number": ('"13 months"', "13", "purposes.analytics.retention", "is a text", "90 days"),
    "retention without unit": ('"13 months"', '"13"', "purposes.analytics.retention", "no duration", "a unit"),
    "retention for ever": ('"13 months"', '"forever"', "purposes.analytics.retention", "no duration", "whole number"),
    "retention of nothing": ('"13 months"', '"0 days"', "purposes.analytics.retention", "nothing", "1 day"),
    "retention beyond the calendar": ('"13 months"', '"9999 years"', "purposes.analytics.retention", "no end", "100"),
    "no basis": ('basis = "legitimate_interest"\n', "", "purposes.abuse", "has no basis", "basis ="),
    "unknown basis": (
        'basis = "legitimate_interest"',
        'basis = "because"',
        "purposes.abuse.basis",
        "nvalid",
        "allowed are: necessary",
    ),
    "unknown signal": ('["gpc"]', '["gcp"]', "purposes.marketing.refused_by[1]", "nvalid", ""),
    "asked about what is necessary": (
        'basis = "necessary"',
        'basis = "consent"',
        "purposes.necessary.basis",
        "cannot be asked",
        '"necessary"',
    ),
    "nothing necessary": ("[purposes.necessary]", "[purposes.needed]", "purposes", "not declared", '"necessary"'),
    "bad name of a purpose": (
        "[purposes.abuse]",
        '[purposes."A b"]',
        "purposes.A b",
        "no usable name",
        "small letters",
    ),
    "purpose that is no table": (
        "[purposes.necessary]",
        "[purposes]\nextra = 5\n[purposes.necessary]",
        "purposes.extra",
        "is no table",
        "[purposes.extra]",
    ),
    "cookie without purpose": (
        'name = "theme"\npurpose = "functional"',
        'name = "theme"',
        'cookies.declared[1] "theme"',
        "has no purpose",
        "purpose =",
    ),
    "cookie of an unknown purpose": (
        'purpose = "functional"',
        'purpose = "functionnal"',
        'cookies.declared[1] "theme"',
        '"functionnal" is not declared',
        'did you mean "functional"?',
    ),
    "cookie without expires": (
        'expires = "1 year"\ndescription = { ko = "고른',
        'description = { ko = "고른',
        'cookies.declared[1] "theme"',
        "has no expires",
        '"session"',
    ),
    "cookie without name": ('name = "theme"\n', "", "cookies.declared[1]", "has no name", "name ="),
    "star in the middle": ('"theme"', '"th*me"', 'cookies.declared[1] "th*me"', "no cookie name", "at the end only"),
    "star alone": ('"theme"', '"*"', 'cookies.declared[1] "*"', "no cookie name", "at the end only"),
    "cookie name with a blank": ('"theme"', '"the me"', 'cookies.declared[1] "the me"', "no cookie name", "Set-Cookie"),
    "attribute in a path": (
        'name = "theme"',
        'name = "theme"\npath = "/; Domain=evil.example"',
        'cookies.declared[1] "theme"',
        "cannot stand in a Set-Cookie line",
        "without ;",
    ),
    "line end in a domain": (
        'name = "theme"',
        'name = "theme"\ndomain = "a\\r\\nSet-Cookie: b=c"',
        'cookies.declared[1] "theme"',
        "cannot stand in a Set-Cookie line",
        "printable ASCII",
    ),
    "relative path": (
        'name = "theme"',
        'name = "theme"\npath = "app"',
        'cookies.declared[1] "theme"',
        "begin with /",
        "/",
    ),
    "cookie declared twice": (
        "# A * at the end",
        '[[cookies.declared]]\nname = "theme"\npurpose = "functional"\nexpires = "session"\n# A * at the end',
        'cookies.declared[2] "theme"',
        "twice",
        "keep one",
    ),
    "cookies as one table": ("[[cookies.declared]]", "[cookies.declared]", "cookies.declared", "no list", "[["),
    "unknown preset": ('"django"]', '"djagno"]', "cookies.presets", "'djagno'", 'did you mean "django"?'),
    "preset as a table": ('"django"]', "{}]", "cookies.presets", "{}", "known are"),
    "presets as a string": ('["starlette", "django"]', '"django"', "cookies.presets", "no list", ""),
    "unknown undeclared": (
        'undeclared = "block"',
        'undeclared = "allow"',
        "cookies.undeclared",
        "'allow'",
        "block, report",
    ),
    "revision as a text": ("revision = 1", 'revision = "1"', "revision", "'1' is no revision", "whole number"),
    "revision zero": ("revision = 1", "revision = 0", "revision", "0 is no revision", "from 1"),
    "revision true": ("revision = 1", "revision = true", "revision", "True is no revision", "whole number"),
    "no revision": ("revision = 1", "", "", "has no revision", "revision = 1"),
    "schema of the future": ("schema = 1", "schema = 2", "schema", "2 is not 1", "upgrade consent-mw"),
    "schema that is not a number": ("schema = 1", "schema = true", "schema", "True is not 1", "schema = 1"),
    "date that is none": ("published = 2000-01-01", "published = 2026-02-30", "line 17", "no valid TOML", "2026-12-31"),
    "date in quotes": ("= 2000-01-01", '= "2026-12-01"', "published", "'2026-12-01' is no date", "without quotes"),
    "date with a time": ("= 2000-01-01", "= 2000-01-01T10:00:00Z", "published", "is no date", "2026-01-01"),
    "effective before published": (
        "effective = 2000-01-01",
        "effective = 1999-12-31",
        "effective",
        "before published",
        "announce first",
    ),
    "unknown time zone": ('"Asia/Seoul"', '"Asia/Soul"', "time_zone", "is no time zone", 'did you mean "Asia/Seoul"?'),
    "path as a time zone": ('"Asia/Seoul"', '"../../etc/passwd"', "time_zone", "is no time zone", "Asia/Seoul"),
    "no languages": ('["ko", "en"]', "[]", "languages", "no list of language tags", '["ko", "en"]'),
    "language that is none": ('["ko", "en"]', '["Korean"]', "languages", "no list of language tags", '["ko", "en"]'),
    "language in capitals": ('["ko", "en"]', '["KO", "en_GB"]', "languages", "no list", '["ko", "en-GB"]'),
    "unknown jurisdiction": ('jurisdiction = "KR"', 'jurisdiction = "XX"', "jurisdiction", "'XX'", "KR, EU, UK"),
    "no officer": ("[controller.officer]", "[controller.offizer]", "controller", "has no officer", "officer ="),
    "officer without email": ('email = "privacy@example.com"\n', "", "controller.officer", "email", ""),
    "empty text": ('en = "Example Inc."', 'en = ""', "controller.name", "expected a text", "a table by language"),
    "text as a number": ('en = "Example Inc."', "en = 5", "controller.name", "expected a text", "a table by language"),
    "field that is never kept": (
        '"url.path" = "full"',
        '"url.fragment" = "full"',
        "log.necessary.url.fragment",
        "",
        "url",
    ),
    "precision of another field": (
        '"url.path" = "full"',
        '"url.path" = "masked"',
        'log.necessary."url.path"',
        "'masked' is not known",
        "full, off",
    ),
    "log of an unknown purpose": ("[log.abuse]", "[log.abus]", "log.abus", '"abus" is not declared', '"abuse"?'),
    "log that is no table": (
        "[log.necessary]",
        "[log]\nmarketing = 1\n[log.necessary]",
        "log.marketing",
        "table",
        "[log.",
    ),
    "event of an unknown purpose": (
        '[events.search]\npurpose = "analytics"',
        '[events.search]\npurpose = "stats"',
        "events.search",
        '"stats" is not declared',
        "known are",
    ),
    "event that is abuse": (
        '[events.search]\npurpose = "analytics"',
        '[events.search]\npurpose = "abuse"',
        "events.search",
        "cannot be abuse",
        "report_abuse",
    ),
    "field of an unknown type": ('results = "int"', 'results = "integer"', "events.search.fields", "nvalid", ""),
    "asked about abuse": (
        'basis = "legitimate_interest"',
        'basis = "consent"',
        "purposes.abuse.basis",
        "cannot be asked",
        '"legitimate_interest"',
    ),
    "broken TOML": ("revision = 1", "revision =", "line 16", "no valid TOML", "fix the line"),
    "key given twice": ("revision = 1", "revision = 1\nrevision = 2", "line 17", "no valid TOML", "fix the line"),
    "agency that is a text": (
        '[[agencies]]\nname = { ko = "개인정보침해 신고센터", en = "Privacy Infringement Report Centre" }',
        "[[agencies]]\nname = 118",
        "agencies[1].name",
        "expected a text",
        "a table by language",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_told_with_its_place_and_its_mend(name: str) -> None:
    old, new, place, problem, fix = FAULTS[name]
    faults = faults_of(changed(old, new))
    assert any(fault.place.startswith(place) and problem in fault.problem and fix in fault.fix for fault in faults), (
        "\n".join(map(str, faults))
    )


def test_rows_that_are_no_tables_are_told_how_to_write_them() -> None:
    head, _, tail = FOUNDING.partition("[[agencies]]")
    rest = tail[tail.index("# Third parties") :]
    (fault,) = faults_of(head.replace("schema = 1", 'schema = 1\nagencies = ["118"]') + rest)
    assert (fault.place, fault.problem, fault.fix) == ("agencies[1]", "is no table", "write it as [[agencies]]")


def test_every_fault_is_found_in_one_reading() -> None:
    text = changed("revision = 1", "revision = 0").replace('"13 months"', '"13"').replace('"url.path"', '"url.paht"')
    assert [fault.place for fault in faults_of(text)] == [
        "purposes.analytics.retention",
        "revision",
        "log.necessary.url.paht",
    ]


def test_one_mistake_is_told_once() -> None:
    for name, (old, new, *_) in FAULTS.items():
        faults = faults_of(changed(old, new))
        assert len(faults) == len(set(faults)), name


def test_an_empty_document_is_told_what_is_missing() -> None:
    missing = {fault.problem for fault in faults_of("")}
    assert missing >= {"has no schema", "has no revision", "has no published", "has no controller"}
    assert '"necessary" is not declared' in missing


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 100_000,
        "revision = " + "9" * 5_000,
        "a = '\ud800'",
        "\x00",
        "\ufeff" + FOUNDING,
        "a.b = 1\na = 2",
    ],
    ids=["brackets", "digits", "surrogate", "nul", "byte order mark", "redefined"],
)
def test_what_is_no_toml_is_one_fault(text: str) -> None:
    (fault,) = faults_of(text)
    assert "no valid TOML" in fault.problem
    assert "\n" not in str(fault)


def test_a_file_is_named_as_it_was_given(tmp_path: Path) -> None:
    place = tmp_path / "site.toml"
    place.write_text(changed("revision = 1", "revision = 0"), encoding="utf-8")
    with pytest.raises(PolicyError, match=re.escape(f"{place}:16: revision: 0 is no revision; write a whole number")):
        load(place)


def test_a_file_that_cannot_be_read_is_one_fault(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"none\.toml: there is no such file; write one with: consent-mw init"):
        load(tmp_path / "none.toml")
    with pytest.raises(PolicyError, match=r"cannot be read \(Is a directory\)"):
        load(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"schema = 1 # \xe9\n")
    with pytest.raises(PolicyError, match=r"latin\.toml: byte 13: is no UTF-8; save it as UTF-8"):
        load(tmp_path / "latin.toml")
    (tmp_path / "notepad.toml").write_bytes(b"\xef\xbb\xbf" + FOUNDING.encode())
    with pytest.raises(PolicyError, match=r"byte 0: .* begins with a byte order mark; save it as UTF-8 without one"):
        load(tmp_path / "notepad.toml")


def test_what_would_be_read_without_end_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "zero.toml").symlink_to("/dev/zero")
    for name in ("pipe.toml", "zero.toml"):
        with pytest.raises(PolicyError, match=rf"{name}: is no regular file; put the declaration itself there"):
            load(tmp_path / name)
        assert run("check", tmp_path / name).returncode == 1


def test_the_digest_is_of_the_text_and_an_equal_text_gives_an_equal_policy() -> None:
    assert loads(FOUNDING) == loads(FOUNDING)
    assert loads(FOUNDING).digest != loads(FOUNDING + "# more\n").digest


@pytest.mark.parametrize("language", ["de", "sv"])
def test_a_site_of_any_language_can_take_a_preset(language: str) -> None:
    text = SMALLEST.replace('languages = ["en", "ko"]', f'languages = ["{language}"]')
    policy = loads(text + '[cookies]\npresets = ["django"]\n')
    assert [fault for fault in implausible(policy) + unspoken(policy) if "cookies" in fault.place + fault.problem] == []
    assert len(policy.cookies) == 4


def test_what_a_site_declares_wins_over_a_preset() -> None:
    text = changed('name = "theme"', 'name = "csrftoken"')
    cookie = loads(text).cookie("csrftoken")
    assert cookie is not None
    assert cookie.purpose == "functional"


#: Every key of the model.
KNOWN = {
    field.name
    for kind in vars(model).values()
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    for field in msgspec.structs.fields(kind)
}

# -- laws ----------------------------------------------------------------------------------------------------------

WORDS = sorted(set(re.findall(r"[\w.]+", FOUNDING)) | KNOWN | set(FIELDS) | {"session", "*", "", "__proto__"})
SCALARS = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(WORDS),
    st.text(max_size=20),
    st.dates(),
    st.times(),
    st.datetimes(timezones=st.sampled_from([None, UTC])),
)
KEYS = st.one_of(st.sampled_from(WORDS), st.text(max_size=10))
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=8
)


def toml(value: Any) -> str:
    """Return `value` as an inline TOML value."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, date | time | datetime):
        return value.isoformat()
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(inner)}" for key, inner in value.items()) + "}"
    return repr(value)


def document(table: dict[str, Any]) -> str:
    return "\n".join(f"{toml(key)} = {toml(value)}" for key, value in table.items())


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each value below `value`."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inner:
        yield (*path, key)
        yield from places(child, (*path, key))


PARSED = tomllib.loads(FOUNDING)
#: The founding policy, and whole ones, which have every kind of table.
TREES = [
    PARSED,
    *(tomllib.loads(file.read_text("utf-8")) for file in sorted((ROOT / "examples/policies").glob("*.toml"))),
]
PLACES = [list(places(tree)) for tree in TREES]


@st.composite
def mutations(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a policy with a few values replaced, removed or added."""
    number = draw(st.integers(0, len(TREES) - 1))
    tree = copy.deepcopy(TREES[number])
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(PLACES[number]))
        parent: Any = tree
        try:
            for step in way:
                parent = parent[step]
            what = draw(st.sampled_from(["replace", "remove", "add"]))
            if what == "remove":
                del parent[last]
            elif what == "replace" or isinstance(parent, list):
                parent[last] = draw(VALUES)
            else:
                parent[draw(KEYS)] = draw(VALUES)
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took this place away
    return tree


def besides(text: str) -> list[Fault]:
    """What `check` says of a text that is no policy, where it is TOML."""
    try:
        raw = tomllib.loads(text)
    except (ValueError, RecursionError):
        return []
    return [*implausible_tables(raw, "policy.toml"), *wrong_bases_of_tables(raw, "policy.toml")]


def check_outcome(text: str) -> None:
    """Hold the laws of `loads`: a policy that keeps its promises, or faults that say what to do. Nothing else."""
    try:
        policy: Policy | None = loads(text)
        faults: tuple[Fault, ...] = ()
    except PolicyError as error:
        policy, faults = None, error.faults
    if policy is None:
        assert faults
        for fault in (*faults, *besides(text)):
            assert fault.file == "policy.toml"
            assert fault.problem.strip()
            assert fault.fix.strip()
        return
    for fault in (*implausible(policy), *wrong_bases(policy), *unspoken(policy), *placeholders(policy)):
        assert fault.fix.strip()
    assert all(finding.duty for finding in findings(policy))
    assert policy.kept.keys() | {purpose.name for purpose in policy.by_application} == policy.purposes.keys()
    assert {cookie.purpose for cookie in policy.cookies} <= policy.purposes.keys()
    assert {event.purpose for event in policy.events.values()} <= policy.purposes.keys()
    assert policy.log.keys() <= policy.purposes.keys()
    assert all(how in FIELDS[field] for fields in policy.log.values() for field, how in fields.items())
    assert not policy.purposes["necessary"].asked
    assert policy.languages
    moment = datetime(2026, 11, 23, tzinfo=UTC)
    for kept in policy.kept.values():  # each promise of the server has a date on which it ends
        assert kept.before(moment) < moment < kept.after(moment)


def test_the_writer_of_these_tests_writes_what_was_meant() -> None:
    assert tomllib.loads(document(PARSED)) == PARSED


@given(mutations())
@settings(max_examples=300, deadline=None)
def test_a_mutated_policy_is_read_or_refused_and_nothing_else(tree: dict[str, Any]) -> None:
    check_outcome(document(tree))


@given(st.dictionaries(KEYS, VALUES, max_size=8))
@settings(deadline=None)
@example({"purposes": {}})
@example({"cookies": {"presets": [[], {}, 1]}})
def test_an_arbitrary_document_is_read_or_refused_and_nothing_else(table: dict[str, Any]) -> None:
    check_outcome(document(table))


@given(st.text())
@settings(deadline=None)
def test_an_arbitrary_text_is_refused_and_nothing_else(text: str) -> None:
    check_outcome(text)
