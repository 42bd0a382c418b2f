"""The notice of a revision that is ahead: on every page, for everyone the same, closed by a form that is judged."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.asgi import drive, scope
from tests.support.publishing import dated
from tests.support.site_of_revisions import FORM, KEY, Site, policy, shop, visits

from consent_mw import ConsentMiddleware, consent_banner, consent_head
from consent_mw._asgi import Message, Receive, Scope, Send
from consent_mw.testing.clock import Clock

PAGES = [
    "/",
    "/consent",
    "/consent/policy",
    "/consent/policy/1",
    "/consent/policy/2",
    "/consent/cookies",
    "/consent/no",
]


@pytest.fixture(scope="module")
def announced(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site whose second revision is ahead."""
    begun = Site(
        tmp_path_factory.mktemp("site"), policy(1, "2026-01-01", "2026-01-01"), Clock(datetime(2026, 12, 1, tzinfo=UTC))
    )
    begun.worker()
    begun.publish(policy(2, "2026-12-01", "2026-12-31", functional="200 days"))
    return begun


@pytest.fixture(scope="module")
def app(announced: Site) -> ConsentMiddleware:
    return announced.worker()


CLOSED = (b"cookie", b"consent-notice=2")


@pytest.mark.parametrize(
    ("language", "words"), [("ko", ("2026년 12월 31일", "200일")), ("en", ("31 December 2026", "200 days"))]
)
def test_every_page_announces_the_day_the_changes_and_where_to_compare(
    app: ConsentMiddleware, language: str, words: tuple[str, str]
) -> None:
    speaks = (b"accept-language", language.encode())
    for path in PAGES:
        page = visits(app, path, [speaks])
        notice = page.body.partition('<consent-mw class="consent-mw consent-mw-notice"')[2]
        notice = notice.partition("</consent-mw>")[0]
        assert f'lang="{language}"' in notice
        assert not {"00:00:00", "UTC", "Asia/Seoul"} & set(re.split(r"[ (),.]", notice))
        assert words[0] in notice
        if path != "/":  # beside a question it is brief
            assert {"en": "Seoul time", "ko": "서울 시간"}[language] in notice
            assert words[1] in notice
        assert 'href="/consent/policy/2"' in notice
        assert page.cookies.keys() <= {"session", "consent-form"}
        assert not visits(app, path, [speaks, CLOSED]).announces
    assert visits(app, "/", [(b"cookie", b"consent-notice=1")]).announces


def test_the_announced_revision_is_readable_and_says_that_it_is_not_in_force(app: ConsentMiddleware) -> None:
    page = visits(app, "/consent/policy/2").body.partition("<main")[2]
    assert "has been announced and is not in force yet. From midnight at the start of that day, Seoul time." in page
    assert "Functional is kept longer (180 days → 200 days) <strong>(important: it is kept longer)" in page
    assert "we'll ask you again about: Functional" in " ".join(page.split()).replace(":</p> ", ": ")
    assert re.search(r"Revision 1</a> \(in force\)", page)
    assert re.search(r"Revision 2</a> \(announced\)", page)
    document = json.loads(visits(app, "/consent/policy/2.json").body)
    assert (document["standing"], document["effective_at"]) == ("ahead", "2026-12-31T00:00:00+09:00")
    assert (document["compared_with"], [change["what"] for change in document["changes"]]) == (1, ["retention.longer"])
    assert json.loads(visits(app, "/consent/policy.json").body)["standing"] == "in force"
    korean = visits(app, "/consent/policy/2", [(b"accept-language", b"ko")]).body
    assert "Functional 보유 기간 연장 (180일 → 200일)" in korean


def test_what_is_announced_is_no_part_of_the_words_that_a_receipt_is_about(app: ConsentMiddleware) -> None:
    assert "200 days" not in app.runtime.revision.site.shown("banner", "en").text
    assert visits(app, "/consent/policy").body.count("200 days") == 1  # in the notice alone
    assert visits(app, "/consent/policy.md").body.count("200 days") == 0
    assert "200 days" not in visits(app, "/consent/policy.html").body


def post(app: ConsentMiddleware, form: str, *headers: tuple[bytes, bytes], **more: Any) -> list[Message]:
    async def run() -> list[Message]:
        incoming = [{"type": "http.request", "body": form.encode(), "more_body": False}]
        sent = await drive(app, scope("/consent/notice", headers=[FORM, *headers], method="POST", **more), incoming)
        await app.runtime.drain.stop()
        return sent

    return asyncio.run(run())


def answer(sent: list[Message]) -> tuple[int, str, list[bytes]]:
    headers = [(name.lower(), value) for name, value in sent[0]["headers"]]
    place = next((value.decode() for name, value in headers if name == b"location"), "")
    return sent[0]["status"], place, [value for name, value in headers if name == b"set-cookie"]


OURS = (b"sec-fetch-site", b"same-origin")
LINE = b"consent-notice=2; Path=/; Max-Age=2592000; SameSite=Lax"


