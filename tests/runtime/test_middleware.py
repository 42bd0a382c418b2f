"""The middleware as a whole, around small applications: what passes, what changes, what is recorded."""

import asyncio
import json
import logging
import sqlite3
import time
from contextlib import closing
from datetime import timedelta

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.asgi import drive, scope, set_cookies
from tests.support.exchanges import ALL_COOKIES, KEY, Site, cookie_for, cookies, exchange, records, response
from tests.support.policies import POLICY

from consent_mw import Choice, ConfigurationError, ConsentMiddleware, PolicyError, Proxies, get_consent
from consent_mw.cli import main
from consent_mw.crypto.day_parts import Calendar, label_of
from consent_mw.crypto.keyring import MemoryKeyring
from consent_mw.exceptions import StoreUnavailable
from consent_mw.records import Query
from consent_mw.spool.bundles import Bundle
from consent_mw.stores.memory import MemoryStore
from consent_mw.testing.driver import Connection, lifespan
from consent_mw.testing.strategies import http_scopes, websocket_scopes


@pytest.fixture
def site(tmp_path):
    """Return a function that wraps an application; what it keeps goes below one directory."""
    (tmp_path / "policy.toml").write_text(POLICY)

    return Site(tmp_path)


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
    assert lines[1:] == [b"session=1"]
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


# -- the records --------------------------------------------------------------------------------------------------


def test_an_exchange_makes_one_record_for_each_permitted_purpose(site):
    async def app(scope, receive, send):
        get_consent(scope).record_event("search", results=12)
        await response(201, body=b"12345")(scope, receive, send)

    agent = b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    headers = [cookie_for(Choice.ACCEPT), (b"user-agent", agent), (b"referer", b"https://a.example/x?token=1")]
    body = [{"type": "http.request", "body": b"abc", "more_body": False}]

    async def reading(scope, receive, send):
        await receive()
        await app(scope, receive, send)

    exchange(site(reading), "/books/3", headers=headers, method="POST", incoming=body)
    analytics, necessary = sorted(records(site.directory, "visit"), key=lambda record: record[0])
    assert necessary[0] == "necessary"
    assert necessary[2] == {"client.address": "203.0.113.0", "url.path": "/books/3"}
    facts = {
        "http.request.method": "POST",
        "http.response.status_code": 201,
        "http.request.body.size": 3,
        "http.response.body.size": 5,
        "consent.choice": "accept",
        "consent.revision": 1,
    }
    assert facts.items() <= necessary[1].items()
    assert 0 < necessary[1]["http.server.request.duration"] < 60
    assert analytics[0] == "analytics"
    assert analytics[1]["user_agent.name"] == "Firefox"
    assert analytics[1]["user_agent.os.name"] == "Linux"
    assert analytics[2] == {"http.request.header.referer": "https://a.example"}
    ((purpose, clear, sealed),) = records(site.directory, "event")
    assert (purpose, clear["event.name"], sealed["event.results"]) == ("analytics", "search", 12)


def test_who_refuses_leaves_no_analytics_record_and_no_event(site):
    async def app(scope, receive, send):
        assert get_consent(scope).record_event("search", results=1) is False
        await response()(scope, receive, send)

    exchange(site(app), headers=[cookie_for(Choice.REJECT), (b"user-agent", b"Firefox")])
    assert [purpose for purpose, _, _ in records(site.directory, "visit")] == ["necessary"]
    assert records(site.directory, "event") == []


