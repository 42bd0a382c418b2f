"""The middleware as a whole, around small applications: what passes and what changes."""

import re

import pytest
from tests.support.asgi import set_cookies
from tests.support.exchanges import ALL_COOKIES, cookie_for, cookies, exchange, records, response

from consent_mw import Choice, ConfigurationError, PolicyError, Proxies, get_consent

# -- the gate, on the wire ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 204, 206, 301, 304, 404, 500])
def test_cookies_are_gated_on_every_status(site, status):
    sent = exchange(site(response(status, cookies())))
    assert set_cookies(sent) == [b"session=1"]
    assert sent[0]["status"] == status


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "DELETE"])
def test_cookies_are_gated_for_every_method(site, method):
    assert set_cookies(exchange(site(response(200, cookies())), method=method)) == [b"session=1"]


def test_the_answer_to_a_refusal_is_the_same_but_for_the_cookies(site):
    app = response(418, [*cookies(), (b"x-own", b"1")], b"body")
    accepted = exchange(site(app), headers=[cookie_for(Choice.ACCEPT)])
    refused = exchange(site(app), headers=[cookie_for(Choice.REJECT)])
    assert set_cookies(accepted) == ALL_COOKIES[:4]
    assert set_cookies(refused) == ALL_COOKIES[:1]
    assert [m.get("body") for m in accepted] == [m.get("body") for m in refused]
    assert accepted[0]["status"] == refused[0]["status"] == 418


@pytest.mark.parametrize("kind", ["websocket.accept", "websocket.http.response.start"])
def test_the_gate_stands_before_a_websocket_too(site, kind):
    async def app(scope, receive, send):
        await send({"type": kind, "status": 403, "headers": cookies()})

    assert set_cookies(exchange(site(app), kind="websocket")) == [b"session=1"]


def test_a_websocket_accept_without_headers_stays_without(site):
    async def app(scope, receive, send):
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "hello"})
        await send({"type": "websocket.close"})

    sent = exchange(site(app), kind="websocket")
    assert sent[0] == {"type": "websocket.accept"}
    ((_, clear, _),) = records(site.directory, "visit")
    assert clear["network.protocol.name"] == "websocket"
    assert clear["http.response.status_code"] == 101
    assert clear["http.response.body.size"] == 5


