"""Ask me each time, for real: on the server until the answer, then the very same line, once."""

import asyncio
import json
import time
from datetime import timedelta
from uuid import UUID

import pytest
from tests.support.asgi import set_cookies
from tests.support.policies import POLICY
from tests.support.visitors import Visitor, now

from consent_mw import ConsentMiddleware
from consent_mw.cookies.pending import WAITS
from consent_mw.exceptions import StoreUnavailable
from consent_mw.stores.memory import MemoryStore

KEY = "the secret key of the tests"
THEME = b"theme=dark; Path=/; Max-Age=3600; SameSite=Lax"
AD = b"ad=7; Path=/; Expires=Fri, 01 Jan 2100 00:00:00 GMT; Secure"
PAGE = b"<html><head></head><body><p>the page</p></body></html>"


@pytest.fixture
def worker(tmp_path):
    """Return a function that makes one more worker over the same policy, keys and SQLite file."""
    (tmp_path / "policy.toml").write_text(POLICY)

    def make(sets=(THEME,), status=200, **options):
        async def app(scope, receive, send):
            lines = sets[scope["path"]] if isinstance(sets, dict) else sets
            headers = [(b"content-type", b"text/html; charset=utf-8"), *((b"set-cookie", line) for line in lines)]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": PAGE})

        return ConsentMiddleware(app, policy=tmp_path / "policy.toml", secret_keys=[KEY], **options)

    return make


def play(*workers, story):
    """Run `story(visitor, ...)`, one visitor for each worker, all of one loop."""

    async def run():
        try:
            return await story(*map(Visitor, workers))
        finally:
            for app in workers:
                await app.runtime.drain.stop()

    return asyncio.run(run())


async def waiting(visitor, **more):
    sent = await visitor.gets("/consent/state", **more)
    return {cookie["name"]: cookie["id"] for cookie in json.loads(sent[-1]["body"])["waiting"]}


def application_lines(sent):
    return [line for line in set_cookies(sent) if b"consent" not in line.partition(b"=")[0]]


@pytest.mark.parametrize("status", [200, 302, 404, 500])
@pytest.mark.parametrize("mode", [b"navigate", b"cors"])
def test_a_cookie_waits_whatever_the_answer_was(worker, status, mode):
    async def story(visitor):
        await visitor.picks("prompt")
        sent = await visitor.gets("/", headers=[(b"sec-fetch-mode", mode)])
        assert application_lines(sent) == []
        assert sent[0]["status"] == status
        names = await waiting(visitor)
        assert set(names) == {"theme"}
        assert application_lines(await visitor.posts(("waiting", names["theme"]), ("answer", "allow"))) == [THEME]
        assert visitor.cookies == {"theme": "dark"}

    play(worker(status=status), story=story)


def test_several_answers_wait_together_and_of_one_name_the_latest(worker):
    later = b"theme=light; Path=/"

    async def story(visitor):
        await visitor.picks("prompt")
        for path in ("/", "/b", "/c"):
            await visitor.gets(path)
        assert list(await waiting(visitor)) == ["ad", "theme"]
        sent = await visitor.posts(("waiting", "all"), ("answer", "allow"))
        assert sorted(application_lines(sent)) == [AD, later]

    play(worker({"/": [THEME], "/b": [AD], "/c": [later]}), story=story)


@pytest.mark.parametrize("answer", ["allow", "refuse"])
def test_two_answers_that_kept_a_line_at_once_are_settled_by_one_answer(worker, answer):
    async def story(visitor):
        await visitor.picks("prompt")
        await visitor.gets("/b")
        await asyncio.gather(*(visitor.gets() for _ in range(4)))  # none of them has seen the others' lines
        names = await waiting(visitor)
        assert list(names) == ["ad", "theme"]
        sent = await visitor.posts(("waiting", names["theme"]), ("answer", answer))
        assert application_lines(sent) == [THEME] * (answer == "allow")
        assert list(await waiting(visitor)) == ["ad"]

    play(worker({"/": [THEME], "/b": [AD]}), story=story)


def test_one_of_several_is_allowed_and_the_other_refused(worker):
    async def story(visitor):
        await visitor.picks("prompt")
        await visitor.gets()
        names = await waiting(visitor)
        await visitor.posts(("waiting", names["ad"]), ("answer", "refuse"))
        assert set(await waiting(visitor)) == {"theme"}
        sent = await visitor.posts(("waiting", names["ad"]), ("waiting", names["theme"]), ("answer", "allow"))
        assert application_lines(sent) == [THEME], "what was refused is gone"
        assert visitor.cookies == {"theme": "dark"}
        await visitor.gets("/")
        assert visitor.cookies == {"theme": "dark"}, "what was allowed stays"

    play(worker([THEME, AD]), story=story)