@pytest.mark.parametrize(
    ("form", "headers", "expected"),
    [
        ("announced=2&next=/shop?a=1", [OURS], (303, "/shop?a=1", [LINE])),
        ("announced=2&next=https://evil.example", [OURS], (303, "/consent", [LINE])),
        ("announced=2&next=/\\evil.example", [OURS], (303, "/consent", [LINE])),
        ("announced=1&next=/", [OURS], (303, "/", [])),
        ("announced=", [OURS], (303, "/consent", [])),
        ("", [OURS], (303, "/consent", [])),
        ("announced=2", [], (303, "/consent?again=unknown", [])),
        ("announced=2", [(b"sec-fetch-site", b"cross-site")], (403, "", [])),
        ("announced=2", [(b"origin", b"https://evil.example")], (403, "", [])),
        ("announced=2", [OURS, (b"accept", b"application/json")], (200, "", [LINE])),
    ],
)
def test_closing_is_judged_as_a_choice_is(
    app: ConsentMiddleware, form: str, headers: list[tuple[bytes, bytes]], expected: tuple[int, str, list[bytes]]
) -> None:
    assert answer(post(app, form, *headers)) == expected


def test_a_browser_that_says_nothing_of_a_form_closes_it_on_the_settings_page(app: ConsentMiddleware) -> None:
    page = visits(app, "/consent")
    token = page.body.partition('name="token" value="')[2].partition('"')[0]
    cookie = page.cookies["consent-form"].partition(b";")[0]
    assert answer(post(app, f"announced=2&token={token}", (b"cookie", cookie)))[2] == [LINE]
    assert 'name="token" value=""' in visits(app, "/").body  # elsewhere a page may be kept by a cache


def test_where_nothing_is_announced_nothing_can_be_closed(tmp_path: Path) -> None:
    site = Site(tmp_path, policy(1, "2026-01-01", "2026-01-01"), Clock(datetime(2026, 12, 1, tzinfo=UTC)))
    assert answer(post(site.worker(), "announced=1", OURS)) == (303, "/consent", [])


def test_on_https_the_cookie_is_secure_and_bound_to_the_host(app: ConsentMiddleware) -> None:
    lines = answer(post(app, "announced=2", OURS, scheme="https"))[2]
    assert lines == [b"__Host-consent-notice=2; Path=/; Max-Age=2592000; SameSite=Lax; Secure"]
    page = visits(app, "/", [(b"cookie", b"__Host-consent-notice=2")], scheme="https")
    assert not page.announces


def test_scripts_learn_of_it_too(app: ConsentMiddleware) -> None:
    state = json.loads(visits(app, "/consent/state").body)
    assert state["announced"] == {"revision": 2, "effective_at": "2026-12-31T00:00:00+09:00"}


def test_an_application_cannot_close_the_notice(announced: Site) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/html"), (b"set-cookie", b"consent-notice=2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"<body>"})

    assert visits(announced.worker(app)).cookies == {}


def test_the_cookie_stands_in_the_list_with_what_it_does(app: ConsentMiddleware) -> None:
    assert "closed the notice of a new privacy policy" in visits(app, "/consent/cookies").body
    cookies = json.loads(visits(app, "/consent/cookies.json").body)["cookies"]
    assert {"name": "consent-notice", "expires": "30 days"}.items() <= next(
        cookie for cookie in cookies if cookie["name"] == "consent-notice"
    ).items()


@pytest.mark.parametrize("inserts", [True, False])
def test_the_template_helpers_bring_the_notice(announced: Site, inserts: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        html = f"<head>{consent_head(scope)}</head><body>{consent_banner(scope)}<main>x</main></body>"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": html.encode()})

    page = visits(announced.worker(app, banner=inserts))
    assert page.body.count('class="consent-mw consent-mw-notice"') == page.body.count("notice.") == 1
    assert page.body.count('data-consent="banner"') == 1
    assert not visits(announced.worker(app, banner=inserts), "/", [CLOSED]).announces


def test_a_page_that_waits_for_nothing_still_announces_to_who_has_answered(announced: Site) -> None:
    page = visits(announced.worker(shop), "/", [announced.accepted(1)])
    assert (page.announces, page.asks) == (True, False)
    assert "/static/notice." in page.body


def test_a_site_that_asks_nothing_announces_too(tmp_path: Path) -> None:
    plain = "schema = 1\nrevision = 1\npublished = 2026-01-01\neffective = 2026-01-01\nlanguages = ['en']\n"
    plain += '[controller]\nname = "A"\nofficer = { name = "B", email = "b@example.com" }\n'
    plain += '[purposes.necessary]\nbasis = "necessary"\nretention = "90 days"\n'
    site = Site(tmp_path, plain, Clock(datetime(2026, 12, 1, tzinfo=UTC)))
    site.worker()
    site.publish(dated(plain.replace("revision = 1", "revision = 2"), "2026-12-01", "2026-12-31"))
    page = visits(site.worker())
    assert (page.announces, page.asks) == (True, False)


def test_nothing_of_a_key_or_a_visitor_is_in_the_notice(app: ConsentMiddleware) -> None:
    bodies = {visits(app, "/", [(b"user-agent", agent)]).body for agent in (b"a", b"b")}
    assert len(bodies) == 1
    assert KEY not in bodies.pop()


def test_a_text_that_changed_in_another_language_alone_says_in_which(tmp_path: Path) -> None:
    begun = Site(tmp_path, policy(1, "2026-01-01", "2026-01-01"), Clock(datetime(2026, 12, 1, tzinfo=UTC)))
    begun.worker()
    begun.publish(policy(2, "2026-12-01", "2026-12-31").replace('"Example Inc."', '"Example Ltd."'))
    app = begun.worker()
    english, korean = (visits(app, "/consent/policy/2", [(b"accept-language", tag)]).body for tag in (b"en", b"ko"))
    assert "Who runs this site (Example Inc. → Example Ltd.)" in english
    assert "이 사이트의 운영자 (영어)" in korean
