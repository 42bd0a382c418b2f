"""The route that a record tells: the whole template with every prefix, in every framework, and never an id."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import falcon
import falcon.asgi
import pytest
from a2wsgi import WSGIMiddleware
from blacksheep import Application
from blacksheep.server.routing import Router as BlackSheepRouter
from fastapi import APIRouter, FastAPI
from flask import Blueprint as FlaskBlueprint
from flask import Flask
from hypercorn.middleware import DispatcherMiddleware as HypercornDispatcher
from litestar import Litestar
from litestar import Router as LitestarRouter
from litestar import get as litestar_get
from litestar.params import FromPath
from quart import Blueprint, Quart, websocket
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route, Router
from starlette.staticfiles import StaticFiles
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from consent_mw import ConsentMiddleware, get_consent
from consent_mw._asgi import ASGIApp, Receive, Scope, Send
from consent_mw.testing.client import ConsentClient

POLICY = """
schema = 1
revision = 1
published = 2026-11-23
effective = 2026-11-23
languages = ["en"]
[controller]
name = "Example Inc."
officer = { name = "Kim Example", email = "privacy@example.com" }
[purposes.necessary]
basis = "necessary"
retention = "90 days"
[log.necessary]
"url.path" = "full"
"""


@pytest.fixture
def routes(tmp_path: Path) -> Callable[..., list[object]]:
    """Serve paths with an application, and return the routes that their records tell."""
    (tmp_path / "policy.toml").write_text(POLICY)

    def served(app: Any, *paths: str, root_path: str = "") -> list[object]:
        site = ConsentMiddleware(app, policy=tmp_path / "policy.toml", secret_keys=["a key of sixteen letters"])
        with ConsentClient(site, raise_errors=False, root_path=root_path) as visitor:
            for path in paths:
                visitor.get(path)
            return [kept.data.get("http.route") for kept in visitor.records("visit")]

    return served


async def page(request: Request) -> PlainTextResponse:
    return PlainTextResponse("a book")


def starlette_app() -> Any:
    return Starlette(routes=[Mount("/api/{version}", routes=[Route("/books/{id:int}", page)])])


def fastapi_app() -> Any:
    inner, outer, app = APIRouter(), APIRouter(), FastAPI()
    inner.add_api_route("/books/{id}", lambda: 1)
    outer.include_router(inner, prefix="/{version}")
    app.include_router(outer, prefix="/api")
    return app


def litestar_app() -> Any:
    @litestar_get("/books/{id:int}")
    async def book(id: FromPath[int]) -> str:  # noqa: A002 - the same name in every framework
        return f"{id}"

    version = LitestarRouter("/{version:str}", route_handlers=[book])
    return Litestar([LitestarRouter("/api", route_handlers=[version])], logging_config=None)


def quart_app() -> Any:
    app, api = Quart("quart"), Blueprint("api", "quart")

    @api.get("/books/<int:id>")
    async def book(version: str, id: int) -> str:  # noqa: A002
        return "a book"

    @app.websocket("/talk/<room>")
    async def talk(room: str) -> None:
        await websocket.send("hello")

    app.register_blueprint(api, url_prefix="/api/<version>")
    return app


def django_app() -> Any:
    from django.core.handlers.asgi import ASGIHandler  # type: ignore[import-untyped]

    return ASGIHandler()


def falcon_app() -> Any:
    class Book:
        async def on_get(self, req: Any, resp: Any, **given: Any) -> None:
            resp.text = "a book"

    app = falcon.asgi.App()
    app.add_route("/api/{version}/books/{id:int}", Book())
    return app


def blacksheep_app() -> Any:
    app = Application(router=BlackSheepRouter(prefix="/api"))

    @app.router.get("/{version}/books/{id}")
    async def book(version: str, id: int) -> str:  # noqa: A002
        return "a book"

    return app


def flask_app() -> Flask:
    app, api = Flask("flask"), FlaskBlueprint("api", "flask")

    @api.get("/books/<int:id>")
    def book(version: str, id: int) -> str:  # noqa: A002
        return "a book"

    app.register_blueprint(api, url_prefix="/api/<version>")
    return app


@pytest.fixture
def django_urls(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import django  # type: ignore[import-untyped]
    from django.conf import settings  # type: ignore[import-untyped]
    from django.http import HttpRequest, HttpResponse  # type: ignore[import-untyped]
    from django.test import override_settings  # type: ignore[import-untyped]
    from django.test.signals import setting_changed  # type: ignore[import-untyped]
    from django.urls import include, path, re_path  # type: ignore[import-untyped]
    from django.utils.functional import empty  # type: ignore[import-untyped]

    def book(request: HttpRequest, id: int, version: str = "") -> HttpResponse:  # noqa: A002
        return HttpResponse(b"a book")

    is_ours = not settings.configured
    if is_ours:
        settings.configure(  # pyright: ignore[reportUnknownMemberType]
            SECRET_KEY="a key of sixteen letters", ALLOWED_HOSTS=["*"]
        )
        django.setup()
    urls = ModuleType("urls_of_the_test")
    urls.urlpatterns = [  # type: ignore[attr-defined]
        path("api/<version>/", include([path("books/<int:id>", book)])),
        re_path(r"^old/(?P<id>[0-9]+)$", book),
    ]
    with override_settings(ROOT_URLCONF=urls):
        yield
    if is_ours:  # the example that another test imports configures it for itself
        setting_changed.send(sender=None, setting="TEMPLATES", value=None, enter=False)
        settings._wrapped = empty


@pytest.mark.parametrize(
    ("make", "template"),
    [
        (starlette_app, "/api/{version}/books/{id}"),
        (fastapi_app, "/api/{version}/books/{id}"),
        (litestar_app, "/api/{version}/books/{id}"),
        (quart_app, "/api/<version>/books/<int:id>"),
        (django_app, "/api/<version>/books/<int:id>"),
        (falcon_app, "/api/{version}/books/{id:int}"),
        (blacksheep_app, "/api/{version}/books/{id}"),
        (lambda: WSGIMiddleware(flask_app()), "/api/<version>/books/<int:id>"),  # type: ignore[arg-type]  # Flask is WSGI
    ],
    ids=["starlette", "fastapi", "litestar", "quart", "django", "falcon", "blacksheep", "flask"],
)
@pytest.mark.usefixtures("django_urls")
def test_the_route_is_the_whole_template_in_every_framework(
    make: Callable[[], Any], template: str, routes: Callable[..., list[object]]
) -> None:
    paths = ("/api/v2/books/7", "/api/v2/books/8", "/nothing/here")
    assert routes(make(), *paths) == [template, template, None]
    assert routes(Layer(make()), "/api/v2/books/9")[-1:] == [template]


class Layer:
    """A middleware as they all are written."""

    def __init__(self, app: ASGIApp) -> None:
        self.app: ASGIApp = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


def test_each_of_two_mounts_of_one_application_is_told(routes: Callable[..., list[object]]) -> None:
    books = Starlette(routes=[Mount("/shelf/{id}", routes=[Route("/books/{id}", page)])])
    named = Router(routes=[Mount("/first", app=books), Mount("/{tenant}/second", app=books)])
    app = Starlette(routes=[Host("testserver", app=named), Mount("/", app=named)])
    assert routes(app, "/first/shelf/3/books/4", "/kim/second/shelf/3/books/4") == [
        "/first/shelf/{id}/books/{id}",  # the id of the shelf is nowhere in the scope any more
        "/{tenant}/second/shelf/{id}/books/{id}",
    ]


def test_mounts_and_routers_of_fastapi_go_into_one_another(routes: Callable[..., list[object]]) -> None:
    leaf, middle, app = FastAPI(), APIRouter(), FastAPI()
    leaf.add_api_route("/leaf/{id}", lambda: 1)
    middle.mount("/sub/{name}", leaf)
    app.include_router(middle, prefix="/v1")
    app.mount("/v2", leaf)
    assert routes(app, "/v1/sub/kim/leaf/1", "/v2/leaf/1") == ["/v1/sub/{name}/leaf/{id}", "/v2/leaf/{id}"]


@pytest.mark.parametrize("root_path", ["", "/shop"])
def test_another_framework_below_a_mount_has_both_in_its_route(
    root_path: str, routes: Callable[..., list[object]]
) -> None:
    app = Starlette(routes=[Mount("/old/{tenant}", app=WSGIMiddleware(flask_app()))])  # type: ignore[arg-type]  # Flask is WSGI
    assert routes(app, "/old/kim/api/v2/books/7", root_path=root_path) == ["/old/{tenant}/api/<version>/books/<int:id>"]


@pytest.mark.parametrize(
    ("make", "template"),
    [
        (litestar_app, "/api/{version}/books/{id}"),
        (quart_app, "/api/<version>/books/<int:id>"),
        (blacksheep_app, "/api/{version}/books/{id}"),
    ],
    ids=["litestar", "quart", "blacksheep"],
)
def test_an_application_below_a_mount_of_starlette_has_both(
    make: Callable[[], Any], template: str, routes: Callable[..., list[object]]
) -> None:
    app = Starlette(routes=[Mount("/old/{tenant}", app=make())])
    assert routes(app, "/old/kim/api/v2/books/7") == [f"/old/{{tenant}}{template}"]


@pytest.mark.parametrize("make", [blacksheep_app, starlette_app], ids=["blacksheep", "starlette"])
def test_an_application_that_blacksheep_mounts_has_both(
    make: Callable[[], Any], routes: Callable[..., list[object]]
) -> None:
    app = Application(router=BlackSheepRouter())
    app.mount("/old", make())
    assert routes(app, "/old/api/v2/books/7") == ["/old/api/{version}/books/{id}"]


def flask_with_another() -> Flask:
    app = Flask("outer")

    @app.get("/<path:anything>")
    def anything(anything: str) -> str:
        return "anything"

    return app


def test_an_application_that_a_dispatcher_chooses_has_its_own_route(routes: Callable[..., list[object]]) -> None:
    around, inside = flask_with_another(), flask_with_another()
    inside.wsgi_app = DispatcherMiddleware(inside.wsgi_app, {"/old": flask_app()})  # type: ignore[method-assign]  # as Flask documents it
    for app in (DispatcherMiddleware(around, {"/old": flask_app()}), inside):
        served = routes(WSGIMiddleware(app), "/old/api/v2/books/7", "/older")  # type: ignore[arg-type]  # Flask is WSGI
        assert served[-2:] == ["/old/api/<version>/books/<int:id>", "/<path:anything>"]


def test_what_a_mount_serves_without_routes_has_the_mounts(tmp_path: Path, routes: Callable[..., list[object]]) -> None:
    files = Mount("/files/{tenant}", app=StaticFiles(directory=tmp_path))
    assert routes(Starlette(routes=[files]), "/files/kim/policy.toml") == ["/files/{tenant}/{path}"]


def quart_of_hosts() -> Any:
    app, shop = Quart("quart", subdomain_matching=True), Blueprint("shop", "quart")
    app.config["SERVER_NAME"] = "testserver"

    @shop.get("/books/<int:id>")
    async def book(**given: Any) -> str:
        return "a book"

    app.register_blueprint(shop, subdomain="<tenant>", url_prefix="/shop")
    return app


def flask_of_hosts() -> Any:
    app = Flask("flask", host_matching=True, static_host="testserver")

    @app.get("/books/<int:id>", host="<tenant>.testserver")
    def book(tenant: str, id: int) -> str:  # noqa: A002
        return "a book"

    return WSGIMiddleware(app)  # type: ignore[arg-type]  # Flask is WSGI


def blacksheep_of_routers() -> Any:
    shop = BlackSheepRouter(prefix="/shop/{tenant}", host="kim.testserver")

    @shop.get("/books/{id}")
    async def book(id: str) -> str:  # noqa: A002
        return "a book"

    return Application(router=BlackSheepRouter(sub_routers=[shop]))


def falcon_of_files(folder: Path) -> Any:
    app = falcon_app()
    app.req_options.strip_url_path_trailing_slash = True
    app.add_static_route("/files", folder)
    app.add_sink(sink, r"/talk/(?P<room>[a-z]+)")
    return app


async def sink(req: Any, resp: Any, **given: Any) -> None:
    resp.text = "talk"


def fastapi_of_starlette_routes() -> Any:
    app, sub = FastAPI(root_path="/shop"), FastAPI()
    sub.add_route("/books/{id}", page)
    app.mount("/old/{tenant}", sub)
    app.mount("/", WSGIMiddleware(flask_app()))  # type: ignore[arg-type]  # Flask is WSGI
    return app


class Copying(Layer):
    """A layer that hands over a copy of the scope, so that nobody outside sees what a router writes into it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(dict(scope), receive, send)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::fastapi.exceptions.FastAPIDeprecationWarning")