def test_two_tabs_that_answer_at_once_get_the_line_once(worker):
    async def story(visitor):
        await visitor.picks("prompt")
        await visitor.gets()
        tabs = [visitor.posts(("waiting", "all"), ("answer", "allow")) for _ in range(4)]
        lines = [application_lines(sent) for sent in await asyncio.gather(*tabs)]
        assert sorted(lines) == [[], [], [], [THEME]]

    play(worker(), story=story)


def test_two_workers_that_share_a_file_and_keys_share_what_waits(worker):
    first, second = worker(), worker()

    async def story(visitor, _):
        await visitor.picks("prompt")
        await visitor.gets(app=first)
        names = await waiting(visitor, app=second)
        assert set(names) == {"theme"}
        both = [visitor.posts(("waiting", "all"), ("answer", "allow"), app=app) for app in (first, second) * 2]
        lines = [application_lines(sent) for sent in await asyncio.gather(*both)]
        assert sorted(lines) == [[], [], [], [THEME]]

    play(first, second, story=story)


def test_another_visitor_can_neither_see_nor_release(worker):
    async def story(visitor, stranger):
        await visitor.picks("prompt")
        await visitor.gets()
        names = await waiting(visitor)
        await stranger.picks("prompt")
        await stranger.gets("/empty")
        assert await waiting(stranger) == {}
        for ids in (names["theme"], "all"):
            for verb in ("allow", "refuse", "purpose"):
                sent = await stranger.posts(("waiting", ids), ("answer", verb))
                assert application_lines(sent) == []
        assert await waiting(visitor) == names, "still there"
        guessed = f"{stranger.prefix}consent-pending={'A' * 22}".encode()
        assert json.loads((await stranger.gets("/consent/state", cookie=guessed))[-1]["body"])["waiting"] == []

    shared = worker({"/": [THEME], "/empty": []})
    play(shared, shared, story=story)


def test_what_waits_is_in_no_page_and_readable_in_no_store(worker, tmp_path):
    secret = b"theme=a-value-that-nobody-may-read; Path=/"

    async def story(visitor):
        await visitor.picks("prompt")
        await visitor.gets()
        for path in ("/", "/consent", "/consent/state", "/consent/cookies"):
            sent = await visitor.gets(path)
            assert b"a-value-that" not in b"".join(m.get("body", b"") for m in sent)
            assert b"a-value-that" not in repr(sent).encode()
        page = b"".join(m.get("body", b"") for m in await visitor.gets("/"))
        for piece in (b"theme", b'data-consent="waiting"', b'value="allow"', b'value="refuse"', b'name="remember"'):
            assert piece in page

    play(worker([secret]), story=story)
    kept = [path for path in (tmp_path / "consent-data").rglob("*") if path.is_file()]
    assert kept
    assert not any(b"a-value-that" in path.read_bytes() for path in kept)


def test_always_for_this_purpose_delivers_and_asks_no_more(worker):
    async def story(visitor):
        await visitor.picks("prompt")
        await visitor.gets()
        names = await waiting(visitor)
        sent = await visitor.posts(("waiting", names["theme"]), ("answer", "purpose"))
        assert application_lines(sent) == [THEME]
        assert application_lines(await visitor.gets()) == [THEME], "now it passes by itself"
        assert set(await waiting(visitor)) == {"ad"}
        state = json.loads((await visitor.gets("/consent/state"))[-1]["body"])
        assert state["purposes"] == {"functional": True, "analytics": None, "marketing": None}

    play(worker([THEME, AD]), story=story)


@pytest.mark.parametrize(("answer", "kept"), [("allow", True), ("refuse", False)])
def test_an_answer_that_is_to_be_remembered_is_one_about_the_purpose(worker, answer, kept):
    async def story(visitor):
        await visitor.picks("prompt")
        await visitor.gets()
        names = await waiting(visitor)
        await visitor.posts(("waiting", names["theme"]), ("answer", answer), ("remember", "yes"))
        state = json.loads((await visitor.gets("/consent/state"))[-1]["body"])
        assert state["purposes"] == {"functional": kept, "analytics": None, "marketing": None}

    play(worker([THEME, AD]), story=story)