def test_an_abuse_report_keeps_the_full_address_whatever_was_chosen(site):
    async def app(scope, receive, send):
        get_consent(scope).report_abuse("guessing passwords")
        await response()(scope, receive, send)

    exchange(site(app), headers=[cookie_for(Choice.REJECT)])
    ((purpose, _, sealed),) = records(site.directory, "abuse")
    assert purpose == "abuse"
    assert sealed == {"client.address": "203.0.113.77", "abuse.reason": "guessing passwords"}


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [("serch", {}, 'did you mean "search"'), ("search", {"result": 1}, "results"), ("search", {"results": "x"}, "int")],
)
def test_an_undeclared_event_or_field_is_an_error(site, name, data, message):
    async def app(scope, receive, send):
        get_consent(scope).record_event(name, **data)

    with pytest.raises(PolicyError, match=message):
        exchange(site(app, debug=True), headers=[cookie_for(Choice.ACCEPT)])


def test_without_debug_an_undeclared_event_is_dropped_counted_and_told_once(site, caplog):
    async def app(scope, receive, send):
        consent = get_consent(scope)
        assert consent.record_event("serch") is False
        assert consent.record_event("search", results="x") is False
        assert consent.record_event("search", results=1) is True
        await response()(scope, receive, send)

    wrapped = site(app)
    for _ in range(2):
        assert exchange(wrapped, headers=[cookie_for(Choice.ACCEPT)])[0]["status"] == 200
    assert len(records(site.directory, "event")) == 2
    gaps = [clear for _, clear, _ in records(site.directory, "gap")]
    assert {clear["gap.reason"] for clear in gaps} == {"undeclared"}
    assert sum(clear["gap.records"] for clear in gaps) == 4
    assert sorted(message.count('did you mean "search"?') for message in caplog.messages) == [0, 1]
    assert "is a str, not a int" in caplog.messages[1]


@pytest.mark.parametrize("results", [2**63, -(2**63) - 1, 10**400])
def test_a_number_that_no_record_can_hold_is_dropped_and_the_page_served(site, results):
    async def app(scope, receive, send):
        assert get_consent(scope).record_event("search", results=results) is False
        await response()(scope, receive, send)

    assert exchange(site(app), headers=[cookie_for(Choice.ACCEPT)])[0]["status"] == 200
    assert [clear["gap.reason"] for _, clear, _ in records(site.directory, "gap")] == ["undeclared"]
    assert len(records(site.directory, "visit")) == 2


def test_a_field_may_be_called_name_and_its_value_be_of_a_subclass(site):
    class Markup(str):
        def __getitem__(self, key):
            return Markup(super().__getitem__(key))

    class Number(int):
        pass

    async def app(scope, receive, send):
        consent = get_consent(scope)
        assert consent.record_event("bought", name=Markup("<b>"), self=Number(7), price=Number(8)) is True
        consent.report_abuse(Markup("x"))
        await response()(scope, receive, send)

    fields = 'fields = { name = "str", self = "int", price = "float" }'
    site.policy.write_text(POLICY + f'[events.bought]\npurpose = "analytics"\n{fields}\n')
    exchange(site(app), headers=[cookie_for(Choice.ACCEPT)])
    ((_, _, sealed),) = records(site.directory, "event")
    assert (sealed["event.name"], sealed["event.self"], sealed["event.price"]) == ("<b>", 7, 8)


def test_a_keyring_of_somebody_elses_that_fails_in_its_own_way_costs_a_record_and_no_page(site, caplog):
    class Away(MemoryKeyring):
        def key(self, day, purpose, *, create):
            raise ConnectionResetError("the key service hung up")

    async def app(scope, receive, send):
        get_consent(scope).report_abuse("guessing")
        await response(200, cookies())(scope, receive, send)

    wrapped = site(app, keyring=Away())
    for _ in range(3):
        assert exchange(wrapped)[0]["status"] == 200
    lost = [clear for _, clear, _ in records(site.directory, "gap")]
    assert [(clear["gap.records"], clear["gap.reason"]) for clear in lost] == [(2, "key")] * 3
    assert caplog.text.count("not recorded") == 1  # and not with each request


