"""The floor: what every cookie that passes must say of itself, the consent cookie included."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.asgi import set_cookies
from tests.support.attacked_site import makes, play
from tests.support.policies import POLICY

from consent_mw.consent.permissions import Reason, Verdict
from consent_mw.cookies.cookie_lines import CookieFloor, is_deletion, name_of
from consent_mw.testing.clock import Clock
from consent_mw.testing.strategies import set_cookie_headers


@pytest.fixture
def site(tmp_path):
    return makes(tmp_path)


STRICTEST = CookieFloor(secure=True, http_only=True, same_site="strict")


@pytest.mark.parametrize(
    ("floor", "line", "raised"),
    [
        (CookieFloor(), b"a=1", b"a=1; Secure"),
        (CookieFloor(), b"a=1; secure ; Path=/", b"a=1; secure ; Path=/"),
        (CookieFloor(secure=False, http_only=True), b"a=1; Path=/", b"a=1; Path=/; HttpOnly"),
        (CookieFloor(secure=False, http_only=True), b"a=1; HTTPONLY", b"a=1; HTTPONLY"),
        (CookieFloor(secure=False, same_site="lax"), b"a=1", b"a=1; SameSite=Lax"),
        (CookieFloor(secure=False, same_site="lax"), b"a=1; SameSite=None", b"a=1; SameSite=None; SameSite=Lax"),
        (CookieFloor(secure=False, same_site="lax"), b"a=1; samesite=STRICT", b"a=1; samesite=STRICT"),
        (CookieFloor(secure=False, same_site="strict"), b"a=1; SameSite=Lax", b"a=1; SameSite=Lax; SameSite=Strict"),
        (CookieFloor(secure=False, same_site="lax"), b"a=1; SameSite=Strict; SameSite=None",
         b"a=1; SameSite=Strict; SameSite=None; SameSite=Lax"),
        (STRICTEST, b"a=Secure", b"a=Secure; Secure; HttpOnly; SameSite=Strict"),
    ],
)  # fmt: skip
def test_an_attribute_is_raised_and_never_lowered(floor, line, raised):
    assert floor.raised(line, https=True) == raised


def test_secure_is_not_added_on_plain_http_where_a_browser_would_drop_the_line():
    assert STRICTEST.raised(b"a=1", https=False) == b"a=1; HttpOnly; SameSite=Strict"


@given(set_cookie_headers(), st.booleans())
def test_a_raised_line_keeps_its_name_its_value_and_what_it_does(lines, https):
    now = Clock().now
    for line in (value for name, value in lines if name.lower() == b"set-cookie"):
        raised = STRICTEST.raised(line, https=https)
        assert raised.startswith(line)
        assert name_of(raised) == name_of(line)
        assert is_deletion(raised, now) == is_deletion(line, now)
        assert STRICTEST.raised(raised, https=https) is raised


def test_every_cookie_that_passes_and_the_consent_cookie_obey_the_floor(site):
    async def story(visitor):
        chosen = set_cookies(await visitor.picks("accept"))
        assert [name_of(line) for line in chosen] == ["__Host-consent"]
        assert chosen[0].endswith(b"; SameSite=Strict")
        assert set_cookies(await visitor.gets()) == [b"theme=1; Secure; HttpOnly; SameSite=Strict"]

    play(site([b"theme=1"], cookie_floor=STRICTEST), story)


def test_the_consent_cookie_is_asked_about_like_any_other(site):
    asked = []

    def no_consent_cookie(decision):
        asked.append((decision.name, decision.verdict, decision.reason))
        return Verdict.BLOCKED if "consent" in decision.name else None

    async def story(visitor):
        assert set_cookies(await visitor.picks("accept")) == []
        assert asked == [("__Host-consent", Verdict.KEPT, Reason.NECESSARY)]
        assert set_cookies(await visitor.gets()) == []  # nothing was kept, so nothing is allowed

    play(site([b"theme=1"], cookie_hook=no_consent_cookie), story)


def test_a_partitioned_cookie_is_expired_in_its_own_jar(site):
    declared = POLICY.replace('name = "theme"', 'name = "theme"\npartitioned = true')
    assert declared != POLICY

    async def story(visitor):
        expired = set_cookies(await visitor.gets(cookie=b"theme=1"))[0]
        assert expired.startswith(b"theme=; Max-Age=0; ")
        assert expired.endswith(b"; Secure; SameSite=None; Partitioned")

    play(site(policy=declared), story)


@pytest.mark.parametrize(
    ("line", "warned"),
    [
        (b"theme=1; Path=/", False),
        (b"theme=1; Path=/; Domain=.Example.com", True),
        (b"theme=1; Path=/deep", True),
        (b"theme=1; Path=/; Secure; Partitioned", True),
    ],
)
def test_in_development_a_cookie_set_elsewhere_than_declared_is_told_once(site, caplog, line, warned):
    async def story(visitor):
        await visitor.picks("accept")
        await visitor.gets()
        await visitor.gets()

    play(site([line], debug=True), story)
    assert len([r for r in caplog.records if "not as it is declared" in r.message]) == int(warned)