def test_a_refusal_is_quiet_for_the_visit_and_no_longer(worker):
    """Refused, a purpose is asked about neither by the next cookie of it nor on another worker; the others are."""

    async def story(visitor):
        await visitor.picks("prompt")
        await visitor.gets()
        names = await waiting(visitor)
        await visitor.posts(("waiting", names["theme"]), ("answer", "refuse"))
        for _ in range(3):
            assert application_lines(await visitor.gets()) == []
            assert set(await waiting(visitor)) == {"ad"}, "what waits goes on waiting"
        state = json.loads((await visitor.gets("/consent/state"))[-1]["body"])
        assert state["purposes"]["functional"] is None, "nothing was answered for good"
        await visitor.picks("prompt")  # chosen anew
        await visitor.gets()
        assert set(await waiting(visitor)) == {"theme", "ad"}
        names = await waiting(visitor)
        await visitor.posts(("waiting", "all"), ("answer", "refuse"))
        await visitor.gets()
        assert await waiting(visitor) == {}
        kept = [
            cookie for cookie in visitor.browser.header(b"/", now()).split(b"; ") if b"consent-pending" not in cookie
        ]
        await visitor.gets(cookie=b"; ".join(kept))  # the browser was closed, and opened again
        assert set(await waiting(visitor)) == {"theme", "ad"}

    play(worker([THEME, AD]), story=story)


@pytest.mark.parametrize(("choice", "arrives"), [("accept", [THEME]), ("reject", []), ("prompt", [])])
def test_a_new_choice_settles_what_waits(worker, choice, arrives):
    async def story(visitor):
        await visitor.picks("prompt")
        await visitor.gets()
        assert application_lines(await visitor.picks(choice)) == arrives
        assert set(await waiting(visitor)) == ({"theme"} if choice == "prompt" else set())

    play(worker(), story=story)


def test_one_visitor_cannot_make_us_keep_more_than_twenty_lines_or_a_long_one(worker):
    many = [b"_ga_%d=1; Path=/" % number for number in range(50)]
    long = b"theme=" + b"v" * 9_000

    async def story(visitor):
        await visitor.picks("prompt")
        for _ in range(3):
            sent = await visitor.gets()
            assert application_lines(sent) == []
        assert len(await waiting(visitor)) == 20
        assert "theme" not in await waiting(visitor)
        assert len(application_lines(await visitor.posts(("waiting", "all"), ("answer", "allow")))) == 20

    play(worker([long, *many]), story=story)


def test_an_open_page_keeps_its_questions_when_the_same_cookies_are_set_again(worker):
    """As a script that polls does, or a second tab; the answer is about the latest line."""
    middleware = worker([THEME, AD])
    pending = middleware.runtime.revision.pending

    async def story(visitor):
        await visitor.picks("prompt")
        await visitor.gets()
        cookies = {key.name: held.value for key, held in visitor.browser.jar.items()}
        session = cookies[b"__Host-consent-pending"].decode().partition(".")[0]
        first = [cookie.id for cookie in await pending.waiting(session, time.time_ns())]
        await visitor.gets()
        assert [cookie.id for cookie in await pending.waiting(session, time.time_ns())] == first
        assert len(await pending.claim(session, first[:1], time.time_ns())) == 1
        assert [cookie.id for cookie in await pending.waiting(session, time.time_ns())] == first[1:]

    play(middleware, story=story)


def test_after_ten_minutes_it_is_gone_and_max_age_is_shorter_by_what_it_waited(worker):
    middleware = worker([THEME, AD, b"_ga=1; Max-Age=60; Path=/"])
    pending = middleware.runtime.revision.pending
    minute = 60_000_000_000

    async def story(visitor):
        await visitor.picks("prompt")
        await visitor.gets()
        now_ns = time.time_ns()
        held = {key.name: held.value for key, held in visitor.browser.jar.items()}
        session = held[b"__Host-consent-pending"].decode().partition(".")[0]
        late = now_ns + WAITS.seconds * 1_000_000_000 + minute
        assert await pending.waiting(session, late) == []
        ids = [cookie.id for cookie in await pending.waiting(session, now_ns)]
        assert await pending.claim(session, ids, late) == []
        lines = await pending.claim(session, ids, now_ns + 5 * minute)
        ages = {line.partition(b"=")[0]: line for line in lines}
        assert b"Max-Age=3300; " in ages[b"theme"] or b"Max-Age=3299; " in ages[b"theme"]
        assert ages[b"_ga"] == b"_ga=1; Max-Age=0; Path=/", "its time was over before it arrived"
        assert ages[b"ad"] == AD, "a date stands for itself"
        await visitor.gets()
        assert await pending.expire(late + 2 * minute) == 3

    play(middleware, story=story)