@pytest.mark.parametrize(
    ("make", "path", "template"),
    [
        (quart_of_hosts, "//kim.testserver/shop/books/7", "/shop/books/<int:id>"),
        (flask_of_hosts, "//kim.testserver/books/7", "/books/<int:id>"),
        (blacksheep_of_routers, "//kim.testserver/shop/a%2Fb/books/7", "/shop/{tenant}/books/{id}"),
        (lambda: falcon_of_files(Path(__file__).parent), "/files/test_route.py", "/files/{path}"),
        (lambda: falcon_of_files(Path(__file__).parent), "/talk/kim", "/talk/(?P<room>[a-z]+)"),
        (lambda: falcon_of_files(Path(__file__).parent), "/api/v2/books/7/", "/api/{version}/books/{id:int}"),
        (fastapi_of_starlette_routes, "/shop/old/kim/books/7", "/old/{tenant}/books/{id}"),
        (fastapi_of_starlette_routes, "/shop/old/kim/docs", "/old/{tenant}/docs"),
        (fastapi_of_starlette_routes, "/shop/old/kim/nothing", None),
        (fastapi_of_starlette_routes, "/shop/api/v2/books/7", "/api/<version>/books/<int:id>"),
        (django_app, "/old/7", "/old/(?P<id>[0-9]+)$"),
        (lambda: Copying(starlette_app()), "/api/v2/books/7", "/api/{version}/books/{id}"),
        (lambda: Copying(fastapi_of_starlette_routes()), "/old/kim/books/7", "/old/{tenant}/books/{id}"),
        (lambda: Copying(litestar_app()), "/api/v2/books/7", "/api/{version}/books/{id}"),
        (lambda: HypercornDispatcher({"/a": starlette_app()}), "/a/api/v2/books/7", "/a/api/{version}/books/{id}"),
    ],
)
@pytest.mark.usefixtures("django_urls")
def test_hosts_files_copies_and_routers_in_routers_have_their_route(
    make: Callable[[], Any], path: str, template: str | None, routes: Callable[..., list[object]]
) -> None:
    assert routes(make(), f"http:{path}" if path.startswith("//") else path) == [template]


