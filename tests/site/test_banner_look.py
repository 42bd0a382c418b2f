"""The banner as a real Chromium lays it out: equal answers, enough contrast, nothing covered, nothing sideways."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from playwright.sync_api import Browser, Page
from tests.support import browser_site
from tests.support.measuring import MEASURE

from consent_mw.consent.choice import NO_CONSENT, Choice, Consent
from consent_mw.consent.permissions import Permissions
from consent_mw.consent.request_consent import RequestConsent
from consent_mw.crypto.signing import Signing
from consent_mw.policy.loader import load, loads
from consent_mw.policy.model import Policy
from consent_mw.site.pages import Site
from consent_mw.site.surfaces import Surfaces

WIDTHS = [320, 1280]


def package() -> Path:
    spec = find_spec("consent_mw")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


POLICY = load(package() / "policy" / "founding.toml")
STYLE, LAYOUTS = ((package() / "site" / "static" / f"{name}.css").read_text("utf-8") for name in ("consent", "layouts"))
DEMO = loads(browser_site.DECLARATION)
MANY = loads(
    browser_site.DECLARATION
    + "".join(
        f'[purposes.m{n}]\nbasis = "consent"\nretention = "90 days"\ntitle = "More {n}"\ndescription = "It {n}."\n'
        for n in range(30)
    )
)
GERMAN = loads(browser_site.DECLARATION.replace('languages = ["ko", "en"]', 'languages = ["ko", "en", "de"]'))
ARABIC = loads(browser_site.DECLARATION.replace('languages = ["ko", "en"]', 'languages = ["ar", "ko", "en"]'))


def banner(language: str, consent: Consent = NO_CONSENT, *, policy: Policy = POLICY, own: Path | None = None) -> str:
    def make(consent: Consent, signals: frozenset[str]) -> Permissions:
        return Permissions(policy, consent, signals)

    site = Site(policy, signing=Signing((b"a key of at least 16 bytes",)), templates=own)
    scope = {"type": "http", "path": "/", "headers": [(b"accept-language", language.encode())]}
    asked = RequestConsent(consent, make(consent, frozenset(["gpc"])), make, date(2026, 1, 1))
    return asyncio.run(site.banner(scope, asked, now_ns=0))


def waiting(language: str, most: int | None = None) -> str:
    policy = loads(browser_site.DECLARATION)
    surfaces = Surfaces(policy)
    cookies = list(surfaces.outline.asked_about())[:most]
    asked = [(str(UUID(int=at)), cookie.name, cookie) for at, cookie in enumerate(cookies)]
    return surfaces.render("waiting.html", language, "/consent", waiting=asked, next="/")


def document(banner: str, before: str = "") -> str:
    """Return a page of many links with the banner in it."""
    text = '<p>Some words and <a href="/x">a link</a></p>' * 30
    return (
        '<!doctype html><meta name="viewport" content="width=device-width">'
        f"<style>{before}</style><style>{STYLE}</style><body>{banner}<main>{text}</main>"
    )


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Made before a browser is there, since playwright runs a loop of its own."""
    folder = tmp_path_factory.mktemp("arabic")
    catalogue = folder / "locale" / "ar" / "LC_MESSAGES" / "consent_mw.po"
    catalogue.parent.mkdir(parents=True)
    header = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\n\n'
    catalogue.write_text(
        header + 'msgid "Accept all"\nmsgstr "قبول الكل"\n\nmsgid "Reject all"\nmsgstr "رفض الكل"\n', "utf-8"
    )
    changed = Consent(choice=Choice.REJECT, revision=1, reopened_purposes=frozenset(["analytics"]))
    return {
        "ko": document(banner("ko")),
        "en": document(banner("en")),
        "styled": document(banner("en"), browser_site.HOSTILE),
        "ruled": document(
            banner("en"), ".consent-mw-button { border-radius: 7px } body section form button { color: red }"
        ),
        "insisted": document(
            banner("en"),
            "div { display: flex !important; max-width: 9rem !important } button { width: 100% !important }",
        ),
        "changed": document(banner("en", changed)),
        "ar": document(banner("ar", policy=ARABIC, own=folder)),
        "waiting": document(waiting("en")),
        "one waits": document(waiting("en", 1)),
        "de on top": document(
            banner("de", policy=GERMAN).replace("consent-mw-pinned", "consent-mw-pinned consent-mw-bar consent-mw-top"),
            f"body {{ padding: 8px }} {LAYOUTS}",
        ),
        "demo en": document(banner("en", policy=DEMO)),
        "demo ko": document(banner("ko", policy=DEMO)),
        "many": document(banner("en", policy=MANY)),
        "upright": document(banner("ko"), "html { writing-mode: vertical-rl }"),
        "pills": document(banner("en"), ".consent-mw { --consent-radius: 999px }"),
    }


