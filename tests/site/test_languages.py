"""The languages of the pages: catalogues, what one lacks, plural forms, direction, and which one serves whom."""

from __future__ import annotations

import logging
import subprocess
import sys
from gettext import c2py
from pathlib import Path

import pytest
from babel import Locale
from babel.messages.pofile import read_po
from msgspec.structs import replace
from tests.support.commands import run
from tests.support.site_pages import get

from consent_mw.policy.durations import Duration
from consent_mw.policy.language_tags import lookup
from consent_mw.policy.loader import load
from consent_mw.policy.model import Policy
from consent_mw.site.language import negotiate
from consent_mw.site.sentences import (
    CATALOGUES,
    SOURCE,
    files_in,
    fits,
    is_whole,
    locale_of,
    marked,
    sentences,
    untranslated,
)
from consent_mw.site.surfaces import Surfaces
from consent_mw.site.templating import Templates
from consent_mw.site.translation import Translation

EXAMPLE = Path(__file__).parents[2] / "examples" / "policy.toml"
LANGUAGES = sorted(files_in(CATALOGUES))
HEADER = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\n\n'


def catalogue(folder: Path, language: str, *pairs: tuple[str, str]) -> Path:
    file = folder / "locale" / language / "LC_MESSAGES" / "consent_mw.po"
    file.parent.mkdir(parents=True)
    file.write_text(HEADER + "".join(f'msgid "{a}"\nmsgstr "{b}"\n\n' for a, b in pairs), "utf-8")
    return folder


def policy(*languages: str) -> Policy:
    return replace(load(EXAMPLE), languages=languages)


def test_a_sentence_that_is_missing_in_a_language_is_english_and_says_so(tmp_path: Path) -> None:
    own = catalogue(tmp_path, "sv", ("Accept all", "Acceptera alla"))
    html = Surfaces(policy("sv"), own).banner("sv", "/consent", frozenset(), "/")
    assert '<consent-mw id="consent-mw"' in html
    assert 'lang="sv" dir="ltr"' in html
    assert ">Acceptera alla</button>" in html
    assert '<span lang="en">Reject all</span></button>' in html


def test_what_is_filled_into_an_english_sentence_is_in_the_language_of_the_page(tmp_path: Path) -> None:
    own = catalogue(tmp_path, "he", ("Accept all", "קבל הכל"))
    html = Surfaces(policy("he"), own).banner("he", "/consent", frozenset(), "/")
    asked = policy("he").asked[0]
    kept = Translation("he", (own / "locale",)).duration(asked.retention or Duration(1, "day"))
    assert f'<span lang="en" dir="ltr">Kept for <span lang="he" dir="rtl">{kept}</span>.</span>' in html


def test_no_element_is_put_into_a_title_or_an_attribute() -> None:
    message = sentences("ko").messages
    assert message.gettext("not of ours").startswith("\ufdd0")
    html = "<title>\ufdd0A\ufdd1</title><a title='\ufdd0B \ufdd2x\ufdd3\ufdd1'>\ufdd0C\ufdd1</a>"
    assert marked(html, "ko", "ltr") == "<title>A</title><a title='B x'><span lang=\"en\">C</span></a>"


def test_nothing_is_marked_in_english(tmp_path: Path) -> None:
    own = catalogue(tmp_path, "en-GB", ("Accept all", "Accept everything"))
    html = Surfaces(policy("en-GB"), own).banner("en-GB", "/consent", frozenset(), "/")
    assert "Accept everything</button>" in html
    assert ">Reject all</button>" in html
    assert "<span lang=" not in html


def test_a_site_may_say_one_sentence_of_ours_otherwise(tmp_path: Path) -> None:
    own = catalogue(tmp_path, "ko", ("Accept all", "다 좋아요"))
    html = Surfaces(policy("ko"), own).banner("ko", "/consent", frozenset(), "/")
    assert "다 좋아요</button>" in html
    assert "모두 거부</button>" in html


def test_a_region_comes_before_its_language(tmp_path: Path) -> None:
    catalogue(tmp_path, "de", ("Close", "Schließen"), ("Name", "Name"))
    own = catalogue(tmp_path, "de_CH", ("Close", "Schliessen"))
    messages = sentences("de-CH", (own / "locale",)).messages
    assert (messages.gettext("Close"), messages.gettext("Name")) == ("Schliessen", "Name")
    assert sentences("de-AT", (own / "locale",)).messages.gettext("Close") == "Schließen"


def test_a_translation_that_fills_in_something_else_is_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = catalogue(tmp_path, "sv", ("Kept for %(time)s.", "Sparas i %(tid)s."), ("Yes", "100 % ja"), ("No", "Nej"))
    with caplog.at_level(logging.WARNING):
        html = Surfaces(policy("sv"), own).banner("sv", "/consent", frozenset(), "/")
    assert "Kept for" in html
    assert "consent_mw.po:4" in caplog.text
    assert sentences("sv", (own / "locale",)).messages.gettext("No") == "Nej"


