"""What an exchange leaves in the log: whatever the visitor chose, the application did, or went wrong."""

import asyncio
import json
import time

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.asgi import drive, scope, set_cookies
from tests.support.exchanges import ALL_COOKIES, cookie_for, cookies, exchange, records, response
from tests.support.policies import POLICY

from consent_mw import Choice, PolicyError, get_consent
from consent_mw.crypto.day_parts import Calendar, label_of
from consent_mw.crypto.keyring import MemoryKeyring
from consent_mw.exceptions import StoreUnavailable
from consent_mw.records import Query
from consent_mw.spool.bundles import Bundle
from consent_mw.stores.memory import MemoryStore
from consent_mw.testing.strategies import http_scopes, websocket_scopes


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

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def ignore(message):
        pass

    assert asyncio.run(site(app, **options)(scope(), receive, ignore)) == 123


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
