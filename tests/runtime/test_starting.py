"""The middleware from its start to its end: lifespans, wrong options, a spool without room, warnings."""

import asyncio
import logging
import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest
from tests.support.asgi import drive, scope
from tests.support.exchanges import KEY, cookies, exchange, records, response
from tests.support.policies import POLICY

from consent_mw import ConfigurationError, ConsentMiddleware, PolicyError
from consent_mw.cli import main
from consent_mw.testing.driver import Connection, lifespan


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
