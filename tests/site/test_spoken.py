"""The language that is spoken is told as it was: our own sentences in one that we have, the site's in the visitor's."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.policies import POLICY
from tests.support.site_of_receipts import JSON, body, receipts, site
from tests.support.site_of_signals import site as setting_cookies
from tests.support.visitors import Visitor

from consent_mw.cli import main
from consent_mw.consent.choice import Choice
from consent_mw.consent.receipts import Receipt
from consent_mw.consent.wordings import Wordings, text_hash
from consent_mw.middleware import ConsentMiddleware
from consent_mw.policy.language_tags import lookup
from consent_mw.policy.loader import loads
from consent_mw.records import new_id
from consent_mw.site.documents import OwnCookies
from consent_mw.site.language import negotiate
from consent_mw.site.receipt_words import words_of
from consent_mw.site.surfaces import SURFACES, Surfaces, shown_text

SWEDISH = (
    POLICY.replace('["ko", "en"]', '["en", "sv", "th"]')
    .replace('[purposes.analytics]\nbasis = "consent"', '[purposes.analytics]\nbasis = "consent"\n'
             'title = { en = "Statistics", sv = "Statistik" }\ndescription = { en = "Counts.", sv = "Zählt Seiten." }')
)  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "available", "language"),
    [
        ("zh-Hant", ["zh-Hans"], None),
        ("zh-Hant", ["zh"], None),
        ("zh-TW", ["zh-CN"], None),
        ("zh-HK", ["en", "zh-Hant"], "zh-Hant"),
        ("zh-Hant-HK", ["zh-TW", "zh-Hans"], "zh-TW"),
        ("zh", ["zh-Hant", "zh-Hans"], "zh-Hans"),
        ("zh-SG", ["zh"], "zh"),
        ("sr-Latn", ["sr"], None),
        ("sr-Cyrl-RS", ["sr"], "sr"),
        ("no", ["nb"], "nb"),
        ("no-NO", ["nb-NO"], "nb-NO"),
        ("nb", ["no"], "no"),
        ("nn", ["nb"], "nb"),
        ("iw", ["he"], "he"),
        ("iw-IL", ["he"], "he"),
        ("he", ["iw"], "iw"),
        ("in-ID", ["id"], "id"),
        ("tl", ["fil"], "fil"),
        ("ko-Hang-KR", ["ko"], "ko"),
        ("en-GB", ["en"], "en"),
        ("pt", ["pt-BR"], "pt-BR"),
        ("id", ["in"], "in"),
        ("", ["en"], None),
    ],
)
def test_nobody_is_given_another_language_or_another_script(
    wanted: str, available: list[str], language: str | None
) -> None:
    assert lookup(wanted, available) == language
    assert negotiate(wanted, available) == language


@given(st.text(max_size=20), st.lists(st.sampled_from(["zh-Hant", "zh", "no", "en-GB", "en", "sr-Latn"]), max_size=4))
def test_a_lookup_finds_one_of_those_that_there_are_and_never_raises(wanted: str, available: list[str]) -> None:
    assert lookup(wanted, available) in (None, *available)
    assert all(lookup(tag, available) == tag for tag in available)


def test_a_text_of_a_whole_language_serves_a_regional_reader_without_a_mark() -> None:
    policy = loads(POLICY.replace('["ko", "en"]', '["ko", "en-GB"]'))
    assert "(English)" not in Surfaces(policy).render("_article.html", "en-GB", "", suffix="", own_cookies=OwnCookies())


def test_a_declared_language_is_read_in_pages_that_we_have_no_sentences_of() -> None:
    for surface in SURFACES:
        if surface != "waiting":
            words = shown_text(loads(SWEDISH), "sv", surface)
            assert "Zählt Seiten." in words
            assert "Kept for 13 months." in words
    html = Surfaces(loads(SWEDISH)).banner("sv", "", frozenset(), "/")
    assert '<consent-mw id="consent-mw"' in html
    assert 'lang="en" dir="ltr"' in html
    assert '<span lang="sv">Statistik</span>' in html
    assert "(Swedish)" not in html


async def _shown(visitor: Visitor, header: bytes) -> tuple[str, str]:
    """Return what the banner says and which language its form posts."""
    sent = await visitor.gets("/", headers=[(b"accept", b"text/html"), (b"accept-language", header)])
    page = body(sent)
    return page, page.partition('name="language" value="')[2].partition('"')[0]


@pytest.mark.parametrize(
    ("header", "language", "declared", "named"),
    [
        (b"sv-FI, sv;q=0.9", "en", "sv", "Statistik"),
        (b"en-US", "en", "en", "Statistics"),
        (b"th", "en", "en", "Statistics"),  # declared as a language, and no text in it
        (b"fr, *;q=0.1", "en", "en", "Statistics"),
        (b"", "en", "en", "Statistics"),
    ],
)
@pytest.mark.parametrize("surface", ["banner", "settings"])
def test_a_receipt_names_the_language_and_the_words_that_were_rendered(
    tmp_path: Path, surface: str, header: bytes, language: str, declared: str, named: str
) -> None:
    app = site(tmp_path, SWEDISH)

    async def run() -> dict[str, Any]:
        visitor = Visitor(app)
        page, posted = await _shown(visitor, header)
        assert named in page
        await visitor.posts(("choice", "accept"), ("surface", surface), ("language", posted))
        (receipt,) = await receipts(visitor)
        await app.runtime.drain.stop()
        return receipt

    receipt = asyncio.run(run())
    shown = receipt["consent_mw"]["shown"]
    assert (receipt["language"], shown["language"], shown["declared_language"]) == (language, language, declared)
    assert named in [purpose["purpose"] for purpose in receipt["purposes"]]
    assert named in shown["text"]
    assert "Kept for" in shown["text"]
    assert text_hash(shown["text"]) == shown["sha256"]


def test_a_receipt_is_told_in_its_own_language_whoever_reads_it(tmp_path: Path) -> None:
    app = site(tmp_path, SWEDISH)

    async def run() -> None:
        visitor = Visitor(app)
        await visitor.posts(("choice", "accept"), ("surface", "banner"), ("language", "sv"))
        sent = await visitor.gets("/consent/receipt", headers=[*JSON, (b"accept-language", b"en")])
        assert "Statistik" in [purpose["purpose"] for purpose in json.loads(body(sent))["receipts"][0]["purposes"]]
        page = body(await visitor.gets("/consent/receipt", headers=[(b"accept-language", b"en")]))
        assert "the banner, English (the site's own texts: Swedish)" in page
        await app.runtime.drain.stop()

    asyncio.run(run())


def _read(app: ConsentMiddleware, tmp_path: Path, document: dict[str, Any]) -> str | None:
    shown = document["consent_mw"]["shown"]
    spoken = shown["language"] + (f"+{shown['declared_language']}" if shown["declared_language"] != "en" else "")
    receipt = Receipt(
        new_id(0), "n", Choice.ACCEPT, 1, "", document["consent_mw"]["surface"], spoken, shown["sha256"], {}, {}, [], ""
    )
    return words_of(receipt, Wordings(tmp_path / "lost"), app.runtime.policy)


def test_words_in_two_languages_are_rendered_again_where_they_are_lost(tmp_path: Path) -> None:
    app = site(tmp_path, SWEDISH)

    async def run() -> dict[str, Any]:
        visitor = Visitor(app)
        await visitor.posts(("choice", "accept"), ("surface", "settings"), ("language", "sv"))
        (receipt,) = await receipts(visitor)
        await app.runtime.drain.stop()
        return receipt

    receipt = asyncio.run(run())
    assert _read(app, tmp_path, receipt) == receipt["consent_mw"]["shown"]["text"]


def test_a_receipt_about_one_waiting_cookie_does_not_claim_that_others_were_asked_about(tmp_path: Path) -> None:

    app = setting_cookies(tmp_path)

    async def run() -> dict[str, Any]:
        visitor = Visitor(app)
        await visitor.picks("prompt")
        await visitor.gets()
        waiting = json.loads(body(await visitor.gets("/consent/state")))["waiting"]
        theme = next(cookie["id"] for cookie in waiting if cookie["name"] == "theme")
        assert {cookie["name"] for cookie in waiting} == {"theme", "ad"}
        await visitor.posts(("answer", "purpose"), ("waiting", theme), ("surface", "waiting"), ("language", "en"))
        receipt = (await receipts(visitor))[0]
        await app.runtime.drain.stop()
        return receipt

    receipt = asyncio.run(run())
    lines = receipt["consent_mw"]["shown"]["text"].splitlines()
    assert any(line.startswith("theme") for line in lines)
    assert not any(line.startswith(("ad", "_ga")) for line in lines)
    assert _read(app, tmp_path, receipt) == receipt["consent_mw"]["shown"]["text"]


def test_check_names_a_language_that_has_no_sentences_of_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(SWEDISH, "utf-8")
    assert main(["check", str(file), "--json"]) == 0
    notes = [note["problem"] for note in json.loads(capsys.readouterr().out)["notes"]]
    assert [note.partition(":")[0] for note in notes if note.startswith(('"sv":', '"th":'))] == ['"sv"', '"th"']
