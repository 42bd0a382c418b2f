"""
What a page's markup cannot make of our scripts, in a real Chromium.

The markup may be a visitor's own: a comment, from which a sanitiser took every script and left attributes and names.
"""

from __future__ import annotations

import time
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from tests.support.scripted_pages import (  # noqa: F401 - fixtures among them
    BANNER,
    ITEM,
    WAITING,
    Server,
    becomes_true,
    context,
    opens,
    page,
    ran,
    server,
)

OPEN_POLICY = (
    "script-src 'self' 'unsafe-inline' data: blob:; connect-src *; frame-src * data: blob:; img-src * data: blob:"
)
LAST = '<script type="text/plain" data-purpose="necessary" src="/last.js"></script>'
NO_ADDRESSES = [
    "javascript:parent.ran=['pwned']",
    "JavaScript:parent.ran=['pwned']",
    "java&#10;script:parent.ran=['pwned']",
    "&#9; &#1;javascript:parent.ran=['pwned']",
    "data:text/html,<script>parent.ran=['pwned']</script>",
    "blob:null/1",
    "vbscript:x",
    "about:srcdoc",
    "filesystem:http://127.0.0.1/x",
    "http://[bad",
    "http://",
    "//[",
]


@pytest.mark.parametrize("address", NO_ADDRESSES)
@pytest.mark.parametrize("element", ["iframe", "img"])
def test_only_addresses_of_the_web_are_loaded_and_what_stands_behind_still_starts(
    page: Page,  # noqa: F811 - a fixture
    server: Server,  # noqa: F811 - a fixture
    element: str,
    address: str,
) -> None:
    server.csp = OPEN_POLICY
    opens(page, server, f'<{element} id=bad data-src="{address}" data-purpose="necessary"></{element}>{LAST}')
    becomes_true(page, "window.ran && ran.includes('last')")
    assert page.evaluate("[document.getElementById('bad').hasAttribute('src'), ran.includes('pwned')]") == [False] * 2


@pytest.mark.parametrize("attribute", ["src", "data-src"])
@pytest.mark.parametrize("address", ["data:text/javascript,ran=['pwned']", "javascript:ran=['pwned']", "http://[bad"])
def test_a_script_comes_from_the_web_or_not_at_all(
    page: Page,  # noqa: F811 - a fixture
    server: Server,  # noqa: F811 - a fixture
    attribute: str,
    address: str,
) -> None:
    server.csp = OPEN_POLICY
    opens(page, server, f'<script type="text/plain" data-purpose="necessary" {attribute}="{address}"></script>{LAST}')
    becomes_true(page, "window.ran && ran.includes('last')")
    assert ran(page) == ["last"]


def test_an_element_behind_a_placeholder_has_an_address_of_the_web_too(page: Page, server: Server) -> None:  # noqa: F811 - a fixture
    server.csp = OPEN_POLICY
    frames = "".join(f'<iframe data-src="{address}" data-purpose="analytics"></iframe>' for address in NO_ADDRESSES)
    opens(page, server, frames + '<iframe data-src="/map" data-purpose="analytics" title="Map"></iframe>')
    expect(page.get_by_role("group", name="Map")).to_be_visible()
    expect(page.get_by_role("group")).to_have_count(1)
    server.take({"choice": ["accept"]})
    page.evaluate("consent.refresh()")
    expect(page.locator("iframe[title=Map]")).to_have_attribute("src", "/map")
    expect(page.locator("iframe[src]")).to_have_count(1)
    assert ran(page) is None