def test_an_abuse_report_is_kept_though_the_key_of_the_visit_is_destroyed(site):
    async def app(scope, receive, send):
        get_consent(scope).report_abuse("guessing")
        await response()(scope, receive, send)

    wrapped, today = site(app), time.time_ns() // 86_400_000_000_000
    keyring = wrapped.runtime.sealer.keyring
    for label in (label_of("necessary", span) for span in Calendar([wrapped.runtime.policy]).spans(today)):
        keyring.key(today, label, create=True)
        assert keyring.destroy(today, label)
    assert exchange(wrapped)[0]["status"] == 200
    assert len(records(site.directory, "abuse")) == 1
    ((_, lost, _),) = records(site.directory, "gap")
    assert (lost["gap.records"], lost["gap.reason"]) == (1, "key")


def test_a_crash_is_recorded_with_its_type_and_raised_on(site):
    async def app(scope, receive, send):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        exchange(site(app))
    ((_, clear, _),) = records(site.directory, "visit")
    assert (clear["error.type"], clear["http.response.status_code"]) == ("ZeroDivisionError", 500)


def test_a_crash_after_the_start_keeps_the_status_that_was_sent(site):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        exchange(site(app))
    ((_, clear, _),) = records(site.directory, "visit")
    assert (clear["error.type"], clear["http.response.status_code"]) == ("ZeroDivisionError", 200)


def test_a_client_that_leaves_early_is_recorded_as_such(site):
    async def app(scope, receive, send):
        await receive()

    exchange(site(app), incoming=[{"type": "http.disconnect"}])
    ((_, clear, _),) = records(site.directory, "visit")
    assert clear["error.type"] == "disconnected"


@pytest.mark.parametrize("body_first", [True, False], ids=["a body before it", "at once"])
def test_a_client_that_left_before_a_late_answer_is_recorded_though_nobody_asked(site, body_first):
    async def app(scope, receive, send):
        await asyncio.sleep(0.03)
        await response(200)(scope, receive, send)

    body = [{"type": "http.request", "body": b"", "more_body": False}] if body_first else []
    exchange(site(app), incoming=[*body, {"type": "http.disconnect"}])
    ((_, clear, _),) = records(site.directory, "visit")
    assert (clear["error.type"], clear["http.response.status_code"]) == ("disconnected", 499)


def test_a_late_answer_loses_nothing_of_the_body_that_was_looked_at(site):
    parts = [{"type": "http.request", "body": b"%d" % n, "more_body": n < 2} for n in range(3)]
    read = []

    async def app(scope, receive, send):
        await asyncio.sleep(0.03)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        read.extend([(await receive()).get("body") for _ in parts])
        await send({"type": "http.response.body", "body": b"hello"})

    exchange(site(app), incoming=list(parts))
    ((_, clear, _),) = records(site.directory, "visit")
    assert read == [b"0", b"1", b"2"]
    assert (clear["http.response.status_code"], clear["http.request.body.size"]) == (200, 3)
    assert "error.type" not in clear


def test_a_late_answer_to_an_upload_that_nobody_reads_invites_none(site):
    asked = []

    async def app(scope, receive, send):
        await asyncio.sleep(0.03)
        await response(413)(scope, receive, send)

    async def run(*headers):
        async def receive():
            asked.append(headers)
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message):
            pass

        await site(app)(scope(method="POST", headers=headers), receive, send)

    asyncio.run(run((b"expect", b"100-continue")))
    assert not asked  # a server sends 100 Continue at the first question
    asyncio.run(run())
    assert asked


def test_an_upload_that_broke_off_is_no_error_of_the_site(site):
    async def app(scope, receive, send):
        while (await receive())["type"] != "http.disconnect":
            pass
        await response(500)(scope, receive, send)

    async def raises(scope, receive, send):
        await receive()
        await receive()
        raise LookupError

    exchange(
        site(app), incoming=[{"type": "http.request", "body": b"x", "more_body": True}, {"type": "http.disconnect"}]
    )
    with pytest.raises(LookupError):
        exchange(
            site(raises),
            incoming=[{"type": "http.request", "body": b"x", "more_body": True}, {"type": "http.disconnect"}],
        )
    outcomes = [
        (clear["error.type"], clear["http.response.status_code"]) for _, clear, _ in records(site.directory, "visit")
    ]
    assert outcomes == [("disconnected", 499)] * 2


