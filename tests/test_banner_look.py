"""The banner as a real Chromium lays it out: equal answers, nothing covered, nothing to scroll sideways."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeAlias

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from consent_mw.consent import NO_CONSENT, Consent
from consent_mw.declaration import load
from consent_mw.permissions import Permissions
from consent_mw.request_consent import RequestConsent
from consent_mw.site.pages import Site

ColorScheme: TypeAlias = Literal["light", "dark"]
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
WIDTHS = [320, 1280]


def package() -> Path:
    spec = find_spec("consent_mw")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


POLICY = load(package() / "founding.toml")
STYLE = (package() / "site" / "static" / "consent.css").read_text("utf-8")


def make(consent: Consent, signals: frozenset[str]) -> Permissions:
    return Permissions(POLICY, consent, signals)


def document(language: str, *, before: str = "") -> str:
    """Return a page of many links with the banner in it."""
    consent = RequestConsent(NO_CONSENT, make(NO_CONSENT, frozenset()), make, date(2026, 1, 1))
    scope = {"type": "http", "path": "/", "headers": [(b"accept-language", language.encode())]}
    site = Site(POLICY, secret_keys=[b"a key of at least 16 bytes"])
    banner = asyncio.run(site.banner(scope, consent, now_ns=0))
    text = '<p>Some words and <a href="/x">a link</a></p>' * 30
    return f"<!doctype html><style>{before}</style><style>{STYLE}</style><body>{banner}<main>{text}</main>"


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        browser.close()


def shown(browser: Browser, html: str, width: int, scheme: ColorScheme = "light") -> Page:
    page = browser.new_page(viewport={"width": width, "height": 640}, color_scheme=scheme)
    # The document is made before, since playwright runs a loop of its own.
    page.set_content(html)
    return page


@pytest.fixture(scope="module")
def documents() -> dict[str, str]:
    host = (
        "button { padding: 2rem; background: red } h2 { font-size: 5rem } ul { list-style: square } p { margin: 3rem }"
    )
    return {"ko": document("ko"), "en": document("en"), "styled": document("en", before=host)}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["ko", "en", "styled"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_three_answers_look_alike_and_are_in_sight(
    documents: dict[str, str], browser: Browser, name: str, width: int, scheme: ColorScheme
) -> None:
    page = shown(browser, documents[name], width, scheme)
    looks = page.evaluate(
        """() => [...document.querySelectorAll("#consent button")].map((button) => {
            const style = getComputedStyle(button), box = button.getBoundingClientRect();
            return [style.color, style.backgroundColor, style.font, style.borderColor, style.borderRadius,
                style.opacity, Math.round(box.width), Math.round(box.height), Math.round(box.top),
                box.bottom <= innerHeight, box.height >= 24].join();
        })"""
    )
    page.close()
    assert len(looks) == 3
    assert len(set(looks)) == 1
    assert looks[0].endswith("true,true")


@pytest.mark.parametrize("width", WIDTHS)
def test_the_focus_is_never_under_the_banner(documents: dict[str, str], browser: Browser, width: int) -> None:
    page = shown(browser, documents["en"], width)
    clear: list[bool | None] = []
    for _ in range(35):
        page.keyboard.press("Tab")
        clear.append(
            page.evaluate(
                """() => {
                const banner = document.querySelector("#consent"), focused = document.activeElement;
                if (focused === document.body || banner.contains(focused)) return null;
                const box = focused.getBoundingClientRect();
                return box.top >= 0 && box.bottom <= banner.getBoundingClientRect().top;
            }"""
            )
        )
    page.close()
    assert clear.count(True) >= 29
    assert False not in clear


@pytest.mark.parametrize("name", ["ko", "en"])
def test_nothing_scrolls_sideways_on_the_narrowest_screen(
    documents: dict[str, str], browser: Browser, name: str
) -> None:
    page = shown(browser, documents[name], 320)
    over = page.evaluate(
        """() => [document.documentElement, document.querySelector("#consent")]
            .map((element) => element.scrollWidth - element.clientWidth)"""
    )
    page.close()
    assert over == [0, 0]