@pytest.fixture(scope="module")
def window(browser: Browser) -> Page:
    return browser.new_page()


@pytest.fixture
def show(documents: dict[str, str], window: Page, browser: Browser) -> Iterator[Any]:
    """Return a function that shows one of the documents, in the one window unless the size of its pixels differs."""
    pages: list[Page] = []

    def show(
        name: str, width: int, height: int = 640, *, device_scale_factor: float | None = None, **media: Any
    ) -> Page:
        if device_scale_factor is None:
            page = window
        else:
            pages.append(page := browser.new_page(device_scale_factor=device_scale_factor))
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(**{"color_scheme": "light", "reduced_motion": "null", "forced_colors": "null", **media})
        page.mouse.move(0, 0)
        page.set_content(documents[name])
        return page

    yield show
    for page in pages:
        page.close()


def measured(page: Page, expression: str) -> Any:
    return page.evaluate(f"() => {{ {MEASURE} return {expression}; }}")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["ko", "en", "ar", "changed", "styled", "insisted"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_three_answers_look_alike_and_are_in_sight(show: Any, name: str, width: int, scheme: str) -> None:
    page = show(name, width, color_scheme=scheme)
    looks = measured(
        page,
        """all("button").map((button) => {
            const style = getComputedStyle(button), box = button.getBoundingClientRect();
            return [style.color, style.backgroundColor, style.font, style.border, style.borderRadius, style.boxShadow,
                style.opacity, style.cursor, style.padding, Math.round(box.width), Math.round(box.height),
                Math.round(box.top), contrast(style.color, style.backgroundColor), box.bottom <= innerHeight,
                box.height >= 24, button.scrollWidth <= button.clientWidth].join();
        })""",
    )
    assert len(looks) == 3
    assert len(set(looks)) == 1
    assert looks[0].endswith("true,true,true")


@pytest.mark.parametrize(("width", "height", "share"), [(320, 640, 1 / 2), (640, 320, 1 / 2), (1280, 800, 1 / 3)])
@pytest.mark.parametrize("name", ["ko", "en", "ar", "changed", "waiting", "many", "upright"])
def test_most_of_the_first_view_is_the_site_s(show: Any, name: str, width: int, height: int, share: float) -> None:
    page = show(name, width, height)
    assert measured(page, "banner.offsetHeight / innerHeight") <= share
    assert measured(page, "banner.offsetWidth / innerWidth") > 0.9


def test_no_word_of_an_answer_is_broken_in_a_phone_s_narrow_bar(show: Any) -> None:
    """A bar at the top is as narrow as its page; the German answers are long."""
    page = show("de on top", 320)
    words = measured(
        page,
        """all("button").flatMap((button) => [...button.firstChild.data.matchAll(/\\S+/g)].map((word) => {
            const range = document.createRange();
            range.setStart(button.firstChild, word.index);
            range.setEnd(button.firstChild, word.index + word[0].length);
            return [word[0], range.getClientRects().length];
        }))""",
    )
    assert len(words) >= 6
    assert {lines for _, lines in words} == {1}


def test_a_lone_question_is_whole_in_sight_on_a_phone_on_its_side(show: Any) -> None:
    page = show("one waits", 640, 320)
    assert page.locator(".consent-mw-waiting > li").count() == 1
    hidden = measured(
        page,
        """all(".consent-mw-waiting :is(button, label)").filter((element) => {
            const box = element.getBoundingClientRect();
            return !element.contains(document.elementFromPoint(box.x + box.width / 2, box.bottom - 4)); }).length""",
    )
    assert hidden == 0


@pytest.mark.parametrize(("width", "height"), [(320, 640), (640, 320), (667, 375), (932, 430)])
@pytest.mark.parametrize("name", ["demo ko", "demo en"])
def test_a_phone_in_either_hand_shows_every_purpose_and_who_receives_it(
    show: Any, name: str, width: int, height: int
) -> None:
    """Of the three of the demo, each with what it is for, how long it is kept and the partner who gets something."""
    page = show(name, width, height)
    hidden = measured(
        page,
        """all(".consent-mw-purposes li").map((each) => [each.textContent, each.querySelector(".consent-mw-fine")])
            .filter(([_, fine]) => [...fine.getClientRects()].some((line) =>
                !document.elementFromPoint(line.x + 9, line.y + 9)?.closest(".consent-mw-fine")))""",
    )
    assert (measured(page, "all('.consent-mw-purposes li').length"), hidden) == (3, [])


@pytest.mark.parametrize(("width", "height"), [(320, 640), (640, 320), (1280, 800)])
def test_what_slides_out_of_sight_fades_first_and_is_whole_at_the_end(show: Any, width: int, height: int) -> None:
    page = show("many", width, height)
    fade, colours = measured(
        page,
        """[getComputedStyle(all(".consent-mw-form")[0], "::before")]
            .map((style) => [parseFloat(style.height) / parseFloat(style.fontSize), style.backgroundImage])[0]""",
    )
    assert fade >= 0.75
    assert colours.startswith("linear-gradient(rgba(0, 0, 0, 0)")
    page.evaluate("document.querySelector('#consent-mw').scrollTop = 1e6")
    last, edge = measured(
        page,
        """[all(".consent-mw-words > *").at(-1).getBoundingClientRect().bottom,
            all("button")[0].getBoundingClientRect().top]""",
    )
    assert last <= edge - 8, "nothing of the last line lies in the fade"


def test_the_radius_of_the_buttons_makes_pills_and_nothing_else(show: Any) -> None:
    page = show("pills", 1280)
    radii = measured(
        page, "all('*').concat(banner).map((each) => [each.localName, getComputedStyle(each).borderTopLeftRadius])"
    )
    assert {radius for name, radius in radii if name == "button"} == {"999px"}
    assert {radius for name, radius in radii if name != "button"} == {"0px"}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["en", "changed", "waiting", "styled"])
