"""The banner in the application's own templates, below mounts, in the page's language, and where none is wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from jinja2 import DictLoader, Environment, select_autoescape
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.templating import Jinja2Templates
from tests.support.policies import POLICY
from tests.support.visitors import Visitor

from consent_mw import ConsentMiddleware, consent_banner, consent_head
from consent_mw._asgi import Message
from consent_mw.exceptions import ConfigurationError

KEYS = ["a key of at least 16 bytes"]
TEMPLATES = Jinja2Templates(
    env=Environment(
        loader=DictLoader(
            {
                "page.html": "<!doctype html><html><head>{{ consent_head(request) }}</head>"
                "<body><aside>{{ consent_banner(request) }}</aside><p>shop</p></body></html>"
            }
        ),
        autoescape=select_autoescape(),
    )
)
cast("dict[str, Any]", TEMPLATES.env.globals).update(consent_banner=consent_banner, consent_head=consent_head)


async def placed(request: Request) -> Response:
    return TEMPLATES.TemplateResponse(request, "page.html")


async def by_hand(request: Request) -> Response:
    html = f"<!doctype html><body>{consent_banner(request.scope, language='en')}</body>"
    return HTMLResponse(html, headers={"cache-control": "public, max-age=60"})


async def for_all(request: Request) -> Response:
    html = f"<!doctype html><body>{consent_banner(request, language='en', shared=True)}</body>"
    return HTMLResponse(html, headers={"cache-control": "public, max-age=60"})


async def unwanted(request: Request) -> Response:
    request.state.consent.banner_placed = True
    return HTMLResponse("<!doctype html><body>embedded</body>")


async def plain(request: Request) -> Response:
    language = request.query_params.get("language")
    headers = {"content-language": language} if language else {}
    return HTMLResponse("<!doctype html><html><head></head><body>page</body></html>", headers=headers)


async def sets(request: Request) -> Response:
    response = PlainTextResponse("set")
    response.set_cookie("theme", "dark")
    return response


ROUTES = [Route(f"/{page.__name__}", page) for page in (placed, by_hand, for_all, unwanted, plain, sets)]


def site(directory: Path, **options: Any) -> ConsentMiddleware:
    policy = directory / "policy.toml"
    policy.write_text(POLICY, "utf-8")
    app = Starlette(routes=[*ROUTES, Mount("/sub", app=Starlette(routes=[*ROUTES, Mount("/deep", routes=ROUTES)]))])
    return ConsentMiddleware(app, policy=policy, secret_keys=KEYS, **options)


def visit(app: ConsentMiddleware, path: str, **more: Any) -> list[Message]:
    return asyncio.run(Visitor(app).gets(path, **more))


def body(sent: Sequence[Message]) -> str:
    return b"".join(message.get("body", b"") for message in sent).decode()


def header(sent: Sequence[Message], name: str) -> str:
    return ", ".join(value.decode() for key, value in sent[0]["headers"] if key == name.encode())


inserting = pytest.mark.parametrize("inserting", [True, False])
below = pytest.mark.parametrize("mount", ["", "/sub", "/sub/deep"])


@inserting
@below
@pytest.mark.parametrize("root", ["", "/outer"])
def test_a_template_places_the_one_banner_with_the_sites_own_addresses(
    inserting: bool, mount: str, root: str, tmp_path: Path
) -> None:
    app = site(tmp_path, banner=inserting)
    path = f"{root}{mount}/placed"
    page = body(visit(app, path, root_path=root))
    assert page.count('id="consent-mw"') == 1
    assert '<aside><consent-mw id="consent-mw"' in page
    assert f'action="{root}/consent/choice"' in page
    assert f'name="next" value="{path}"' in page
    assert f'<head><link rel="stylesheet" href="{root}/consent/static/' in page


@below
def test_an_inserted_banner_has_the_sites_own_addresses_below_a_mount(mount: str, tmp_path: Path) -> None:
    page = body(visit(site(tmp_path), f"{mount}/plain"))
    assert 'action="/consent/choice"' in page
    assert f'name="next" value="{mount}/plain"' in page


@inserting
def test_a_page_that_shows_the_banner_is_kept_by_no_shared_cache(inserting: bool, tmp_path: Path) -> None:
    sent = visit(site(tmp_path, banner=inserting), "/by_hand")
    assert "public" not in header(sent, "cache-control")
    assert "private" in header(sent, "cache-control")
    assert "Cookie" in header(sent, "vary")


@inserting
def test_the_one_banner_for_all_leaves_a_public_page_public(inserting: bool, tmp_path: Path) -> None:
    app = site(tmp_path, banner=inserting)

    async def run() -> None:
        visitor = Visitor(app)
        before = await visitor.gets("/for_all")
        await visitor.picks("reject")
        after = await visitor.gets("/for_all")
        assert body(before) == body(after)
        assert "data-shared hidden" in body(before)
        assert header(before, "cache-control") == "public, max-age=60"

    asyncio.run(run())


@inserting
def test_nothing_is_placed_for_who_has_answered(inserting: bool, tmp_path: Path) -> None:
    async def run() -> None:
        visitor = Visitor(site(tmp_path, banner=inserting))
        await visitor.picks("accept")
        page = body(await visitor.gets("/placed"))
        assert "<aside></aside>" in page
        assert 'id="consent-mw"' not in page
        assert "/consent/static/consent." in page  # the script is there, for what waits and for the settings

    asyncio.run(run())


@inserting
def test_what_waits_is_asked_about_once(inserting: bool, tmp_path: Path) -> None:
    async def run() -> None:
        visitor = Visitor(site(tmp_path, banner=inserting))
        await visitor.picks("prompt")
        await visitor.gets("/sets")
        page = body(await visitor.gets("/sub/placed"))
        assert page.count('data-consent="waiting" data-prefix') == 1
        assert 'data-prefix="/consent"' in page
        assert "theme" in page
        assert ('<aside><consent-mw id="consent-mw"' in page) != inserting

    asyncio.run(run())


def test_a_route_can_do_without_the_banner(tmp_path: Path) -> None:
    app = site(tmp_path)
    assert body(visit(app, "/unwanted")) == "<!doctype html><body>embedded</body>"
    assert 'id="consent-mw"' in body(visit(app, "/plain"))


@pytest.mark.parametrize(
    ("said", "accepts", "spoken"),
    [("en", b"ko", "en"), ("ko", b"en", "ko"), ("en-GB", b"ko", "en"), ("fr", b"en", "en"), ("", b"en", "en"),
     ("fr, en", b"ko", "en")],
)  # fmt: skip
def test_the_banner_speaks_the_language_of_the_page(said: str, accepts: bytes, spoken: str, tmp_path: Path) -> None:
    headers = [(b"accept-language", accepts)]
    sent = visit(site(tmp_path), "/plain", headers=headers, query_string=f"language={said}".encode())
    assert f'lang="{spoken}" dir="ltr"' in body(sent)


def test_a_template_outside_the_middleware_says_what_is_missing() -> None:
    with pytest.raises(ConfigurationError, match="outermost layer"):
        consent_banner({"type": "http", "state": {}})
    with pytest.raises(ConfigurationError, match="outermost layer"):
        consent_head({"type": "http"})