@pytest.mark.parametrize(("headers", "streamed"), [([], True), ([(b"Content-Length", b"6")], None)])
def test_a_body_in_parts_without_a_length_is_a_stream(site, headers, streamed):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})
        await send({"type": "http.response.body", "body": b"def"})

    exchange(site(app))
    ((_, clear, _),) = records(site.directory, "visit")
    assert clear.get("http.response.streamed") is streamed


def test_a_cancelled_request_is_recorded_and_stays_cancelled(site):
    async def app(scope, receive, send):
        begun.set()
        await asyncio.sleep(60)

    wrapped, begun = site(app), asyncio.Event()

    async def run():
        task = asyncio.ensure_future(drive(wrapped, scope()))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await wrapped.runtime.drain.stop()

    asyncio.run(run())
    ((_, clear, _),) = records(site.directory, "visit")
    assert clear["error.type"] == "cancelled"


def test_a_stream_is_one_record_with_all_its_bytes_and_passes_chunk_by_chunk(site):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        for number in range(5):
            await send({"type": "http.response.body", "body": b"%d" % number, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    sent = exchange(site(app))
    assert [m.get("body") for m in sent[1:]] == [b"0", b"1", b"2", b"3", b"4", b""]
    ((_, clear, _),) = records(site.directory, "visit")
    assert clear["http.response.body.size"] == 5


def test_a_visit_says_which_declared_cookies_were_blocked_each_once_and_as_declared(site):
    exchange(site(response(200, cookies([*ALL_COOKIES, b"_ga_y=6"]))))
    ((_, clear, _),) = records(site.directory, "visit")
    assert clear["consent.cookies.blocked"] == "theme _ga* ad"


def test_a_visit_without_blocked_cookies_does_not_speak_of_them(site):
    allowed = [b"session=1", b"theme=2", b"mystery=3", b"ad=; Max-Age=0"]
    exchange(site(response(200, cookies(allowed))), headers=[cookie_for(Choice.ACCEPT)])
    assert all("consent.cookies.blocked" not in clear for _, clear, _ in records(site.directory, "visit"))


class NothingWaits(MemoryStore):
    """A store that takes everything but cookies that shall wait."""

    async def append(self, records, *, durable=False):
        if any(record.kind == "pending" for record in records):
            raise StoreUnavailable("the database is away")
        await super().append(records, durable=durable)


@pytest.mark.parametrize(("store", "blocked"), [(MemoryStore(), "ad"), (NothingWaits(), "ad theme")])
def test_a_cookie_that_waits_is_not_blocked_and_one_that_cannot_wait_is(site, store, blocked):
    asked = cookie_for(Choice.PROMPT, purposes={"marketing": False})
    exchange(site(response(200, cookies([b"theme=2", b"ad=4"])), store=store), headers=[asked])
    (visit,) = asyncio.run(store.fetch(Query(kinds=frozenset(("visit",)))))
    assert visit.data["consent.cookies.blocked"] == blocked


def test_a_bundle_that_an_earlier_version_spooled_is_read():
    facts = Bundle.read(
        msgspec.msgpack.encode(("GET", 200, 0, 5, 1_000, None, 0, None, None, "", None, (), False, ()))
    ).facts
    assert facts["http.response.status_code"] == 200
    assert "consent.cookies.blocked" not in facts


def test_excluded_paths_leave_the_log_but_not_the_gate(site):
    wrapped = site(response(200, cookies()), exclude=("/health", "/static/*"))
    assert set_cookies(exchange(wrapped, "/static/x.css")) == [b"session=1"]
    assert records(site.directory, "visit") == []


def test_what_need_not_change_is_handed_on_as_it_came(site):
    start = {"type": "http.response.start", "status": 200, "headers": [(b"X-Odd", b"\xff")], "extra": 1}
    body = {"type": "http.response.body", "body": b"x"}

    async def app(scope, receive, send):
        await send(start)
        await send(body)

    sent = exchange(site(app))
    assert sent[0] == start
    assert sent[1] == body


@pytest.mark.parametrize("options", [{}, {"policy_link": True}], ids=["plain", "with a link"])
def test_what_an_application_returns_is_the_servers_to_judge(site, options):
    async def app(scope, receive, send):
        await response()(scope, receive, send)
        return 123

    async def ignore(message):
        pass

    assert asyncio.run(site(app, **options)(scope(), None, ignore)) == 123


def test_what_came_is_never_changed_in_place(site):
    given = scope(headers=[(b"cookie", b"theme=dark; session=1")])
    before = json.dumps(given, default=repr)
    start = {"type": "http.response.start", "status": 200, "headers": cookies()}
    headers = list(start["headers"])

    async def app(scope, receive, send):
        await send(start)
        await send({"type": "http.response.body", "body": b""})

    wrapped = site(app)

    async def run():
        await drive(wrapped, given)
        await wrapped.runtime.drain.stop()

    asyncio.run(run())
    assert json.dumps(given, default=repr) == before
    assert start["headers"] == headers


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60, deadline=None
)
@given(http_scopes(names=["session", "theme", "ad", "consent"]) | websocket_scopes(names=["theme"]), st.booleans())
def test_a_hostile_request_gets_the_answer_that_it_would_get_without_us(site, hostile, socket):
    kind = "websocket.accept" if hostile["type"] == "websocket" else "http.response.start"

    async def app(scope, receive, send):
        await send({"type": kind, "status": 200, "headers": []})
        if kind == "http.response.start":
            await send({"type": "http.response.body", "body": b"hello"})

    if str(hostile.get("path", "")).startswith("/consent"):
        return
    wrapped = site(app)

    async def run():
        sent = await drive(wrapped, hostile)
        await wrapped.runtime.drain.stop()
        return sent

    sent = asyncio.run(run())
    assert sent[0]["type"] == kind
    assert kind == "websocket.accept" or sent[-1]["body"] == b"hello"


# -- starting -----------------------------------------------------------------------------------------------------


def test_lifespan_is_passed_on_and_ends_with_everything_in_the_store(site):
    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            assert (await receive())["type"] == "lifespan.startup"
            await send({"type": "lifespan.startup.complete"})
            assert (await receive())["type"] == "lifespan.shutdown"
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await response()(scope, receive, send)

    wrapped = site(app)

    async def run():
        started, stopping = asyncio.Event(), asyncio.Event()
        sent = []
        waiting = [{"type": "lifespan.startup"}]

        async def receive():
            if waiting:
                return waiting.pop()
            await stopping.wait()
            return {"type": "lifespan.shutdown"}

        async def send(message):
            sent.append(message["type"])
            started.set()

        life = asyncio.ensure_future(wrapped({"type": "lifespan"}, receive, send))
        await started.wait()
        await drive(wrapped, scope())
        stopping.set()
        await life
        return sent

    assert asyncio.run(run()) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert len(records(site.directory, "visit")) == 1


@pytest.mark.parametrize("error", [KeyError("DATABASE_URL"), RuntimeError("no database"), ValueError("bad port")])
def test_a_start_up_that_fails_before_it_asks_fails_as_bare(site, error):
    async def app(scope, receive, send):
        raise error

    async def run():
        async with Connection(site(app), {"type": "lifespan"}) as connection:
            await connection.send({"type": "lifespan.startup"})

    with pytest.raises(type(error)):
        asyncio.run(run())


async def raises_at_lifespan(scope, receive, send):
    assert scope["type"] == "http"
    await response()(scope, receive, send)


async def ignores_lifespan(scope, receive, send):
    if scope["type"] == "http":
        await response()(scope, receive, send)


async def looks_for_a_path(scope, receive, send):
    assert scope["path"]
    await response()(scope, receive, send)


async def names_what_it_knows(scope, receive, send):
    if scope["type"] != "http":
        raise ValueError(f"this application can only handle HTTP connections, not {scope['type']}.")
    await response()(scope, receive, send)


@pytest.mark.parametrize("app", [raises_at_lifespan, ignores_lifespan, looks_for_a_path, names_what_it_knows])
def test_without_lifespan_in_the_application_everything_is_in_the_store_at_the_end_too(site, app):
    wrapped = site(app)

    async def run():
        async with lifespan(wrapped):
            await drive(wrapped, scope())

    asyncio.run(run())
    assert len(records(site.directory, "visit")) == 1


def test_a_message_that_lifespan_does_not_have_is_not_answered(site):
    kinds = ["lifespan.startup", "lifespan.later", "lifespan.shutdown"]
    sent = exchange(site(raises_at_lifespan), kind="lifespan", incoming=[{"type": kind} for kind in kinds])
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_an_application_that_fails_to_start_says_so_to_the_server_itself(site):
    async def app(scope, receive, send):
        assert (await receive())["type"] == "lifespan.startup"
        raise LookupError("no database")

    async def run():
        async with Connection(site(app), {"type": "lifespan"}) as connection:
            await connection.send({"type": "lifespan.startup"})

    with pytest.raises(LookupError):
        asyncio.run(run())


def test_an_undeclared_cookie_is_reported_once_with_what_to_paste(site, caplog):
    wrapped = site(response(200, cookies()), debug=True)
    with caplog.at_level(logging.WARNING, "consent_mw"):
        sent = exchange(wrapped)
        exchange(wrapped)
    (message,) = [r.getMessage() for r in caplog.records if "mystery" in r.getMessage()]
    assert "[[cookies.declared]]" in message
    debug = dict(sent[0]["headers"])[b"consent-cookies"]
    assert b'mystery; blocked; "not declared in the policy"' in debug
    assert wrapped.runtime.revision.undeclared == {"mystery": "/"}


def test_a_store_that_cannot_be_opened_never_changes_an_answer(site):
    site.directory.mkdir()
    (site.directory / "consent.sqlite3").write_bytes(b"this is no database, and longer than a header of one" * 40)
    assert exchange(site(response(200, cookies())))[-1]["body"] == b"hello"
    assert any((site.directory / "spool").glob("*")), "the record waits in the spool"


def test_a_database_of_a_newer_version_is_left_alone(site):
    exchange(site(response()))
    path = site.directory / "consent.sqlite3"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 9999")
        database.commit()
    assert exchange(site(response()))[-1]["body"] == b"hello"


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"prefix": "consent"}, "prefix"),
        ({"exclude": "/health"}, "exclude"),
        ({"directory": "/dev/null/x"}, "/dev/null/x"),
        ({"store": "sqllite:///x"}, "sqllite"),
    ],
)
def test_wrong_options_are_refused_at_the_start_with_place_and_mend(site, options, place):
    with pytest.raises(ConfigurationError, match=place) as caught:
        site(response(), **options)
    assert "\n" not in str(caught.value)


