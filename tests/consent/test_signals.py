"""Signals of the browser: a standing refusal, until the visitor says otherwise in so many words."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support.asgi import drive, scope, set_cookies
from tests.support.exchanges import records
from tests.support.policies import POLICY
from tests.support.site_of_signals import LINES, site
from tests.support.visitors import Visitor

from consent_mw import get_consent
from consent_mw.cli import main
from consent_mw.policy.amendments import amendments
from consent_mw.policy.loader import loads
from consent_mw.site.documents import OwnCookies, policy_document
from consent_mw.testing.clock import Clock


@pytest.fixture
def directory(tmp_path):
    return tmp_path


GPC = [(b"sec-gpc", b"1")]
DNT = [(b"dnt", b"1")]
WITH_DNT = POLICY.replace('refused_by = ["gpc"]', 'refused_by = ["gpc", "dnt"]')


def play(middleware, steps):
    """Run an asynchronous story about one visitor, and bring everything into the store."""

    async def run():
        visitor = Visitor(middleware)
        try:
            return await steps(visitor)
        finally:
            await middleware.runtime.drain.stop()

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("headers", "heard"),
    [
        ([b"1"], True),
        ([b"0", b"1"], True),  # any of several
        ([b"1", b"0"], True),
        ([b"1", b"1"], True),
        ([b"0"], False),
        ([b""], False),
        ([b" 1"], False),
        ([b"1 "], False),
        ([b"1,1"], False),
        ([b"01"], False),
        ([b"true"], False),
        ([b"\xc2\xb9"], False),
        ([], False),
    ],
)
def test_only_the_exact_value_of_one_header_is_the_signal(directory, headers, heard):
    async def app(scope, receive, send):
        assert get_consent(scope).signals == (frozenset({"gpc"}) if heard else frozenset())
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def story(visitor):
        return await visitor.gets(headers=[(b"sec-gpc", value) for value in headers])

    assert play(site(directory, app), story)[0]["status"] == 204


def test_an_acceptance_from_before_the_signal_does_not_answer_it(directory):
    async def story(visitor):
        await visitor.picks("accept")
        await visitor.gets()
        assert set(visitor.cookies) == {"session", "theme", "ad"}
        visitor.signals = GPC
        await visitor.gets()
        assert set(visitor.cookies) == {"session", "theme"}, "ad is expired on the first answer under the signal"
        visitor.signals = []
        await visitor.gets()
        assert set(visitor.cookies) == {"session", "theme", "ad"}

    play(site(directory), story)


def test_a_later_explicit_acceptance_wins_over_the_signal_and_its_receipt_says_so(directory):
    middleware = site(directory)

    async def story(visitor):
        await visitor.picks("accept")
        visitor.signals = GPC
        await visitor.picks("accept")
        await visitor.gets()
        assert set(visitor.cookies) == {"session", "theme", "ad"}
        await visitor.picks("accept")  # says nothing new

    play(middleware, story)
    receipts = [sealed for _, _, sealed in records(directory / "consent-data", "receipt")]
    assert [list(sealed["signals"]) for sealed in receipts] == [[], ["gpc"]]


def test_a_yes_about_one_purpose_is_not_one_about_what_the_signal_refuses(directory):
    async def story(visitor):
        visitor.signals = GPC
        await visitor.posts(("choice", "save"), ("purpose.functional", "yes"))
        await visitor.gets()
        assert set(visitor.cookies) == {"session", "theme"}
        state = json.loads((await visitor.gets("/consent/state"))[-1]["body"])
        assert state["signals"] == ["gpc"]
        assert state["waiting"] == [], "what a signal refuses does not even wait"

    play(site(directory), story)


def test_a_partial_grant_under_the_signal_does_not_carry_an_older_yes_past_it(directory):
    async def app(scope, receive, send):
        if scope["path"] == "/grant":
            get_consent(scope).grant("functional")
        headers = [(b"set-cookie", line) for line in LINES]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def story(visitor):
        await visitor.posts(("choice", "save"), ("purpose.marketing", "yes"))
        visitor.signals = GPC
        await visitor.gets("/grant")
        assert "ad" not in visitor.cookies
        assert "theme" in visitor.cookies

    play(site(directory, app), story)


def test_a_yes_about_one_cookie_under_the_signal_is_explicit_about_that_one(directory):
    async def story(visitor):
        visitor.signals = GPC
        await visitor.posts(("choice", "save"), ("cookie.ad", "yes"))
        await visitor.gets()
        assert set(visitor.cookies) == {"session", "ad"}

    play(site(directory), story)


def test_the_signal_is_no_consent_and_no_choice(directory):
    async def story(visitor):
        visitor.signals = GPC
        await visitor.gets()
        assert set(visitor.cookies) == {"session"}
        state = json.loads((await visitor.gets("/consent/state"))[-1]["body"])
        assert (state["choice"], state["show"]) == (None, True)

    play(site(directory), story)
    assert records(directory / "consent-data", "receipt") == []


def test_an_opt_out_purpose_is_refused_by_the_signal_alone(directory):
    policy = POLICY.replace('[purposes.marketing]\nbasis = "consent"', '[purposes.marketing]\nbasis = "opt_out"')

    async def story(visitor):
        await visitor.gets()
        assert "ad" in visitor.cookies
        visitor.signals = GPC
        await visitor.gets()
        assert "ad" not in visitor.cookies

    play(site(directory, policy=policy), story)


@pytest.mark.parametrize(("policy", "heard"), [(POLICY, False), (WITH_DNT, True)])
def test_do_not_track_is_heard_exactly_where_the_policy_page_promises_it(directory, policy, heard):
    async def story(visitor):
        await visitor.picks("accept")
        visitor.signals = DNT
        await visitor.gets()
        page = (await visitor.gets("/consent/policy", query_string=b"lang=en"))[-1]["body"].decode()
        state = json.loads((await visitor.gets("/consent/state"))[-1]["body"])
        assert ("Do Not Track" in page, state["signals"]) == (heard, ["dnt"] if heard else [])
        return "ad" not in visitor.cookies

    assert play(site(directory, policy=policy), story) is heard


@pytest.mark.parametrize("basis", ["consent", "opt_out"])
@pytest.mark.parametrize("listed", [[], ["gpc"], ["dnt"], ["dnt", "gpc"]])
def test_each_signal_that_the_page_names_refuses_and_no_other_is_heard(directory, basis, listed):
    marketing = '[purposes.marketing]\nbasis = "consent"'
    policy = POLICY.replace('refused_by = ["gpc"]', f"refused_by = {json.dumps(listed)}")
    policy = policy.replace(marketing, marketing.replace("consent", basis))

    async def story(visitor):
        page = (await visitor.gets("/consent/policy", query_string=b"lang=en"))[-1]["body"].decode()
        await visitor.picks("accept")
        for name, words, headers in (("gpc", "Global Privacy Control", GPC), ("dnt", "Do Not Track", DNT)):
            visitor.signals = headers
            await visitor.gets()
            assert (words in page, "ad" not in visitor.cookies) == (name in listed, name in listed)

    play(site(directory, policy=policy), story)


def test_a_signal_for_a_purpose_that_nobody_is_asked_about_is_promised_nowhere_and_check_says_so(tmp_path, capsys):
    text = POLICY.replace('basis = "legitimate_interest"', 'basis = "legitimate_interest"\nrefused_by = ["dnt"]')
    policy, later = loads(text), loads(POLICY.replace("revision = 1", "revision = 2"))
    assert policy.signals == {"gpc"}
    document: Any = policy_document(policy, "en", OwnCookies(), [1])
    assert {purpose["name"] for purpose in document["purposes"] if purpose["refused_by"]} == {"marketing"}
    assert [amendment.what for amendment in amendments(policy, later)] == []
    (tmp_path / "policy.toml").write_text(text)
    assert main(["check", str(tmp_path / "policy.toml")]) == 1
    assert "purposes.abuse.refused_by: no signal can refuse what nobody is asked about" in capsys.readouterr().err


def test_a_revision_that_names_another_signal_honours_it_from_its_first_instant(directory):
    clock = Clock(datetime(2026, 11, 23, tzinfo=UTC))
    middleware = site(directory, clock=clock)
    later = WITH_DNT.replace("revision = 1", "revision = 2").replace("2026-11-23", "2026-11-24")
    middleware.runtime.storage.revisions.keep(loads(later), later)

    async def story(visitor):
        middleware.runtime.poll_published()
        visitor.signals = DNT
        before = json.loads((await visitor.gets("/consent/state"))[-1]["body"])
        clock.advance(timedelta(days=2))
        after = json.loads((await visitor.gets("/consent/state"))[-1]["body"])
        assert (before["signals"], after["revision"], after["signals"]) == ([], 2, ["dnt"])

    play(middleware, story)


def test_the_settings_do_not_call_off_what_a_later_yes_has_allowed(directory):
    async def story(visitor):
        visitor.signals = GPC
        shown = [(await visitor.gets("/consent/", query_string=b"lang=en"))[-1]["body"].decode()]
        await visitor.picks("accept")
        shown.append((await visitor.gets("/consent/", query_string=b"lang=en"))[-1]["body"].decode())
        assert ["So these are off" in page for page in shown] == [True, False]

    play(site(directory), story)


def test_a_site_whose_policy_names_no_signal_does_not_say_that_it_honours_one(directory):
    async def story(visitor):
        return json.loads((await visitor.gets("/.well-known/gpc.json"))[-1]["body"])["gpc"]

    silent = POLICY.replace('refused_by = ["gpc"]\n', "")
    assert play(site(directory, policy=silent, gpc_url=True), story) is False


@pytest.mark.parametrize(("opted_in", "status"), [(True, 200), (False, 404)])
def test_the_site_says_that_it_honours_the_signal_only_where_the_operator_opts_in(directory, opted_in, status):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    middleware = site(directory, app, gpc_url=opted_in)

    async def run():
        sent = await drive(middleware, scope("/.well-known/gpc.json"))
        await middleware.runtime.drain.stop()
        return sent

    sent = asyncio.run(run())
    assert sent[0]["status"] == status
    assert set_cookies(sent) == []
    if opted_in:
        assert json.loads(sent[1]["body"])["gpc"] is True
        assert (b"content-type", b"application/json") in sent[0]["headers"]