@pytest.mark.parametrize("fields", [
    [("waiting", "all"), ("answer", "perhaps")],
    [("waiting", "1"), ("answer", "allow")],
    [("answer", "allow")],
    [("waiting", "all")],
])  # fmt: skip
def test_an_answer_that_cannot_be_meant_changes_nothing(worker, fields):
    async def story(visitor):
        await visitor.picks("prompt")
        await visitor.gets()
        sent = await visitor.posts(*fields)
        assert sent[0]["status"] == 422
        assert set(await waiting(visitor)) == {"theme"}

    play(worker(), story=story)


def test_an_unknown_id_is_no_error_since_another_tab_may_have_answered(worker):
    async def story(visitor):
        await visitor.picks("prompt")
        await visitor.gets()
        sent = await visitor.posts(("waiting", str(UUID(int=7))), ("answer", "allow"))
        assert sent[0]["status"] == 303
        assert application_lines(sent) == []

    play(worker(), story=story)


class Broken(MemoryStore):
    """A store that has gone away for those who append, or takes its time."""

    def __init__(self, seconds=0.0):
        super().__init__()
        self.seconds = seconds

    async def append(self, records, *, durable=False):
        if any(record.kind == "pending" for record in records):
            await asyncio.sleep(self.seconds)
            raise StoreUnavailable("the database is away")
        await super().append(records, durable=durable)


@pytest.mark.parametrize("seconds", [0.0, 60.0])
def test_a_store_that_is_away_or_slow_blocks_the_cookie_and_leaves_the_page(worker, seconds, caplog):
    async def story(visitor):
        await visitor.picks("prompt")
        sent = await asyncio.wait_for(visitor.gets(), 30)
        assert application_lines(sent) == []
        assert sent[0]["status"] == 200
        assert b"the page" in b"".join(m.get("body", b"") for m in sent)
        assert await waiting(visitor) == {}
        assert visitor.cookies == {}

    wait = timedelta(milliseconds=50)
    play(worker(store=Broken(seconds), debug=True, pending_wait=wait), story=story)
    assert any("were blocked" in record.getMessage() for record in caplog.records)


def pair(visitor, name):
    """Return what a browser sends of one cookie of ours."""
    (value,) = [held.value for key, held in visitor.browser.jar.items() if key.name == name]
    return name + b"=" + value


def alone(app):
    """A browser on a host over plain http whose cookies no neighbour can set, so that lines wait there too."""
    visitor = Visitor(app, secure=False)
    visitor.browser.host = "localhost"
    return visitor


@pytest.mark.parametrize("tossed", [b"A" * 22, b"A" * 22 + b"." + b"B" * 43])
def test_under_an_id_that_nobody_signed_nothing_waits_and_nothing_is_lost(worker, tossed):
    app = worker()

    async def story(_):
        victim, attacker = alone(app), alone(app)
        await attacker.picks("prompt")
        await victim.picks("prompt")
        consent = pair(victim, b"consent")
        sent = await victim.gets("/", cookie=consent + b"; consent-pending=" + tossed)
        assert set(await waiting(victim)) == {"theme"}, "under an id of the victim's own"
        assert any(line.startswith(b"consent-pending=") for line in set_cookies(sent))
        cookie = pair(attacker, b"consent") + b"; consent-pending=" + tossed
        assert application_lines(await attacker.posts(("waiting", "all"), ("answer", "allow"), cookie=cookie)) == []
        assert application_lines(await victim.posts(("waiting", "all"), ("answer", "allow"))) == [THEME]

    play(app, story=story)


def test_what_waits_belongs_to_one_choice_and_goes_along_when_it_is_changed(worker):
    app = worker([THEME, AD])

    async def story(visitor):
        await visitor.picks("prompt")
        await visitor.gets()
        old = pair(visitor, b"__Host-consent-pending")
        assert set(await waiting(visitor)) == {"theme", "ad"}
        sent = await visitor.posts(("choice", "save"), ("purpose.functional", "yes"))
        assert application_lines(sent) == [THEME]
        assert set(await waiting(visitor)) == {"ad"}, "under the new choice"
        consent = pair(visitor, b"__Host-consent")
        assert await waiting(visitor, cookie=consent + b"; " + old) == {}, "the old session cookie is nothing beside it"

    play(app, story=story)


def test_of_two_session_cookies_neither_collects_nor_delivers(worker):
    app = worker()

    async def story(_):
        victim, attacker = alone(app), alone(app)
        for visitor in (victim, attacker):
            await visitor.picks("prompt")
            await visitor.gets()
        both = b"; ".join(
            [pair(victim, b"consent"), *(pair(visitor, b"consent-pending") for visitor in (victim, attacker))]
        )
        assert await waiting(victim, cookie=both) == {}
        assert set(await waiting(attacker)) == {"theme"}

    play(app, story=story)