def test_a_revision_that_goes_backwards_is_refused(site):
    policy = site.directory.parent / "policy.toml"
    policy.write_text(POLICY.replace("revision = 1", "revision = 3"))
    site(response())
    policy.write_text(POLICY)
    with pytest.raises(PolicyError, match="revision 1 is lower than 3"):
        site(response())


@pytest.mark.parametrize("announced", [True, False])
def test_the_record_is_written_before_a_client_can_know_that_it_has_all(tmp_path, announced):
    """Whoever kills the process after the visitor has read the page must find it in the log."""
    written = []
    length = [(b"content-length", b"6")] if announced else []
    chunks = [b"abc", b"def", b""]

    async def app(scope, receive, send):
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain"), *length]}
        )
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": chunk != b""})

    (tmp_path / "policy.toml").write_text(POLICY)
    middleware = ConsentMiddleware(app, policy=tmp_path / "policy.toml", secret_keys=[KEY])

    async def send(message):
        written.append((message.get("body"), middleware.runtime.spool.waiting_bytes > 0))

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    asyncio.run(middleware(scope("/"), receive, send))
    assert written == [(None, False), (b"abc", False), (b"def", announced), (b"", True)]


def test_the_record_of_an_empty_answer_is_written_before_its_head(tmp_path):
    """A client that reads `Content-Length: 0` has all: a redirect leaves as one head."""
    written = []
    (tmp_path / "policy.toml").write_text(POLICY)
    redirect = response(303, [(b"location", b"/"), (b"content-length", b"0")], b"")
    middleware = ConsentMiddleware(redirect, policy=tmp_path / "policy.toml", secret_keys=[KEY])

    async def send(message):
        written.append(middleware.runtime.spool.waiting_bytes)

    async def receive():
        raise AssertionError

    asyncio.run(middleware(scope("/"), receive, send))
    assert written[0] == written[1] > 0


