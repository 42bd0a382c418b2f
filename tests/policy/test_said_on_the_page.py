"""What `check` counts as said stands on the page: of the examples, and of ten policies declared as a trial."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from html import unescape
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from tests.support.repository import ROOT

from consent_mw.cli import main
from consent_mw.policy.checklist import checklist, findings
from consent_mw.policy.loader import load
from consent_mw.policy.model import Policy, Text
from consent_mw.policy.pointer import pointed
from consent_mw.site.documents import OwnCookies
from consent_mw.site.page_text import text_of
from consent_mw.site.processing_record import record_gaps
from consent_mw.site.surfaces import Surfaces

TRIALS = sorted((ROOT / "tests" / "trials").glob("*.toml"))
FILES = [*sorted((ROOT / "examples" / "policies").glob("*.toml")), *TRIALS]
#: What the page says whatever is declared: where, and what cannot be missing there.
BY_ITSELF: Final[Mapping[str, tuple[str, str]]] = {
    "retention": ("section-retention", r"\d+ (day|month|year)|\d+(일|개월|년)"),
    "third-parties": ("section-recipients", "."),
    "recipients": ("section-recipients", "."),
    "categories": ("section-collection", "."),
    "cookies": ("section-cookies", "cookie|쿠키"),
    "terminal": ("section-cookies", "cookie|쿠키"),
    "rights": ("section-rights", "(access|see).*(erase|delete)|열람.*삭제"),
    "ca-rights": ("section-rights", "California.*erase"),
    "review": ("section-rights", "see|access"),
    "object": ("section-rights", "object"),
    "withdraw": ("section-rights", "withdraw|철회"),
    "changes": ("section-changes", r"30.*202\d"),
    "ca-updated": ("section-changes", r"Effective date.*202\d"),
    "cookie-period": ("section-cookies", r"Lasts.*(closes|day|month|year)"),
    "ut-notice": ("section-rights", "access|see"),
}


def page(policy: Policy, language: str) -> str:
    """The article of the policy page, as HTML."""
    own = OwnCookies()
    return Surfaces(policy).render("_article.html", language, "", suffix="", own_cookies=own, has_my_data=True)


def said(value: object) -> Iterator[Text | str]:
    """Every text below a part of the policy."""
    if isinstance(value, Text):
        yield value
    elif isinstance(value, msgspec.Struct):
        for field in msgspec.structs.fields(value):
            yield from said(getattr(value, field.name))
    elif isinstance(value, tuple | list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from said(part)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_page_says_each_duty_that_check_counts_as_said(file: Path) -> None:
    policy = load(file)
    language = "ko" if "ko" in policy.languages else "en"  # in which our own sentences are whole
    html = page(policy, language)
    words = re.sub(r"\s+", " ", text_of(html))
    looked_at = 0
    for duty, places in findings(policy):
        if places:
            continue
        looked_at += 1
        if duty.said_by == ("page",):
            name, pattern = BY_ITSELF[duty.id]
            match = re.search(rf'<section id="{name}">.*?</section>', html, re.DOTALL)
            assert match, duty.id
            assert re.search(pattern, text_of(match[0]), re.IGNORECASE | re.DOTALL), (duty.id, text_of(match[0]))
        for pointer in duty.said_by:
            path, _, pattern = pointer.partition("~")
            for place, value in pointed(policy, path) if pointer != "page" else ():
                for text in said(value):
                    wording = text.read(language)[0] if isinstance(text, Text) else text
                    plain = re.sub(r"\s+", " ", re.sub(r"(?m)^- ", "", wording)).strip()
                    assert plain in words, f"{duty.id}: {place} is not on the page: {plain}"
    assert looked_at >= 8


def test_every_duty_that_the_page_says_by_itself_is_looked_for() -> None:
    laws = [law for name in ("KR", "EU", "UK", "US") if (law := checklist(name))]
    assert {duty.id for law in laws for duty in law.entry if duty.said_by == ("page",)} == set(BY_ITSELF)


@pytest.mark.parametrize("file", TRIALS, ids=lambda file: file.stem)
def test_each_trial_passes_the_strictest_check_and_is_rendered_whole(
    file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["check", str(file), "--strict", "--json", "--directory", str(tmp_path)]) == 0
    answer: Any = json.loads(capsys.readouterr().out)
    assert [duty["id"] for duty in answer["law"] if duty["level"] == "must" and duty["unsaid"]] == []
    policy = load(file)
    assert record_gaps(policy) == []
    html = unescape(page(policy, policy.languages[0]))
    for section in policy.sections:
        assert section.title.read(policy.languages[0])[0] in html
    for purpose in policy.by_application:
        assert purpose.subjects is not None
        assert purpose.subjects.read(policy.languages[0])[0] in html


def test_there_are_ten_trials_half_of_them_korean() -> None:
    laws = [load(file).jurisdiction for file in TRIALS]
    assert (len(laws), laws.count("KR")) == (10, 5)
    assert {"EU", "UK", "US-CA"} < set(laws)
