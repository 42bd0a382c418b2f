"""Layouts, the brand recipe of the documentation, and the site's own looks on our pages, in Chromium."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from tests.support import browser_site
from tests.support.browser_site import DECLARATION, KEY
from tests.support.measuring import MEASURE
from tests.support.serving import served

from consent_mw import ConsentMiddleware
from consent_mw.exceptions import ConfigurationError
from consent_mw.site.labels import labelled
from consent_mw.site.look import Layout, Look, Position

RECIPE = re.findall(
    r"```css\n(.*?)```", (Path(__file__).parents[2] / "docs" / "theming.md").read_text("utf-8"), re.DOTALL
)[0]
LOGO = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="28"><rect width="40" height="28" fill="red"/></svg>'
LAYOUTS: list[tuple[Layout, Position | None]] = [
    ("bar", "bottom"),
    ("bar", "top"),
    ("box", "bottom-right"),
    ("box", "bottom-left"),
    ("box", "top-left"),
    ("box", "top-right"),
    ("centre", None),
]


async def page(request: Request) -> Response:
    links = "".join(f'<p><a href="/{n}">Link {n}</a></p>' for n in range(40))
    style, rules = (request.query_params.get(name, "") for name in ("body", "rules"))
    response = HTMLResponse(
        "<!doctype html><html lang=en><head><title>A page</title><link rel=stylesheet href=/static/brand.css>"
        f"<style>{rules}</style></head>"
        f"<body style='{style}'><header>Header</header><main><h1>A page</h1>{links}</main></body></html>"
    )
    response.set_cookie("theme", "dark")
    return response


async def static(request: Request) -> Response:
    if request.path_params["name"] == "logo.svg":
        return Response(LOGO, media_type="image/svg+xml")
    return Response(RECIPE, media_type="text/css")


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str | None], str]]:
    routes = [Route("/static/{name}", static), Route("/{path:path}", page)]
    with ExitStack() as open_until_the_end:
        addresses: dict[tuple[str, str | None], str] = {}
        for layout, position in LAYOUTS:
            file = tmp_path_factory.mktemp("site") / "policy.toml"
            file.write_text(DECLARATION, "utf-8")
            app = ConsentMiddleware(
                Starlette(routes=routes),
                policy=file,
                secret_keys=[KEY],
                banner_layout=layout,
                banner_position=position,
                stylesheet="/static/brand.css",
                logo="/static/logo.svg",
            )
            addresses[layout, position] = f"http://127.0.0.1:{open_until_the_end.enter_context(served(app))}"
        yield addresses


@pytest.fixture
def arrive(browser: Browser) -> Iterator[Any]:
    with browser_site.profiles(browser) as opened:

        def arrive(address: str, width: int = 1280, height: int = 800, **options: Any) -> Any:
            return opened(address, viewport={"width": width, "height": height}, **options)

        yield arrive


@pytest.mark.parametrize("where", LAYOUTS, ids=lambda where: "-".join(filter(None, where)))
@pytest.mark.parametrize(("width", "height", "share"), [(320, 640, 1 / 2), (1280, 800, 1 / 3)])
def test_every_layout_leaves_most_of_the_view_to_a_page_that_can_be_used(
    arrive: Any,
    sites: dict[tuple[str, str | None], str],
    where: tuple[str, str | None],
    width: int,
    height: int,
    share: float,
) -> None:
    page = arrive(sites[where], width, height)
    box = page.locator("#consent-mw").bounding_box()
    assert box["width"] * box["height"] <= share * width * height
    assert box["x"] >= 0
    assert box["y"] >= 0
    assert box["x"] + box["width"] <= width
    assert box["y"] + box["height"] <= height + 1
    side = [box["x"] + box["width"] / 2 - width / 2, box["y"] + box["height"] / 2 - height / 2]
    if where[0] == "centre" and width > 480:
        assert max(map(abs, side)) < 2
    if where[1] and width > 480:
        for word, at, sign in (("left", 0, -1), ("right", 0, 1), ("top", 1, -1), ("bottom", 1, 1)):
            assert word not in where[1] or side[at] * sign > 50
    free = page.get_by_role("link", name=re.compile(r"^Link \d+$"))
    clear = free.evaluate_all(
        """found => found.findIndex((each) => { const box = each.getBoundingClientRect();
            return document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2) === each; })"""
    )
    assert clear >= 0, "never a wall"
    free.nth(clear).click()
    page.wait_for_url(f"**/{clear}")
    page.locator("button[value=reject]").click()
    expect(page.locator("#consent-mw")).to_be_hidden()


@pytest.mark.parametrize("where", [LAYOUTS[0], LAYOUTS[3], LAYOUTS[5], LAYOUTS[6]], ids=lambda where: where[0])
@pytest.mark.parametrize("body", ["filter: grayscale(1)", "transform: translateZ(0)", "container-type: inline-size"])
def test_a_body_that_holds_what_is_fixed_leaves_the_banner_in_view(
    arrive: Any, sites: dict[tuple[str, str | None], str], where: tuple[str, str | None], body: str
) -> None:
    page = arrive(f"{sites[where]}/?body={body}")
    expect(page.locator("#consent-mw")).to_be_in_viewport(ratio=0.98)
    page.locator("button[value=reject]").click()
    expect(page.locator("#consent-mw")).to_be_hidden()


RULES = [
    "body > * {{ position: relative {0} }}",
    "* {{ position: static {0}; display: block {0} }}",
    "body > * {{ z-index: 1 {0} }} main {{ position: relative; z-index: 9 {0}; background: white }}",
    "[hidden] {{ display: block {0} }}",
    "button {{ position: absolute {0}; right: 0 {0}; display: none {0}; width: 100% {0} }}",
    "form {{ display: flex {0}; position: absolute {0}; width: 900px {0}; padding: 4rem {0} }}",
    ":not(:defined) {{ visibility: hidden {0} }}",
    ":not(:defined) {{ display: none {0} }}",
]


@pytest.mark.parametrize("where", [LAYOUTS[0], LAYOUTS[2], LAYOUTS[6]], ids=lambda where: where[0])
def test_a_site_s_rule_for_elements_leaves_the_answers_in_view_alike_and_in_use(
    arrive: Any, sites: dict[tuple[str, str | None], str], where: tuple[str, str | None]
) -> None:
    page = arrive(sites[where], 320, 640)
    for rules in [rules.format(insists) for rules in RULES for insists in ("!important", "")]:
        page.context.clear_cookies()
        page.goto(f"{sites[where]}/?{urlencode({'rules': rules})}")
        expect(page.locator("#consent-mw"), rules).to_be_in_viewport(ratio=0.98)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), rules
        sizes = page.locator("#consent-mw button").evaluate_all(
            "found => found.map((each) => each.getBoundingClientRect())"
            ".map((box) => [box.width, box.height, box.top].map(Math.round).join())"
        )
        assert (len(sizes), len(set(sizes))) == (3, 1), rules
        page.locator("button[value=reject]").click()
        expect(page.locator("#consent-mw"), rules).to_be_hidden()


@pytest.mark.parametrize(
    "rule",
    ["label { position: absolute {0} }", "input { appearance: none {0}; display: none {0} }"],
    ids=["label", "input"],
)
def test_a_site_s_rule_for_fields_leaves_the_settings_usable(
    arrive: Any, sites: dict[tuple[str, str | None], str], rule: str
) -> None:
    page = arrive(f"{sites['bar', 'bottom']}/?{urlencode({'rules': rule.replace('{0}', '!important')})}")
    page.get_by_role("link", name="Settings").click()
    radios = page.locator("dialog .consent-mw-purpose").first.locator("> fieldset > .consent-mw-radios")
    radios.get_by_label("Yes").check()
    boxes = [radios.locator("label").nth(at).bounding_box() for at in range(3)]
    assert all(one["x"] + one["width"] <= other["x"] for one, other in pairwise(boxes))


def test_a_banner_that_the_address_names_goes_with_the_answer(
    arrive: Any, sites: dict[tuple[str, str | None], str]
) -> None:
    page = arrive(f"{sites['bar', 'bottom']}/#consent-mw")
    expect(page.locator("dialog[open]")).to_be_visible()
    page.keyboard.press("Escape")
    page.locator("#consent-mw button[value=reject]").click()
    expect(page.locator("#consent-mw")).to_be_hidden()


def test_a_bar_at_the_top_covers_nothing_of_the_page_s_own_head(
    arrive: Any, sites: dict[tuple[str, str | None], str]
) -> None:
    page = arrive(sites["bar", "top"])
    head, bar = page.locator("header").first.bounding_box(), page.locator("#consent-mw").bounding_box()
    assert head["y"] >= bar["y"] + bar["height"]


def test_a_bar_at_the_top_is_as_wide_as_the_view_also_in_a_body_with_margins(
    arrive: Any, sites: dict[tuple[str, str | None], str]
) -> None:
    beside = set()
    for colour in ("red", "blue"):
        page = arrive(f"{sites['bar', 'top']}/?body=margin: 40px auto; max-width: 600px; background: {colour}")
        page.mouse.wheel(0, 300)
        page.wait_for_function("scrollY === 300")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        height = page.locator("#consent-mw").bounding_box()["height"]
        beside.add(page.screenshot(clip={"x": 0, "y": 0, "width": 300, "height": height - 1}))
    assert len(beside) == 1, "nothing of the page is seen there"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/", "/consent/", "/consent/policy", "/consent/cookies", "/consent/my-data"])
def test_the_brand_recipe_is_readable_in_both_schemes_on_every_page_of_ours(
    arrive: Any, sites: dict[tuple[str, str | None], str], scheme: str, path: str
) -> None:
    page = arrive(sites["bar", "bottom"] + path, color_scheme=scheme)
    if path != "/":
        assert page.locator(".consent-mw-logo").evaluate("image => image.naturalWidth") == 40
    words, edges, paper, buttons = page.evaluate(
        "() => {"
        + MEASURE.replace('document.querySelector("#consent-mw")', 'document.querySelector(".consent-mw")')
        + """const words = all("*").filter((each) => each.checkVisibility()
                && [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
            const buttons = all("button").filter((each) => each.checkVisibility());
            return [words.map((each) => contrast(getComputedStyle(each).color, ground(each))),
                buttons.map((each) => contrast(getComputedStyle(each).borderTopColor, ground(each.parentElement))),
                ground(banner), buttons.map((each) => getComputedStyle(each).borderTopLeftRadius)]; }"""
    )
    assert min(words) >= 4.5
    assert min(edges, default=3) >= 3
    assert paper == {"light": "rgb(255, 250, 245)", "dark": "rgb(29, 20, 16)"}[scheme]
    assert set(buttons) <= {"999px"}


def test_what_cannot_be_undone_looks_unlike_what_can(arrive: Any, sites: dict[tuple[str, str | None], str]) -> None:
    page = arrive(sites["bar", "bottom"])
    page.locator("button[value=accept]").click()
    expect(page.locator("#consent-mw")).to_be_hidden()
    page.goto(sites["bar", "bottom"] + "/consent/my-data")
    page.get_by_text("Erase my data").first.click()
    colour = "each => getComputedStyle(each).color"
    danger = page.get_by_role("button", name="Erase everything for good").evaluate(colour)
    assert danger == "rgb(163, 35, 27)"
    assert page.get_by_role("button", name="Withdraw everything").evaluate(colour) == danger
    assert page.get_by_role("button", name="Dispute").evaluate(colour) != danger


def test_a_table_on_a_phone_says_what_each_cell_is(arrive: Any, sites: dict[tuple[str, str | None], str]) -> None:
    page = arrive(sites["bar", "bottom"] + "/consent/cookies", 320, 640)
    cells = page.locator("tbody td")
    pairs = cells.evaluate_all(
        "found => found.map((each) => [each.dataset.label, getComputedStyle(each, '::before').content])"
    )
    assert len(pairs) > 9
    assert {label for label, _ in pairs} == {"What it does", "From", "Lasts"}
    assert all(label in shown for label, shown in pairs)
    page.set_viewport_size({"width": 1280, "height": 800})
    assert set(cells.evaluate_all("found => found.map((each) => getComputedStyle(each, '::before').content)")) == {
        "none"
    }


def test_a_label_is_the_head_s_own_text_and_the_first_cell_names_the_row() -> None:
    table = (
        "<table><thead><tr><th>Name</th><th>For &quot;<b>whom</b>&quot;</th></tr></thead><tbody>"
        "<tr><th>a</th><td>b</td></tr></tbody></table>"
    )
    assert '<tr><th>a</th><td data-label="For &quot;whom&quot;">b</td></tr>' in labelled(table)
    assert labelled("<table><tr><td>b</td></tr></table>") == "<table><tr><td>b</td></tr></table>"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"banner_layout": "cloud"}, 'banner_layout: "cloud" is no layout; write banner_layout="bar"'),
        ({"banner_position": "bottom-left"}, 'write banner_position="bottom"; known are: bottom, top'),
        ({"banner_layout": "box", "banner_position": "top"}, 'write banner_position="bottom-right"'),
        ({"banner_layout": "centre", "banner_position": "top"}, "leave it out"),
        ({"stylesheet": "https://cdn.example/brand.css"}, 'write stylesheet="/static/…"'),
        ({"stylesheet": "//cdn.example/brand.css"}, "is no path of this site"),
        ({"logo": "logo.svg"}, 'write logo="/static/…"'),
        ({"logo": '/x"onerror='}, "is no path of this site"),
    ],
)
def test_a_look_that_cannot_be_stops_the_start_and_says_what_can(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        Look(**options)