@pytest.mark.parametrize(
    "make", [starlette_app, litestar_app, quart_app, falcon_app], ids=["starlette", "litestar", "quart", "falcon"]
)
def test_a_method_that_a_route_does_not_take_has_its_route(make: Callable[[], Any], tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(POLICY)
    site = ConsentMiddleware(make(), policy=tmp_path / "policy.toml", secret_keys=["a key of sixteen letters"])
    with ConsentClient(site) as visitor:
        assert visitor.post("/api/v2/books/7").status_code == 405
        (visit,) = visitor.records("visit")
        assert str(visit.data["http.route"]).startswith("/api/")


def test_a_mount_that_a_path_converter_ends_is_told_as_it_was_taken(routes: Callable[..., list[object]]) -> None:
    app = Starlette(routes=[Mount("/{tenant:path}/in", routes=[Route("/books/{id}", page)])])
    assert routes(app, "/a/b/in/books/7") == ["/{tenant}/in/books/{id}"]


def test_a_websocket_of_quart_has_its_route(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(POLICY)
    site = ConsentMiddleware(quart_app(), policy=tmp_path / "policy.toml", secret_keys=["a key of sixteen letters"])
    with ConsentClient(site) as visitor:
        with visitor.websocket("/talk/lobby") as socket:
            assert socket.receive() == "hello"
        assert [kept.data["http.route"] for kept in visitor.records("visit")] == ["/talk/<room>"]


@pytest.mark.parametrize(
    ("named", "kept"),
    [("query Books", "query Books"), ("x" * 1000, "x" * 500), (7, "/graphql"), (None, "/graphql")],
)
def test_the_application_names_a_route_itself(named: Any, kept: str, routes: Callable[..., list[object]]) -> None:
    async def graphql(request: Request) -> PlainTextResponse:
        get_consent(request).route = named
        return PlainTextResponse("books")

    assert routes(Starlette(routes=[Route("/graphql", graphql)]), "/graphql") == [kept]


def test_an_application_that_is_no_frameworks_has_no_route(routes: Callable[..., list[object]]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a book"})

    assert routes(app, "/api/v2/books/7") == [None]