def test_a_process_that_only_writes_leaves_its_records_to_another(tmp_path):
    (tmp_path / "policy.toml").write_text(POLICY)

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x"})

    middleware = ConsentMiddleware(app, policy=tmp_path / "policy.toml", secret_keys=[KEY], drain=False)

    async def run():
        await drive(middleware, scope("/"))
        await middleware.runtime.drain.stop()

    asyncio.run(run())
    assert middleware.runtime.spool.waiting_bytes > 0
    assert main(["drain", "--once", "--policy", str(tmp_path / "policy.toml")]) == 0
    assert middleware.runtime.spool.waiting_bytes == 0


@pytest.mark.parametrize("option", [{"spool_bytes": 4096}, {"sync_interval": timedelta()}])
def test_a_spool_that_could_hold_nothing_is_refused_at_the_start(tmp_path, option):
    async def unwrapped(scope, receive, send):
        raise AssertionError("it is not to be called")

    (tmp_path / "policy.toml").write_text(POLICY)
    with pytest.raises(ConfigurationError, match=next(iter(option))):
        ConsentMiddleware(unwrapped, policy=tmp_path / "policy.toml", secret_keys=[KEY], **option)


def test_what_fits_no_more_into_the_spool_is_a_counted_gap_and_the_pages_go_on(tmp_path):
    (tmp_path / "policy.toml").write_text(POLICY)

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x"})

    middleware = ConsentMiddleware(
        app, policy=tmp_path / "policy.toml", secret_keys=[KEY], drain=False, spool_bytes=1 << 20
    )

    async def run():
        for _ in range(6_000):
            sent = await drive(middleware, scope("/" + "x" * 100))
            assert sent[-1]["body"] == b"x"

    asyncio.run(run())
    gap = middleware.runtime.spool.take_gap()
    assert gap is not None
    assert gap.reason == "full"
    assert 0 < gap.frames < 6_000
    assert middleware.runtime.spool.waiting_bytes <= 1 << 20


def test_wrapped_twice_it_asks_once_and_says_so(site, caplog):
    page = response(200, [(b"content-type", b"text/html")], b"<!doctype html><body>x")
    inner = site(page)
    outer = site(inner)
    for _ in range(2):
        sent = exchange(outer)
        assert b"".join(message.get("body", b"") for message in sent).count(b'id="consent-mw"') == 1
    assert len([record for record in caplog.records if "stands inside another" in record.message]) == 1


def test_inside_a_session_middleware_it_warns_once(site, caplog):
    app = site(response())
    for _ in range(2):
        exchange(app, session={})
    assert len([record for record in caplog.records if "session middleware" in record.message]) == 1
