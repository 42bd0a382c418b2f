"""Two sites on one host, whose ports and paths share their cookies: neither answers for the other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from tests.support.asgi import set_cookies
from tests.support.my_data_site import body, header, page
from tests.support.policies import POLICY
from tests.support.visitors import Visitor, now

from consent_mw import ConsentMiddleware
from consent_mw.consent.choice import NO_CONSENT, Choice, Consent
from consent_mw.cookies.consent_cookie import ConsentCookie
from consent_mw.cookies.neighbours import foreign_request


def site(directory: Path, name: str, key: str = "a key of at least 16 bytes", **options: Any) -> ConsentMiddleware:
    (directory / name).mkdir()
    (directory / name / "policy.toml").write_text(POLICY, "utf-8")
    return ConsentMiddleware(page, policy=directory / name / "policy.toml", secret_keys=[key], **options)


def play(story: Callable[[], Awaitable[None]], *apps: ConsentMiddleware) -> None:
    async def run() -> None:
        try:
            await story()
        finally:
            for app in apps:
                await app.runtime.drain.stop()

    asyncio.run(run())


def has_banner(sent: Any) -> bool:
    return 'id="consent-mw"' in body(sent)


@pytest.mark.parametrize("secure", [True, False])
@pytest.mark.parametrize("root", ["", "/blog"])
def test_sites_of_other_cookie_names_leave_each_other_alone(tmp_path: Path, secure: bool, root: str) -> None:
    """Also where both have one key, as copies of one configuration do."""
    shop, blog = site(tmp_path, "shop"), site(tmp_path, "blog", cookie_name="consent-blog")

    async def story() -> None:
        visitor = Visitor(shop, secure=secure)
        await visitor.picks("accept")
        assert has_banner(await visitor.gets(f"{root}/", app=blog, root_path=root))
        settings = await visitor.gets(f"{root}/consent", app=blog, root_path=root)
        token = body(settings).partition('name="token" value="')[2].partition('"')[0]
        # The token of one is worth nothing to the other, in the very browser that has both.
        sent = await visitor.posts(("choice", "reject"), ("token", token), headers=[])
        assert header(sent, "location") == "/consent?again=unknown"
        await visitor.picks("reject", app=blog)
        assert not has_banner(await visitor.gets(f"{root}/", app=blog, root_path=root))
        assert not has_banner(await visitor.gets("/"))
        names = {key.name.decode().removeprefix("__Host-"): held.value for key, held in visitor.browser.jar.items()}
        assert names["consent"].startswith(b"1|accept|")
        assert names["consent-blog"].startswith(b"1|reject|")

    play(story, shop, blog)


@pytest.mark.parametrize("secure", [True, False])
@pytest.mark.parametrize("one_key", [True, False])
def test_sites_of_one_cookie_name_take_no_answer_from_each_other(tmp_path: Path, secure: bool, one_key: bool) -> None:
    """More of them than one, and in any order: nobody is asked again, and each answer can be changed."""
    names = ("shop", "blog", "wiki")
    apps = [site(tmp_path, name, key=f"the key of {'all' if one_key else name}, 16 bytes", site=name) for name in names]

    async def story() -> None:
        visitor = Visitor(apps[0], secure=secure)
        for round_ in (["accept", "reject", "prompt"], ["reject", "prompt", "accept"]):
            for app, choice in zip(apps, round_, strict=True):
                await visitor.picks(choice, app=app)
            for app, choice in zip(apps, round_, strict=True):
                assert not has_banner(await visitor.gets("/", app=app))
                state = await visitor.gets("/consent/state", app=app)
                assert f'"choice":"{choice}"' in body(state).replace(" ", "")
        names = {key.name.decode().removeprefix("__Host-") for key in visitor.browser.jar}
        assert names >= {"consent", "consent-2", "consent-3"}
        assert "consent-4" not in names

    play(story, *apps)


@pytest.mark.parametrize("secure", [True, False])
def test_a_choice_of_ours_under_another_name_ends_with_the_next_choice(tmp_path: Path, secure: bool) -> None:
    """Neither of two that contradict each other counts, and both are ours: no other site signed them."""
    app = site(tmp_path, "shop")
    cookie = app.runtime.revision.shared.cookie

    async def story() -> None:
        visitor = Visitor(app, secure=secure)
        visitor.browser.receive(
            f"{visitor.prefix}consent=of another site; Path=/".encode() + b"; Secure" * secure, b"/", now()
        )
        for name, purpose in zip(cookie.slots(secure=secure)[1:], ("functional", "analytics"), strict=False):
            answers = {"functional": False, "analytics": False, "marketing": False, purpose: True}
            given = Consent(choice=Choice.PROMPT, revision=1, given_on=now().date(), purposes=answers)
            line = f"{name}={cookie.sign(given)}; Path=/" + ("; Secure" if secure else "")
            visitor.browser.receive(line.encode(), b"/", now())
        assert has_banner(await visitor.gets("/"))
        await visitor.picks("accept")
        assert not has_banner(await visitor.gets("/"))
        held = {key.name.decode(): held.value for key, held in visitor.browser.jar.items()}
        ours = [name for name in cookie.slots(secure=secure) if held.get(name, b"").startswith(b"1|")]
        assert len(ours) == 1
        assert held[f"{visitor.prefix}consent"] == b"of another site"

    play(story, app)


def test_a_choice_that_two_revisions_part_is_no_cookie_of_another_site(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = site(tmp_path, "shop")

    async def story() -> None:
        visitor = Visitor(app)
        given = Consent(choice=Choice.REJECT, revision=7, given_on=now().date())
        value = app.runtime.revision.shared.cookie.sign(given)
        assert has_banner(await visitor.gets("/", cookie=f"__Host-consent={value}".encode()))
        assert "did not sign" not in caplog.text

    play(story, app)


@pytest.mark.parametrize("others", [0, 15, 16, 800])
def test_a_name_that_comes_more_often_than_browsers_send_it_proves_nothing(tmp_path: Path, others: int) -> None:
    """So that a header of many signed choices costs no time: each would be compared with all others."""
    app = site(tmp_path, "shop")
    cookie = app.runtime.revision.shared.cookie

    async def story() -> None:
        given = Consent(choice=Choice.REJECT, revision=1, given_on=now().date())
        header = "; ".join([f"consent={cookie.sign(given)}", *(f"consent={n}" for n in range(others))])
        sent = await Visitor(app, secure=False).gets("/", cookie=header.encode())
        assert has_banner(sent) is (others >= 16)

    play(story, app)


def test_one_name_for_two_sites_is_told_once_with_the_way_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shop, blog = site(tmp_path, "shop"), site(tmp_path, "blog", key="another key of 16 bytes")

    async def story() -> None:
        visitor = Visitor(shop)
        await visitor.gets("/", app=blog)
        assert "did not sign" not in caplog.text
        await visitor.picks("accept")
        for _ in range(2):
            assert has_banner(await visitor.gets("/", app=blog))
        assert not has_banner(await visitor.gets("/"))
        assert caplog.text.count("did not sign") == 1
        assert "cookie_name=" in caplog.text

    play(story, shop, blog)


def test_a_sign_out_that_clears_all_cookies_is_told_once_with_the_way_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def leaves(scope: Any, receive: Any, send: Any) -> None:
        value = scope["path"].strip("/").replace("+", " ").encode()
        await send({"type": "http.response.start", "status": 204, "headers": [(b"Clear-Site-Data", value)]})
        await send({"type": "http.response.body"})

    app = site(tmp_path, "shop")
    app.app = leaves

    async def story() -> None:
        visitor = Visitor(app)
        await visitor.gets('/"cookies"')
        await visitor.picks("reject")
        await visitor.gets('/"cache",+"storage"')
        assert "Clear-Site-Data" not in caplog.text
        for _ in range(2):
            await visitor.gets('/"cache",+"cookies"')
        assert caplog.text.count("has Clear-Site-Data with cookies") == 1
        assert '"cache", "storage"' in caplog.text

    play(story, app)


@pytest.mark.parametrize(
    ("embedded", "secure", "ends"),
    [
        (False, False, b"HttpOnly; SameSite=Lax"),
        (False, True, b"HttpOnly; SameSite=Lax; Secure"),
        (True, False, b"HttpOnly; SameSite=Lax"),  # without Secure no browser takes SameSite=None
        (True, True, b"HttpOnly; SameSite=None; Partitioned; Secure"),
    ],
)
def test_an_embedded_site_has_a_jar_for_each_site_around_it(
    tmp_path: Path, embedded: bool, secure: bool, ends: bytes
) -> None:
    app = site(tmp_path, "shop", embedded=embedded)

    async def story() -> None:
        visitor = Visitor(app, secure=secure)
        await visitor.picks("prompt")
        lines = set_cookies(await visitor.picks("accept"))
        assert [line for line in lines if not line.endswith(ends) and b"Max-Age=0" not in line] == []
        assert lines[-1].startswith((b"consent=", b"__Host-consent="))  # what went into the other jar before is deleted

    play(story, app)
    cookie = ConsentCookie(["a key of at least 16 bytes"], embedded=embedded)
    assert cookie.attributes(secure=secure).encode() == ends.removeprefix(b"HttpOnly")
    # Taken back in the jar in which it was set: a browser keeps the two apart.
    gone = cookie.line(NO_CONSENT, date(2026, 11, 29), secure=secure)
    assert (b"Max-Age=0" in gone, b"Partitioned" in gone) == (True, b"Partitioned" in ends)


@pytest.mark.parametrize("domain", ["", "example.com"])
@pytest.mark.parametrize("embedded", [False, True])
def test_the_last_answer_holds_on_a_site_that_begins_or_ends_to_be_embedded(
    tmp_path: Path, embedded: bool, domain: str
) -> None:
    before = site(tmp_path, "before", embedded=embedded, cookie_domain=domain)
    after = site(tmp_path, "after", embedded=not embedded, cookie_domain=domain)

    async def story() -> None:
        for first, second in (("reject", "accept"), ("accept", "prompt"), ("prompt", "reject")):
            visitor = Visitor(before)
            await visitor.picks(first)
            await visitor.picks(second, app=after)
            for app in (after, before, after):  # also for a worker that was not restarted yet
                assert f'"choice":"{second}"' in body(await visitor.gets("/consent/state", app=app))

    play(story, before, after)


@pytest.mark.parametrize(
    ("fields", "lax", "embedded"),
    [
        ({b"sec-fetch-site": b"cross-site", b"sec-fetch-mode": b"navigate", b"sec-fetch-dest": b"iframe"}, True, False),
        ({b"origin": b"https://bank.example", b"host": b"shop.example"}, True, False),
        ({b"sec-fetch-site": b"cross-site", b"sec-purpose": b"prefetch"}, True, True),
        ({b"sec-fetch-site": b"same-origin"}, False, False),
    ],
)
def test_the_cookie_of_an_embedded_site_goes_with_what_others_begin(
    fields: dict[bytes, bytes], lax: bool, embedded: bool
) -> None:
    scope: Any = {"method": "POST"}
    assert foreign_request(scope, fields) is lax
    assert foreign_request(scope, fields, embedded=True) is embedded