TROUBLES = {
    "no purpose": '<script type="text/plain" data-purpose="" src="/one.js"></script>',
    "only commas": '<iframe data-purpose=" , " data-src="/map"></iframe>',
    "a name of a prototype": '<iframe data-purpose="__proto__" data-src="/map"></iframe>'
    '<iframe data-purpose="constructor" data-src="/map"></iframe>',
    "a form that names what is read": '<form data-consent="banner"><input name="matches"><input name="nodeType">'
    '<input name="querySelectorAll"><input name="contains"><input name="hidden"></form>',
    "a waiting form without its field": WAITING % "<li><form><input name=elements></form></li>",
    "a waiting form of another kind": WAITING
    % "<form><input name=closest><input name=remove><input name=waiting></form>",
    "what is no HTML": '<svg><script type="text/plain" data-purpose="necessary" xlink:href="/one.js"></script>'
    '<iframe data-purpose="necessary" data-src="/map"></iframe></svg>',
    "an attribute that cannot be set": '<script type="text/plain" data-purpose="necessary" "x"=y src="/2.js"></script>',
    "a script that is not run": '<script type="text/plain" data-purpose="necessary" nomodule src="/one.js"></script>'
    '<script type="text/plain" data-type="text/template" data-purpose="necessary" src="/one.js"></script>',
    "a script that waits for itself":  # a loop, without end
    '<script type="text/plain" data-type="text/plain" data-purpose="necessary"></script>',
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_one_element_in_trouble_does_not_stop_the_others(page: Page, server: Server, trouble: str) -> None:  # noqa: F811 - a fixture
    opens(page, server, f"<div>{TROUBLES[trouble]}</div>{LAST}{BANNER % ''}<main></main>")
    becomes_true(page, "window.ran && ran.includes('last')")
    assert "one" not in page.evaluate("ran")
    expect(page.locator("iframe[src]")).to_have_count(0)
    page.evaluate("(html) => document.querySelector('main').innerHTML = html", f"<div>{TROUBLES[trouble]}</div>{LAST}")
    becomes_true(page, "ran.filter((name) => name === 'last').length === 2")
    page.locator("consent-mw[data-consent=banner] button[value=accept]").click()
    expect(page.locator("consent-mw[data-consent=banner]")).to_be_hidden()
    assert [fields["choice"] for _, fields in server.posts] == [["accept"]]


NAMES = ["currentScript", "querySelector", "querySelectorAll", "createElement", "body", "activeElement", "baseURI",
         "addEventListener", "documentElement", "consent", "location", "Element", "cookie"]  # fmt: skip


@pytest.mark.parametrize("carrier", ['<img name="{}">', '<form name="{0}"><input name="allows"></form>'])
def test_markup_that_is_named_like_what_is_read_changes_nothing(page: Page, server: Server, carrier: str) -> None:  # noqa: F811 - a fixture
    names = "".join(carrier.format(name) for name in NAMES)
    opens(
        page,
        server,
        f'{names}{LAST}{BANNER % ""}<iframe title="Map" data-src="/map" data-purpose="analytics"></iframe>',
    )
    becomes_true(page, "window.ran && ran.includes('last')")
    expect(page.get_by_role("group", name="Map")).to_be_visible()
    page.locator("#consent-mw button[value=accept]").click()
    expect(page.locator("#consent-mw")).to_be_hidden()
    expect(page.locator("iframe[title=Map]")).to_have_attribute("src", "/map")
    assert page.evaluate("consent.allows('analytics')") is True


SITES_OWN = {
    "names": "class Node {} class Element {} const URL = '/api', EventTarget = 1; var performance = [], Document = 1",
    "prototypes": "Object.prototype.get = () => 1; Array.prototype.toJSON = Element.prototype.append = () => 'mine'",
    "frozen": "[Object, Array, Function, Promise, Element, Node, EventTarget].forEach(({ prototype }) => "
    "Object.freeze(prototype))",
    "forms": "document.addEventListener('submit', (event) => { event.preventDefault(); sent = true })",
    "window.consent": "var consent = 'mine'; Object.defineProperty(window, 'consent', { writable: false })",
}


@pytest.mark.parametrize("own", SITES_OWN)
def test_what_a_site_calls_and_does_for_itself_stops_nothing_and_stays(page: Page, server: Server, own: str) -> None:  # noqa: F811 - a fixture
    opens(page, server, f'<script nonce="n1">{SITES_OWN[own]}</script>{LAST}{BANNER % ""}')
    page.locator("#consent-mw button[value=accept]").click()
    expect(page.locator("#consent-mw")).to_be_hidden()
    becomes_true(page, "window.ran && ran.includes('last')")
    assert page.evaluate("window[Symbol.for('consent-mw')].allows('analytics')") is True
    whose = page.evaluate("[window.consent === window[Symbol.for('consent-mw')], window.consent, window.sent]")
    assert whose == ([False, "mine", None] if own == "window.consent" else [True, whose[1], None])


THROWS = [
    "Event.prototype.stopPropagation", "EventTarget.prototype.addEventListener", "Element.prototype.append",
    "Element.prototype.matches", "Array.prototype.forEach", "Promise.prototype.then", "window.fetch", "JSON.stringify",
]  # fmt: skip


@pytest.mark.parametrize("method", THROWS)
def test_an_answer_gets_through_where_a_method_of_the_browser_throws(
    context: BrowserContext,  # noqa: F811 - a fixture
    server: Server,  # noqa: F811 - a fixture
    method: str,
) -> None:
    tab = context.new_page()  # our script may stop, with an error
    throws = f"{method} = () => {{ throw new Error('mine') }}"
    opens(tab, server, f'<script nonce="n1">{throws}</script>{BANNER % ""}')
    tab.locator("#consent-mw button[value=reject]").click()
    ends = time.monotonic() + 60
    while server.choice is None:
        assert time.monotonic() < ends, "no answer came"
        tab.wait_for_timeout(10)
    assert server.choice == "reject"


@pytest.mark.parametrize("never", ["window.fetch", "Response.prototype.json"])
def test_an_answer_gets_through_where_what_should_send_it_never_ends(page: Page, server: Server, never: str) -> None:  # noqa: F811 - a fixture
    """As extensions replace it, and workers that died."""
    page.clock.install()
    opens(page, server, f'<script nonce="n1">{never} = () => new Promise(() => {{}})</script>{BANNER % ""}')
    page.locator("#consent-mw button[value=reject]").click()
    page.clock.fast_forward(11_000)
    ends = time.monotonic() + 60
    while not any("text/html" in accept for accept, _ in server.posts):
        assert time.monotonic() < ends, "no form came"
        page.wait_for_timeout(10)
    assert server.choice == "reject"


def test_a_page_that_takes_out_whatever_it_does_not_know_is_not_fought(page: Page, server: Server) -> None:  # noqa: F811 - a fixture
    takes_out = (
        "new MutationObserver(() => document.body.querySelectorAll('.consent-mw-status').forEach((e) => e.remove()))"
    )
    script = f'<script nonce="n1">{takes_out}.observe(document.body, {{ childList: true }})</script>'
    opens(page, server, f"{script}{LAST}{BANNER % ''}")
    page.locator("#consent-mw button[value=reject]").click()
    expect(page.locator("#consent-mw")).to_be_hidden()
    becomes_true(page, "window.ran && ran.includes('last')")


def test_a_frame_of_another_site_by_our_name_does_not_stop_the_script(page: Page, server: Server) -> None:  # noqa: F811 - a fixture
    server.csp = OPEN_POLICY
    other = server.origin.replace("127.0.0.1", "localhost")
    opens(page, server, f'<iframe name="consent" src="{other}/other"></iframe>{LAST}')
    becomes_true(page, "window.ran && ran.includes('last')")
    assert page.evaluate("consent.allows('analytics')") is False


STRANGE = (
    '<dialog data-consent="dialog"><link rel="stylesheet" href="/x.css"><p id="strange">Your password?</p></dialog>'
)
SETTINGS = STRANGE.replace("strange", "ours")


@pytest.mark.parametrize(
    "address",
    ["/consent-evil", "/upload", "/consent/../upload",
     "/consentother/x", "/consent/upload", "/consent%2fupload", "//{host}/upload",
     "http://[bad", "javascript:1", "{other}/consent", "{origin}@localhost/consent", "/upload#/consent"],
)  # fmt: skip
def test_a_link_by_our_name_opens_our_settings_wherever_it_leads(page: Page, server: Server, address: str) -> None:  # noqa: F811 - a fixture
    server.csp = OPEN_POLICY
    for path in ("/consent-evil", "/upload", "/consentother/x", "/consent/upload", "/consent%2fupload"):
        server.pages[path] = STRANGE
    server.pages["/consent"] = SETTINGS
    host, other = urlsplit(server.origin).netloc, server.origin.replace("127.0.0.1", "localhost")
    link = address.format(host=host, other=other, origin=server.origin)
    opens(page, server, f'<a href="{link}" data-consent="settings">Cookies</a>')
    page.get_by_role("link").click()
    expect(page.locator("#ours")).to_be_visible()
    expect(page.locator("#strange")).to_have_count(0)


WATCH = """new MutationObserver(() => console.log("inserted", document.querySelectorAll("#strange").length))
.observe(document.body, { childList: true })"""


@pytest.mark.parametrize("target", ["/upload", "{other}/upload"])
def test_no_answer_is_taken_from_where_a_redirect_leads(page: Page, server: Server, target: str) -> None:  # noqa: F811 - a fixture
    server.pages["/upload"] = STRANGE
    opens(page, server, '<button data-consent="settings">B</button>')
    server.redirects["/consent"] = target.format(other=server.origin.replace("127.0.0.1", "localhost"))
    page.evaluate(WATCH)
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.locator("button").click()
    page.wait_for_url("**/upload")  # the browser's own way, to a page of its own: nothing was put into this one
    assert [text for text in messages if text.startswith("inserted")] == []


@pytest.mark.parametrize("way", ["action", "formaction"])
def test_a_form_that_leads_elsewhere_is_no_answer(page: Page, server: Server, way: str) -> None:  # noqa: F811 - a fixture
    action = {"action": "/search", "formaction": "/consent/choice"}[way]
    button = f'<button name="choice" value="accept" {"formaction=/search" * (way == "formaction")}>Search</button>'
    opens(
        page, server,
        f'<div data-consent="banner"><form data-consent="choice" action="{action}">{button}</form></div>',
    )  # fmt: skip
    page.get_by_role("button", name="Search").click()
    page.wait_for_url("**/search?choice=accept")
    assert server.posts == []


def test_a_refused_image_takes_its_other_sources_with_it(page: Page, server: Server) -> None:  # noqa: F811 - a fixture
    server.take({"choice": ["accept"]})
    opens(page, server, '<img src="/a.png" srcset="/b.png 1x" data-purpose="analytics" alt="A">'
          '<script type="text/plain" data-purpose="analytics" src="/one.js"></script>')  # fmt: skip
    becomes_true(page, "window.ran")
    server.take({"choice": ["reject"]})
    page.evaluate("consent.refresh()")
    expect(page.locator("img[alt=A]")).to_have_attribute("data-src", "/a.png")
    assert page.locator("img[alt=A]").get_attribute("srcset") is None


def test_the_notice_is_closed_at_our_address_only(page: Page, server: Server) -> None:  # noqa: F811 - a fixture
    form = '<form method="{}" action="{}"><input name="action"><button>{}</button></form>'
    forms = form.format("post", "/consent/notice", "Close") + form.format("get", "/search", "Search")
    body = f'<div class="consent-mw-notice">{forms}</div>'
    opens(page, server, f'<img name="currentScript"><script src="/consent/static/notice.0.js" data-closed="-notice=2">'
          f'</script><img name="activeElement"><img name="body"><img name="querySelector">{body}')  # fmt: skip
    page.get_by_role("button", name="Close").click()
    becomes_true(page, "document.documentElement.classList.contains('consent-mw-noticed')")
    page.get_by_role("button", name="Search").click()
    page.wait_for_url("**/search?action=")
    assert [fields for _, fields in server.posts] == [{}]