def test_a_pushed_request_and_trailers_are_gated(site):
    async def app(scope, receive, send):
        await send({"type": "http.response.push", "path": "/x", "headers": cookies()})
        await send({"type": "http.response.start", "status": 200, "trailers": True, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        await send({"type": "http.response.trailers", "headers": cookies()})

    assert set_cookies(exchange(site(app))) == [b"session=1", b"session=1"]


def test_a_refused_cookie_is_neither_read_nor_left_in_the_browser(site):
    seen: list[bytes] = []

    async def app(scope, receive, send):
        seen.extend(value for name, value in scope["headers"] if name == b"cookie")
        await response()(scope, receive, send)

    name, value = cookie_for(Choice.REJECT)
    sent = exchange(site(app), headers=[(name, b"session=1; theme=dark; _ga_x=7; " + value)])
    assert seen == [b"session=1; " + value]
    lines = set_cookies(sent)
    assert b"theme=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/" in lines
    assert b"_ga_x=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/; Domain=.example.com" in lines
    assert {line.partition(b"=")[0] for line in lines} == {b"theme", b"_ga_x"}


def test_when_the_consent_cookie_vanishes_the_optional_ones_go_too(site):
    sent = exchange(site(response()), headers=[(b"cookie", b"theme=dark")])
    assert [line.partition(b"=")[0] for line in set_cookies(sent)] == [b"theme"]


@pytest.mark.parametrize("value", [b"nonsense", b"", b"accept|1", b"1|accept|1|2026-11-23|||.AAAA", b"\xff\xfe"])
def test_an_unreadable_consent_cookie_is_no_choice_and_no_error(site, value):
    sent = exchange(site(response(200, cookies())), headers=[(b"cookie", b"consent=" + value)])
    assert set_cookies(sent) == [b"session=1"]


def test_of_several_consent_cookies_over_http_the_one_that_allows_least_holds(site):
    name, accepted = cookie_for(Choice.ACCEPT)
    _, rejected = cookie_for(Choice.REJECT)
    forged = accepted[:-4] + b"AAAA"
    for others in ([rejected], [rejected, forged]):
        for lines in ([accepted, *others], [*others, accepted]):
            sent = exchange(site(response(200, cookies())), headers=[(name, line) for line in lines])
            assert set_cookies(sent) == [b"session=1"]
    once = exchange(site(response(200, cookies())), headers=[(name, accepted)])
    # What somebody else calls by the name takes no choice away.
    assert set_cookies(
        exchange(site(response(200, cookies())), headers=[(name, accepted + b"; " + forged)])
    ) == set_cookies(once)


def test_on_https_a_cookie_without_the_prefix_is_not_believed(site):
    sent = exchange(site(response(200, cookies())), scheme="https", headers=[cookie_for(Choice.ACCEPT)])
    assert set_cookies(sent) == [b"session=1"]


# -- changes by the application -----------------------------------------------------------------------------------


def test_a_grant_in_the_middle_of_a_request_comes_first_and_lets_later_cookies_pass(site):
    async def app(scope, receive, send):
        get_consent(scope).grant("functional")
        await response(200, cookies())(scope, receive, send)

    lines = set_cookies(exchange(site(app)))
    assert lines[0].startswith(b"consent=1|prompt|1|")
    assert b"theme=2; Path=/" in lines
    assert not any(line.startswith((b"ad", b"_ga", b"mystery")) for line in lines)
    ((purpose, clear, sealed),) = records(site.directory, "receipt")
    assert (purpose, clear["consent.choice"], sealed["purposes"]) == ("receipts", "prompt", {"functional": True})


def test_a_grant_after_the_start_changes_the_state_and_nothing_that_was_sent(site):
    states = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": cookies()})
        get_consent(scope).grant()
        states.append(get_consent(scope).choice)
        await send({"type": "http.response.body", "body": b"hello"})

    sent = exchange(site(app))
    assert states == [Choice.ACCEPT]
    assert set_cookies(sent) == [b"session=1"]
    assert sent[-1]["body"] == b"hello"


def test_a_grant_of_what_is_granted_writes_no_cookie_and_no_receipt(site):
    async def app(scope, receive, send):
        assert get_consent(scope).grant() is False
        await response()(scope, receive, send)

    assert set_cookies(exchange(site(app), headers=[cookie_for(Choice.ACCEPT)])) == []
    assert records(site.directory, "receipt") == []


def test_a_withdrawal_without_a_consent_does_nothing(site):
    async def app(scope, receive, send):
        assert get_consent(scope).withdraw() is False
        await response()(scope, receive, send)

    assert set_cookies(exchange(site(app))) == []


def test_a_withdrawal_expires_what_the_browser_holds_on_this_very_response(site):
    async def app(scope, receive, send):
        get_consent(scope).withdraw("functional")
        await response()(scope, receive, send)

    name, value = cookie_for(Choice.ACCEPT)
    lines = set_cookies(exchange(site(app), headers=[(name, b"theme=dark; ad=1; " + value)]))
    assert lines[0].startswith(b"consent=1|prompt|1|")
    assert b"analytics+/functional-/marketing+" in lines[0]
    assert [line.partition(b"=")[0] for line in lines[1:]] == [b"theme"]


def test_an_unknown_purpose_is_an_error_that_names_the_nearest(site):
    async def app(scope, receive, send):
        get_consent(scope).allows("analytcs")

    with pytest.raises(PolicyError, match='did you mean "analytics"'):
        exchange(site(app))


def test_get_consent_without_the_middleware_says_how_to_add_it():
    with pytest.raises(ConfigurationError, match="ConsentMiddleware"):
        get_consent({"type": "http"})


# -- cookies that wait --------------------------------------------------------------------------------------------


def test_a_cookie_that_waits_is_on_the_server_and_not_in_the_answer(site):
    sent = exchange(site(response(302, cookies())), headers=[cookie_for(Choice.PROMPT)])
    lines = set_cookies(sent)
    assert lines[0].startswith(b"consent-pending=")
    assert (b"server-timing", b"consent-waiting") in sent[0]["headers"]  # what tells our script, with the next line
    assert re.fullmatch(rb"consent-waiting=\d+; Max-Age=60; Path=/; SameSite=Lax", lines[1])
    assert lines[2:] == [b"session=1"]
    kept = [(purpose, sealed[0]) for purpose, _, sealed in records(site.directory, "pending")]
    assert kept == [("functional", "theme"), ("analytics", "_ga_x"), ("marketing", "ad")]
    assert not any(b"theme" in bytes(str(message), "utf-8") for message in sent)


def test_a_page_that_the_server_sends_from_a_file_keeps_its_start(site):
    async def app(scope, receive, send):
        fields = [(b"content-type", scope["path"].encode()[1:]), (b"content-length", b"4711")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.pathsend", "path": "/srv/page.html"})

    for path, headers in (("/text/html", []), ("/text/html", [cookie_for(Choice.ACCEPT)]), ("/text/plain", [])):
        sent = exchange(site(app), path, headers=headers)
        assert [message["type"] for message in sent] == ["http.response.start", "http.response.pathsend"]
    kept = [clear for purpose, clear, _ in records(site.directory, "visit") if purpose == "necessary"]
    assert [clear["http.response.body.size"] for clear in kept] == [4711] * 3


def test_the_size_of_a_websocket_text_is_its_bytes(site):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        for message in ({"text": "책"}, {"text": "ab"}, {"bytes": b"xyz", "text": None}, {"bytes": None, "text": ""}):
            await send({"type": "websocket.send", **message})
        await send({"type": "websocket.close"})

    said = [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "é", "bytes": None}]
    exchange(site(app), "/", "websocket", incoming=said)
    ((_, clear, _),) = records(site.directory, "visit")
    assert (clear["http.request.body.size"], clear["http.response.body.size"]) == (2, 3 + 2 + 3)


def test_a_page_that_crashes_before_its_body_is_a_crash_to_the_server(site):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        exchange(site(app))
    ((_, clear, _),) = records(site.directory, "visit")
    assert (clear["error.type"], clear["http.response.status_code"]) == ("ZeroDivisionError", 500)


def test_early_hints_pass_as_they_came(site):
    hint = {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]}

    async def app(scope, receive, send):
        await send(hint)
        await response()(scope, receive, send)

    assert exchange(site(app))[0] == hint


def test_behind_a_trusted_tls_proxy_a_form_of_ours_is_ours_and_the_cookie_is_prefixed(site):
    headers = [
        (b"host", b"shop.example"),
        (b"origin", b"https://shop.example"),
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-for", b"198.51.100.7"),
        (b"content-type", b"application/x-www-form-urlencoded"),
    ]
    body = [{"type": "http.request", "body": b"choice=reject", "more_body": False}]
    app = site(response(), proxies=Proxies(["203.0.113.77/32"]))
    sent = exchange(app, "/consent/choice", method="POST", headers=headers, incoming=body)
    assert sent[0]["status"] == 303
    assert set_cookies(sent)[0].startswith(b"__Host-consent=1|reject|")
