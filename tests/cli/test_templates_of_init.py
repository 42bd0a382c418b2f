"""`init --template`: a policy to start from for each kind of site, which loads and says what the law asks for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from consent_mw.cli import main
from consent_mw.cli.template import KINDS
from consent_mw.policy.checklist import checklist, findings, unsaid
from consent_mw.policy.loader import load
from consent_mw.policy.plausible import implausible, placeholders

ENGLISH = ("--language", "en", "--jurisdiction")
#: Those whose own law the list has; in any other the list of all states is asked for.
STATES = sorted({state for duty in checklist("US").entry for state in duty.states} - {"CA"})  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("options", "languages", "law"),
    [
        ((), ("ko", "en"), "KR"),
        (("--language", "ko"), ("ko",), "KR"),
        (("--language", "en"), ("en",), "EU"),
        (("--language", "en", "--jurisdiction", "UK"), ("en",), "UK"),
        (("--language", "en", "--language", "ko", "--jurisdiction", "EU"), ("en", "ko"), "EU"),
        (("--jurisdiction", "us"), ("ko", "en"), "US"),
        (("--language", "ko", "--jurisdiction", "US-CA"), ("ko",), "US-CA"),
        *(((*ENGLISH, f"US-{state}"), ("en",), f"US-{state}") for state in ("CA", *STATES)),
    ],
)
def test_each_template_loads_and_says_all_that_the_law_demands(
    tmp_path: Path, kind: str, options: tuple[str, ...], languages: tuple[str, ...], law: str
) -> None:
    assert main(["init", str(tmp_path), "--template", kind, *options]) == 0
    policy = load(tmp_path / "policy.toml")
    assert (policy.languages, policy.jurisdiction) == (languages, law)
    assert implausible(policy) == []
    assert unsaid(policy, findings(policy))[0] == []
    assert {note.place for note in placeholders(policy)} >= {"controller.name", "controller.officer.email"}
    if len(languages) == 1:
        assert list(policy.purposes["necessary"].title.by_language) == [""]


@pytest.mark.parametrize(
    ("options", "languages", "law", "agencies"),
    [
        ((), ("ko", "en"), "KR", 4),
        (("--language", "en"), ("en",), "EU", 1),
        (("--language", "ko"), ("ko",), "KR", 4),
        (("--language", "en", "--language", "ko", "--jurisdiction", "UK"), ("en", "ko"), "UK", 1),
        (("--jurisdiction", "US-CA"), ("ko", "en"), "US-CA", 1),
    ],
)
def test_the_explained_policy_speaks_the_languages_and_is_for_the_law_that_are_named(
    tmp_path: Path, options: tuple[str, ...], languages: tuple[str, ...], law: str, agencies: int
) -> None:
    assert main(["init", str(tmp_path), *options]) == 0
    policy = load(tmp_path / "policy.toml")
    assert (policy.languages, policy.jurisdiction, len(policy.agencies)) == (languages, law, agencies)
    spoken = list(policy.purposes["necessary"].title.by_language)
    assert spoken == (list(languages) if len(languages) > 1 else [""])
    text = (tmp_path / "policy.toml").read_text("utf-8")
    assert len(languages) == 2 or not re.search("ko = |en = ", text.replace('{ ko = "…", en = "…" }', ""))


@pytest.mark.parametrize("kind", [(), ("--template", "shop")])
@pytest.mark.parametrize(
    ("said", "languages", "texts", "unwritten"),
    [
        (["KO"], ("ko",), [""], ""),
        (["en-gb"], ("en-GB",), [""], ""),
        (["DE"], ("de",), [""], "de"),
        (["pt_br", "ko", "KO"], ("pt-BR", "ko"), ["ko"], "pt-BR"),
        (["zh-TW", "en-US"], ("zh-TW", "en-US"), ["en"], "zh-TW"),
    ],
)
def test_each_language_of_our_pages_can_be_asked_for_in_any_spelling(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: tuple[str, ...],
    said: list[str],
    languages: tuple[str, ...],
    texts: list[str],
    unwritten: str,
) -> None:
    assert main(["init", str(tmp_path), *kind, *(word for tag in said for word in ("--language", tag))]) == 0
    assert (f"write its texts in {unwritten};" in capsys.readouterr().err) is bool(unwritten)
    policy = load(tmp_path / "policy.toml")
    assert policy.languages == languages
    assert list(policy.purposes["necessary"].title.by_language) == texts
    assert (f"write them in {unwritten}." in (tmp_path / "policy.toml").read_text()) is bool(unwritten)
    assert main(["check", str(tmp_path / "policy.toml")]) == 0


def test_templates_differ_by_what_such_sites_do(tmp_path: Path) -> None:
    for kind in KINDS:
        assert main(["init", str(tmp_path / kind), "--template", kind]) == 0
    assert "marketing" in load(tmp_path / "shop" / "policy.toml").purposes
    assert "marketing" not in load(tmp_path / "public" / "policy.toml").purposes


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--template", "shop", "--jurisdiction", "gdpr"), 2, "'--jurisdiction': 'gdpr' is none of KR, EU, UK, US"),
        (("--template", "bakery"), 2, "'bakery' is not one of"),
        (("--jurisdiction", "US-XX"), 2, "'--jurisdiction': 'US-XX' is none of KR, EU, UK, US"),
        (("--language", "sv"), 2, "do not speak 'sv', but ar, de, en, es, fr, ja, ko, pt-BR, vi, zh-Hans, zh-Hant"),
        (("--language", "en-<b>"), 2, "do not speak 'en-<b>'"),
        (("--language", "ko", "--from", "x.md"), 2, "take one way"),
        (("--template", "shop", "--from", "x.md"), 2, "take one way"),
    ],
)
def test_a_wrong_option_is_told_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], code: int, said: str
) -> None:
    assert main(["init", str(tmp_path / "site"), *options]) == code
    assert said in capsys.readouterr().err
    assert not (tmp_path / "site").exists()