def test_every_sentence_of_the_pages_is_translated_into_korean() -> None:
    words = [sys.executable, str(EXAMPLE.parents[1] / "scripts" / "catalogues")]
    result = subprocess.run(words, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_catalogue_fills_in_what_its_sentences_do(language: str) -> None:
    with files_in(CATALOGUES)[language].open("rb") as file:
        messages = [message for message in read_po(file) if message.id]
    assert [message.id for message in messages if is_whole(message) and not fits(message)] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_catalogue_counts_as_its_language_does(language: str) -> None:
    with files_in(CATALOGUES)[language].open("rb") as file:
        read = read_po(file)
    plural, cldr = c2py(read.plural_expr), Locale.parse(language, sep="-").plural_form
    forms: dict[str, set[int]] = {}
    for count in (*range(1_000), 1_000_000, 2_000_000):
        forms.setdefault(cldr(count), set()).add(plural(count))
    # Each of CLDR's forms is one of ours, and each of ours is used.
    assert all(len(indices) == 1 for indices in forms.values())
    assert len({index for indices in forms.values() for index in indices}) == read.num_plurals


def test_a_machine_s_translation_is_said_to_be_one() -> None:
    flags = {tag: untranslated(tag)[2] for tag in LANGUAGES}
    assert [tag for tag, by_machine in flags.items() if not by_machine] == ["en", "ko"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_banner_is_whole_in_each_language(language: str) -> None:
    html = Surfaces(policy(language)).banner(language, "/consent", frozenset(), "/")
    assert f'lang="{language}" dir="{"rtl" if language == "ar" else "ltr"}"' in html
    assert '<span lang="en"' not in html


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("unit", ["minute", "hour", "day", "month", "year"])
def test_durations_are_words_of_the_language(language: str, unit: str) -> None:
    spoken = Translation(language)
    for count in (1, 2, 5, 30):
        words = spoken.duration(Duration(count, unit))
        assert unit not in words or language in ("en", "fr"), words
        assert any(letter.isalpha() for letter in words)


@pytest.mark.parametrize(
    ("wanted", "available", "served"),
    [
        ("en_GB", ["ko", "en"], "en"),
        ("zh_TW", ["zh-Hans", "zh-Hant"], "zh-Hant"),
        ("zh-TW", ["zh"], None),
        ("zh-yue", ["zh-Hans", "zh-Hant"], "zh-Hant"),
        ("yue-CN", ["zh-Hant", "zh-Hans"], "zh-Hans"),
        ("zh-cmn-Hans", ["zh-CN"], "zh-CN"),
        ("no", ["nb"], "nb"),
        ("nn-NO", ["en", "no"], "no"),
        ("nn", ["nb", "nn"], "nn"),
        ("iw", ["he"], "he"),
        ("he", ["iw"], "iw"),
        ("in", ["id"], "id"),
        ("pt", ["pt-BR"], "pt-BR"),
        ("da", ["nb"], None),
    ],
)
def test_a_tag_is_served_by(wanted: str, available: list[str], served: str | None) -> None:
    assert lookup(wanted, available) == served


@pytest.mark.parametrize(
    ("header", "served"),
    [
        ("ko;q=0.1, en;q=0.9", "en"),
        ("*;q=0.1, ko;q=0", "en"),
        ("de, *;q=0.5", "ko"),
        ("ko;q=0, en;q=0, *", None),
        ("en_GB, ko;q=0.5", "en"),
        ("ko;q=0.5, en;q=nonsense", "ko"),
        ("en ; q = 0.9 , ko", "ko"),
    ],
)
def test_a_header_is_served_by(header: str, served: str | None) -> None:
    assert negotiate(header, ["ko", "en"]) == served


@pytest.mark.parametrize(
    ("page", "text", "marks"),
    [("ar", "ko", 'lang="ko" dir="ltr"'), ("en", "he", 'lang="he" dir="rtl"'), ("en", "ko", 'lang="ko"')],
)
def test_a_text_of_the_other_direction_says_so_that_its_full_stop_stands_at_its_end(
    page: str, text: str, marks: str
) -> None:
    assert Translation(page).marks(text) == marks


@pytest.mark.parametrize("picked", ["ko", "KO", "ko_KR", "ko-Kore-KR"])
def test_a_language_picked_by_hand_is_found_as_one_that_the_browser_names(picked: str) -> None:
    assert 'lang="ko"' in get(f"/consent?lang={picked}", headers={"accept-language": "en"}).body.partition("<body")[0]


@pytest.mark.parametrize(("tag", "direction"), [("iw", "rtl"), ("ar", "rtl"), ("in", "ltr"), ("en_GB", "ltr")])
def test_old_tags_are_written_as_their_language_is(tag: str, direction: str) -> None:
    locale = locale_of(tag)
    assert locale is not None
    assert locale.text_direction == direction


def test_check_names_the_languages_in_which_sentences_are_missing(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    text = EXAMPLE.read_text("utf-8")
    file.write_text(
        text.replace('languages = ["ko", "en"]', 'languages = ["ko", "en", "th", "zh-TW", "en-GB"]'), "utf-8"
    )
    notes = run("check", file).stderr
    assert '"th": the pages\' own sentences are English there' in notes
    assert "locale/th/LC_MESSAGES/consent_mw.po" in notes
    for language in ("ko", "en", "en-GB"):
        assert f'"{language}":' not in notes


def test_english_and_korean_lack_nothing() -> None:
    assert [untranslated(tag)[0] for tag in ("ko", SOURCE, "en-GB")] == [0, 0, 0]


def test_a_template_is_compiled_for_all_languages_and_what_is_constant_in_it_is_said_in_each(tmp_path: Path) -> None:
    (tmp_path / "mine.html").write_text('{{ "KR"|country }}')
    templates = Templates(tmp_path)
    assert [templates.render("mine.html", language) for language in ("en", "ko")] == ["South Korea", "대한민국"]