def test_words_and_edges_stand_out_enough(show: Any, name: str, width: int, scheme: str) -> None:
    page = show(name, width, color_scheme=scheme)
    words, edges, targets = measured(
        page,
        """[all("h2, p, a, li, strong, span, bdi, button")
                .map((each) => contrast(getComputedStyle(each).color, ground(each))),
            all("button").flatMap((each) => [ground(each), ground(each.parentElement)]
                .map((beside) => contrast(getComputedStyle(each).borderTopColor, beside))),
            all("a, button").map((each) => each.getBoundingClientRect()).flatMap((box) => [box.width, box.height])]""",
    )
    assert min(words) >= 4.5
    assert min(edges) >= 3
    assert min(targets) >= 24
    rings = []
    for _ in range(targets_of(page)):
        page.keyboard.press("Tab")
        rings.append(
            measured(
                page,
                """(() => { const style = getComputedStyle(document.activeElement);
                    return [style.outlineStyle, parseFloat(style.outlineWidth) >= 2,
                        contrast(style.outlineColor, ground(document.activeElement.parentElement)) >= 3]; })()""",
            )
        )
    assert rings == [["solid", True, True]] * len(rings)


def targets_of(page: Page) -> int:
    return page.locator("#consent-mw :is(a, button)").count()


@pytest.mark.parametrize("name", ["en", "waiting"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_focus_is_never_under_the_banner(show: Any, name: str, width: int) -> None:
    page = show(name, width)
    clear: list[bool | None] = []
    for _ in range(31 + targets_of(page)):
        page.keyboard.press("Tab")
        clear.append(
            page.evaluate(
                """() => {
                const banner = document.querySelector("#consent-mw"), focused = document.activeElement;
                const box = focused.getBoundingClientRect();
                if (focused === document.body) return null;
                if (banner.contains(focused))
                    return box.top >= banner.getBoundingClientRect().top - 1
                    && box.bottom <= innerHeight + 1;
                return box.top >= 0 && box.bottom <= banner.getBoundingClientRect().top;
            }"""
            )
        )
    assert clear.count(True) >= 29 + targets_of(page)
    assert False not in clear


@pytest.mark.parametrize("name", ["ko", "en", "ar", "changed", "waiting", "styled"])
@pytest.mark.parametrize("width", [320, 640, 1280])
def test_nothing_scrolls_sideways(show: Any, name: str, width: int) -> None:
    page = show(name, width)
    over = measured(
        page,
        """[...(document.querySelector("style").textContent ? [] : [document.documentElement]), banner, ...all("*")]
            .map((each) => [each.tagName, each.scrollWidth - each.clientWidth])
            .filter(([tag, over]) => over > 1 && !["A", "SPAN", "STRONG", "BDI"].includes(tag))""",
    )
    assert over == []


@pytest.mark.parametrize(("width", "height"), [(640, 360), (320, 256)], ids=["200 %", "400 %"])
@pytest.mark.parametrize("name", ["en", "waiting"])
def test_when_zoomed_everything_is_reached(show: Any, name: str, width: int, height: int) -> None:
    """A window of 1280 pixels that is zoomed to 200 % is 640 CSS pixels wide; 320 is WCAG's narrowest."""
    page = show(name, width, height, device_scale_factor=1280 // width)
    for element in page.locator("#consent-mw :is(a, button, h2, li)").all():
        element.scroll_into_view_if_needed()
        top, bottom, room = element.evaluate(
            "each => { const box = each.getBoundingClientRect(); return [box.top, box.bottom, innerHeight] }"
        )
        assert top < room
        assert bottom > 0
    share = measured(page, "banner.getBoundingClientRect().height / innerHeight")
    assert share <= 0.8, "there is always some of the page"


def test_the_text_grows_with_the_reader_s_own_size(show: Any) -> None:
    page = show("en", 1280)
    before, after = (
        measured(
            page,
            f"(document.documentElement.style.fontSize = '{size}px', parseFloat(getComputedStyle(banner).fontSize))",
        )
        for size in (10, 22)
    )
    assert before >= 14
    assert after > 1.3 * before


def test_forced_colours_leave_edges_and_focus(show: Any) -> None:
    page = show("en", 1280, forced_colors="active")
    assert page.evaluate("matchMedia('(forced-colors: active)').matches")
    edges = measured(
        page,
        """all("button").map((each) => { const style = getComputedStyle(each);
            return [style.borderTopStyle, style.borderTopWidth,
                contrast(style.borderTopColor, style.backgroundColor) >= 3,
                contrast(style.color, style.backgroundColor) >= 4.5].join(); })""",
    )
    assert edges == ["solid,1px,true,true"] * 3
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_nothing_is_animated_whether_or_not_the_reader_minds(show: Any) -> None:
    for wish in ("reduce", "no-preference"):
        page = show("en", 1280, reduced_motion=wish)
        page.locator("#consent-mw button").first.hover()
        assert page.evaluate("document.getAnimations().length") == 0
        assert set(measured(page, "all('*').map((each) => getComputedStyle(each).transitionDuration)")) == {"0s"}


def test_from_right_to_left_everything_is_mirrored(show: Any) -> None:
    page = show("ar", 1280)
    first, last, link, heading = measured(
        page,
        """[all("button")[0], all("button")[2], all("a")[0], all("h2")[0].firstChild].map((each) => {
            const range = document.createRange();
            range.selectNode(each);
            return range.getBoundingClientRect().right;
        })""",
    )
    assert first > last > link
    assert heading > 1_000
    assert measured(page, "[banner.lang, banner.dir, getComputedStyle(banner).direction]") == ["ar", "rtl", "rtl"]


def test_a_rule_of_the_site_that_names_a_class_of_ours_wins_and_one_about_elements_does_not(show: Any) -> None:
    style = "(element) => [getComputedStyle(element).borderTopLeftRadius, getComputedStyle(element).color]"
    radius, colour = show("ruled", 1280).locator("#consent-mw button").first.evaluate(style)
    assert (radius, colour) == ("7px", "rgb(27, 31, 36)")


@pytest.mark.parametrize("name", ["en", "changed", "waiting"])
def test_every_name_of_ours_in_a_page_is_prefixed(documents: dict[str, str], name: str) -> None:
    names = re.findall(r' (?:id|class|for|aria-labelledby)="([^"]+)"', documents[name])
    assert names
    assert {word for some in names for word in some.split() if not re.match("consent-mw(-|$)", word)} == set()
