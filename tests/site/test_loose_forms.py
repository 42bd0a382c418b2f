"""Forms of ours stand at the end of a whole page, so that `document.forms[0]` of it stays its own."""

# ruff: noqa: F811 - a test names its fixtures

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect
from tests.support import scripted_pages
from tests.support.scripted_pages import ITEM, WAITING, Server, context, opens, page, server  # noqa: F401 # pyright: ignore[reportUnusedImport] - fixtures

from consent_mw._asgi import Message
from consent_mw.site.insertion import Insertion
from consent_mw.site.loose_forms import ends, loosened

BANNER = (
    '<section><form class="bar" method="post" action="/consent/choice">'
    '<input name="a"><button>b</button></form></section>'
)
SITE = b"<body><form id=site></form></body></html>"


def inserted(*chunks: bytes, length: int | None = None) -> tuple[bytes, dict[bytes, bytes]]:
    headers = [(b"content-type", b"text/html")]
    if length is not None:
        headers.append((b"content-length", b"%d" % length))
    start = {"type": "http.response.start", "status": 200, "headers": headers}
    insertion = Insertion(start, "", BANNER)
    sent: list[Message] = []
    for number, chunk in enumerate(chunks, 1):
        more = number < len(chunks)
        sent += insertion.feed({"type": "http.response.body", "body": chunk, "more_body": more})
    return b"".join(message.get("body", b"") for message in sent), dict(sent[0]["headers"])


def test_the_first_form_of_a_whole_page_is_its_own() -> None:
    page, headers = inserted(SITE, length=len(SITE))
    assert page.find(b"<form id=site") < page.find(
        b'<form id="consent-mw-form-1" method="post" action="/consent/choice"'
    )
    assert b'<input form="consent-mw-form-1" name="a"><button form="consent-mw-form-1">' in page
    assert int(headers[b"content-length"]) == len(page)


@pytest.mark.parametrize("chunks", [(SITE, b""), (SITE[:20], SITE[20:])])
def test_a_page_whose_length_is_known_is_whole_as_soon_as_it_is_there(chunks: tuple[bytes, ...]) -> None:
    page, headers = inserted(*chunks, length=len(SITE))
    assert (b"consent-mw-form-1" in page) == (chunks[0] == SITE)
    assert int(headers[b"content-length"]) == len(page)


@pytest.mark.parametrize("chunks", [(SITE, b""), (b"<body><textarea>",), (b"<body><p>half of a page",)])
def test_a_stream_and_a_page_without_its_end_keep_the_form_inside(chunks: tuple[bytes, ...]) -> None:
    page = inserted(*chunks)[0]
    assert BANNER.encode() in page
    assert b"consent-mw-form-1" not in page


def test_each_form_has_a_name_of_its_own() -> None:
    body, end = loosened(BANNER * 2)
    assert (body.count('form="consent-mw-form-1"'), body.count('form="consent-mw-form-2"')) == (2, 2)
    assert end.count("<form ") == 2
    assert "<form" not in body
    assert body.count('<div class="bar">') == 2


@pytest.mark.parametrize(
    ("page", "whole"),
    [
        (b"</body></html>", True),
        (b"</BODY >\n", True),
        (b"</html>" + b" " * 50, True),
        (b"</html>x", False),
        (b"", False),
    ],
)
def test_a_page_ends_with_its_body(page: bytes, whole: bool) -> None:
    assert ends(page) is whole


FIRST = "<form id=site></form><script nonce=n1>first = document.forms[0].id</script><main>text</main>"


@pytest.mark.parametrize("way", ["by the script", "after the banner was thrown out", "without connection"])
def test_a_choice_is_taken_by_a_form_at_the_end(page: Page, server: Server, way: str) -> None:
    banner, end = loosened(scripted_pages.BANNER % "")
    server.broken = way == "without connection"
    opens(page, server, banner + FIRST + end)
    assert page.evaluate("first") == "site"
    if way == "after the banner was thrown out":
        page.evaluate("document.querySelector('#consent-mw').remove(); document.forms[1].remove()")
    page.locator("button[value=accept]").click()
    if server.broken:
        page.wait_for_url("**/after")
    else:
        expect(page.locator("#consent-mw")).to_be_hidden()
    assert server.posts[-1][1] == {"next": ["/"], "choice": ["accept"]}


def test_each_waiting_cookie_is_answered_by_its_own_form(page: Page, server: Server) -> None:
    server.choice, server.waiting = "prompt", ["a", "b"]
    section, end = loosened(WAITING % "".join(ITEM.format(name) for name in ("a", "b", "all")))
    opens(page, server, section + FIRST + end)
    page.get_by_role("button", name="refuse b").click()
    expect(page.get_by_role("button", name="allow b")).to_have_count(0)
    assert server.posts[-1][1] == {"waiting": ["b"], "answer": ["refuse"]}
    page.get_by_role("button", name="allow a").click()
    expect(page.locator("#consent-mw")).to_be_hidden()
