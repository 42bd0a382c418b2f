"""A new revision asks again only for what changed, and the older answers stay."""

import asyncio

import pytest
from tests.support.asgi import drive, scope, set_cookies
from tests.support.exchanges import ALL_COOKIES, KEY, cookie_for, cookies, response
from tests.support.policies import POLICY
from tests.support.publishing import published

from consent_mw import ConsentMiddleware
from consent_mw.consent.choice import Choice
from consent_mw.cookies.request_cookies import RequestCookies
from consent_mw.policy.loader import loads
from consent_mw.policy.notice_period import changes

SECOND = POLICY.replace("revision = 1", "revision = 2")


def changed(text):
    return changes(loads(POLICY), loads(text))


@pytest.mark.parametrize(
    ("text", "purposes", "names"),
    [
        (SECOND, set(), set()),
        (SECOND.replace('retention = "180 days"', 'retention = "30 days"'), set(), set()),
        (SECOND.replace('retention = "180 days"', 'retention = "200 days"'), {"functional"}, set()),
        (SECOND.replace('"origin"', '"full"'), {"analytics"}, set()),
        (SECOND.replace('"family"', '"off"'), set(), set()),
        (SECOND.replace('{ results = "int" }', '{ results = "int", words = "str" }'), {"analytics"}, set()),
        (
            SECOND + '[purposes.surveys]\nbasis = "consent"\nretention = "1 day"\n',
            {"surveys"},
            set(),
        ),
        (
            SECOND + '[[cookies.declared]]\nname = "font"\npurpose = "functional"\nexpires = "1 day"\n',
            set(),
            {"font"},
        ),
        (SECOND.replace('expires = "30 days"', 'expires = "60 days"'), set(), {"ad"}),
        (SECOND.replace('expires = "30 days"', 'expires = "3 days"'), set(), set()),
        (
            SECOND + '[[recipients]]\nname = "A"\npurpose = "marketing"\nitems = "all"\nretention = "1 day"\n',
            {"marketing"},
            set(),
        ),
    ],
)
def test_only_what_does_more_than_was_said_is_asked_again(text, purposes, names):
    assert changed(text) == (frozenset(purposes), frozenset(names))


@pytest.fixture
def revised(tmp_path):
    """Return what a visitor who answered revision 1 gets under revision 2."""

    def serve(text, header):
        file = tmp_path / "policy.toml"
        file.write_text(POLICY)
        ConsentMiddleware(response(), policy=file, secret_keys=[KEY])
        published(tmp_path / "consent-data", text)
        file.write_text(text)
        app = ConsentMiddleware(response(200, cookies()), policy=file, secret_keys=[KEY])

        async def run():
            sent = await drive(app, scope(headers=[header]))
            await app.runtime.drain.stop()
            return sent

        return set_cookies(asyncio.run(run()))

    return serve


def test_a_revision_that_changes_nothing_for_a_visitor_keeps_every_answer(revised):
    assert revised(SECOND, cookie_for(Choice.ACCEPT)) == ALL_COOKIES[:4]


def test_after_an_acceptance_only_the_changed_purpose_is_closed(revised):
    text = SECOND.replace('retention = "180 days"', 'retention = "200 days"')
    assert revised(text, cookie_for(Choice.ACCEPT)) == [b"session=1", b"_ga_x=3", b"ad=4"]


def test_a_cookie_that_was_added_to_an_accepted_purpose_is_asked_about(revised):
    text = SECOND + '[[cookies.declared]]\nname = "mystery"\npurpose = "functional"\nexpires = "1 day"\n'
    assert revised(text, cookie_for(Choice.ACCEPT)) == ALL_COOKIES[:4]


def test_a_refusal_stays_a_refusal(revised):
    text = SECOND.replace('retention = "180 days"', 'retention = "200 days"')
    assert revised(text, cookie_for(Choice.REJECT)) == [b"session=1"]


def test_single_answers_of_an_unchanged_purpose_stay(revised):
    text = SECOND.replace('retention = "180 days"', 'retention = "200 days"')
    header = cookie_for(Choice.PROMPT, purposes={"functional": True, "analytics": True, "marketing": False})
    lines = revised(text, header)
    assert b"_ga_x=3" in lines
    assert b"theme=2; Path=/" not in lines


def test_a_revision_that_nobody_kept_is_asked_from_the_beginning(tmp_path):
    file = tmp_path / "policy.toml"
    file.write_text(SECOND)
    app = ConsentMiddleware(response(200, cookies()), policy=file, secret_keys=[KEY])

    async def run():
        sent = await drive(app, scope(headers=[cookie_for(Choice.ACCEPT)]))
        await app.runtime.drain.stop()
        return sent

    assert set_cookies(asyncio.run(run())) == [b"session=1"]
    assert isinstance(app.runtime.revision.cookies, RequestCookies)


@pytest.mark.parametrize(
    ("language", "words"), [("ko", "선택하신 뒤 방침이 바뀌었습니다"), ("en", "Our policy has changed")]
)
def test_the_banner_returns_and_says_what_changed(tmp_path, language, words):
    file = tmp_path / "policy.toml"
    file.write_text(POLICY)
    ConsentMiddleware(response(), policy=file, secret_keys=[KEY])
    text = SECOND.replace('retention = "180 days"', 'retention = "200 days"')
    published(tmp_path / "consent-data", text)
    file.write_text(text)
    page = response(200, [(b"content-type", b"text/html; charset=utf-8")], b"<!doctype html><body>x</body>")
    app = ConsentMiddleware(page, policy=file, secret_keys=[KEY])
    headers = [cookie_for(Choice.ACCEPT), (b"accept-language", language.encode())]

    async def run():
        sent = await drive(app, scope(headers=headers))
        await app.runtime.drain.stop()
        return b"".join(message.get("body", b"") for message in sent).decode()

    body = asyncio.run(run())
    assert words in body
    assert "<strong>Functional</strong></p>" in body
