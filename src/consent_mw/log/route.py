"""
The template of the route that answered, such as "/api/{version}/books/{id}": whole, with the prefix of every mount.

Never the path itself: the field is in clear, and a path may hold somebody's id. A name that the application set by
`consent.route = ...` takes precedence. Starlette, FastAPI and Litestar put the template into the scope. Quart, Flask,
Django, Falcon and BlackSheep do not, so their router is asked once more.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeAlias

from consent_mw._asgi import ASGIApp, Scope
from consent_mw.log.redaction import clean
from consent_mw.system.bounded_cache import remember, remembering

#: How many characters of a template are kept: every record contains it.
LONGEST: Final = 500
#: The most layers around a framework's own application, and the most mounts inside one another, that are searched.
_DEEPEST: Final = 20
#: Where a layer keeps the application that it wraps: middleware, WSGI adapters, bound methods, partial functions.
_WRAPPED: Final = ("app", "wsgi_application", "application", "__self__", "func")
#: The cache of mount prefixes, by the path that they took. It is bounded because visitors choose how many there are.
_REMEMBERED_BYTES: Final = 1 << 18
#: How many routes have their template cached: a site may make new ones as long as it runs.
_ROUTES: Final = 1_000

#: Takes a method, a path below the application, and whether it is a WebSocket; returns the template, or None.
_Router: TypeAlias = Callable[[str, str, bool], str | None]


class Routes:
    """The routes of an application, in any framework."""

    def __init__(self, app: ASGIApp | None) -> None:
        self._app = app
        self._usual: dict[int, tuple[object, str]] = {}
        self._mounted = remembering(self._find_mounted, _REMEMBERED_BYTES, lambda mounts: 200 + len(mounts[0]))

    def template(self, scope: Scope, inner: Scope) -> str | None:
        """
        Return the template of the route that answered; None if there is none or it cannot be found. Never raises.

        Args:
            scope: The server's scope.
            inner: The application's scope, after it has answered.
        """
        route = inner.get("route")
        direct = inner.get("root_path") == scope.get("root_path")  # no mount: the usual case, so it comes first
        usual = self._usual.get(id(route))
        if usual is not None and usual[0] is route and direct and "fastapi" not in inner:
            return usual[1]
        reported = _template_of_framework(inner)
        if reported is not None and direct:
            if route is not None:
                remember(self._usual, id(route), (route, clean(reported)), _ROUTES)
            return clean(reported)
        root, below = str(scope.get("root_path") or ""), str(inner.get("root_path") or "")
        try:
            template = self._below(reported, scope, root, below)
        except Exception:  # noqa: BLE001 - other projects' routers, asked after the response: the record is kept
            template = reported
        return None if template is None else clean(template)[:LONGEST]

    def _below(self, reported: str | None, scope: Scope, root: str, below: str) -> str | None:
        """Return the template if a mount is before it, or if only the framework's router knows it."""
        prefix, router = self._mounted(below[len(root) :])
        if reported is not None:
            return prefix + reported
        if router is None:
            return f"{prefix}/{{path}}" if prefix else None
        websocket = scope["type"] == "websocket"
        path = str(scope.get("path", ""))
        path = path.removeprefix(below if prefix else root) or "/"
        template = router(str(scope.get("method", "GET")), path, websocket)
        return None if template is None else prefix + template

    def _find_mounted(self, taken: str) -> tuple[str, _Router | None]:
        """
        Return the template of the mounts that took this beginning of the path, and the router to ask about the rest.

        It checks only mounts, no routes, and only mounts that take exactly this beginning. So it finds the right one if
        a sub-application is mounted twice.
        """
        prefix, app = next(_mounts(self._app, taken, _DEEPEST), ("", self._app))
        return prefix, _router_of(app)


def _template_of_framework(inner: Scope) -> str | None:
    """
    Return the template in the scope. FastAPI's includes the prefix of its routers, but not that of mounts. None if the
    last entry that Starlette knows is a mount.
    """
    route = inner.get("route")
    if route is None or hasattr(route, "routes"):
        template: Any = inner.get("path_template")  # Litestar's, with all its prefixes
        return template if isinstance(template, str) else None
    context: Any = inner.get("fastapi")
    if context.__class__ is dict:
        # Since FastAPI 0.137 a router's routes are not copied with the prefix. The effective values are beside the
        # route.
        effective = context.get("effective_route_context")
        if effective is not None and getattr(effective, "original_route", None) is route:
            route = getattr(effective, "starlette_route", None) or effective
            if hasattr(route, "routes"):
                return None
    template = getattr(route, "path_format", None) or getattr(route, "path", None)
    return template if isinstance(template, str) else None


def _mounts(app: Any, taken: str, deepest: int) -> Iterator[tuple[str, Any]]:
    """Yield the templates under which mounts inside `app` take exactly `taken`, with the application mounted there."""
    if not taken:
        yield "", app
        return
    if deepest == 0:
        return
    for template, takes, mounted in _mounts_in(app):
        if not template:  # a Host, which takes no part of the path
            yield from _mounts(mounted, taken, deepest - 1)
            continue
        # A path converter takes as much as it can. With the end given, that is as much as the mount took.
        for end in (at for at in range(len(taken), 0, -1) if at == len(taken) or taken[at] == "/"):
            if takes(taken[:end]):
                yield from ((template + rest, inner) for rest, inner in _mounts(mounted, taken[end:], deepest - 1))


def _mounts_in(app: Any) -> Iterator[tuple[str, Callable[[str], bool], Any]]:
    """Yield template, test of the beginning that it takes, and application of each mount of the outermost router."""
    for layer in _layers(app):
        routes: Any = getattr(layer, "routes", None)
        if routes.__class__ is list:  # Starlette's, and those of FastAPI's included routers
            yield from map(_mount_of_starlette, _flat(routes))
            return
        if hasattr(layer, "mount_registry"):
            yield from map(_mount_of_blacksheep, layer.mount_registry.mounted_apps)
            return


def _mount_of_starlette(mount: Any) -> tuple[str, Callable[[str], bool], Any]:
    def takes(beginning: str) -> bool:
        match = mount.path_regex.match(f"{beginning}/")
        return match is not None and match.group("path") == ""

    return str(getattr(mount, "path_format", "")).removesuffix("/{path}"), takes, mount.app


def _mount_of_blacksheep(mount: Any) -> tuple[str, Callable[[str], bool], Any]:
    def takes(beginning: str) -> bool:
        match = mount.match_by_path(f"{beginning}/".encode())
        return match is not None and match.values.get("tail") == ""

    return mount.pattern.decode().removesuffix("/*"), takes, mount.handler


def _flat(routes: Iterable[Any]) -> Iterator[Any]:
    for route in routes:
        if hasattr(route, "effective_candidates"):
            yield from _flat(route.effective_candidates())
            continue
        mount = getattr(route, "starlette_route", None) or route
        if hasattr(mount, "app") and hasattr(mount, "routes"):
            yield mount


def _layers(app: Any) -> Iterator[Any]:
    """Yield the application and the applications that it wraps, from the outside in."""
    for _ in range(_DEEPEST):
        if app is None:
            return
        yield app
        by_protocol: Any = getattr(app, "application_mapping", None)  # in Django Channels
        if by_protocol.__class__ is dict:
            app = by_protocol.get("http")
        else:
            app = next((wrapped for name in _WRAPPED if (wrapped := getattr(app, name, None)) is not None), None)


def _router_of(app: Any) -> _Router | None:
    """Return a function that asks the router of a framework which puts nothing into the scope."""
    django: Any = sys.modules.get("django.core.handlers.base")
    for layer in _layers(app):
        if getattr(layer, "mounts", None).__class__ is dict:
            return _dispatcher(layer.mounts, _router_of(getattr(layer, "app", None)))
        if hasattr(getattr(layer, "url_map", None), "bind"):
            mounts: Any = getattr(getattr(layer, "wsgi_app", None), "mounts", None)  # as in Flask's documentation
            own = _werkzeug(layer.url_map)
            return _dispatcher(mounts, own) if mounts.__class__ is dict else own
        if django is not None and isinstance(layer, django.BaseHandler):
            return _django
        if hasattr(getattr(layer, "_router", None), "find"):
            return _falcon(layer._router)
        if hasattr(getattr(layer, "router", None), "get_matching_route"):
            return _blacksheep(layer.router)
    return None


def _dispatcher(mounts: dict[str, Any], otherwise: _Router | None) -> _Router:
    """Werkzeug's and Hypercorn's `DispatcherMiddleware`: its prefixes are literal, and no scope has them."""

    def template(method: str, path: str, websocket: bool) -> str | None:
        prefix = max((mount for mount in mounts if f"{path}/".startswith(f"{mount}/")), key=len, default="")
        router = _router_of(mounts[prefix]) if prefix else otherwise
        below = router(method, path[len(prefix) :] or "/", websocket) if router is not None else None
        return None if below is None else prefix + below

    return template


def _werkzeug(url_map: Any) -> _Router:
    """Quart's and Flask's: "/books/<int:id>"."""

    def template(method: str, path: str, websocket: bool) -> str | None:
        adapter = url_map.bind("localhost", url_scheme="ws" if websocket else "http", path_info=path)
        rule, _ = adapter.match(method=method, return_rule=True, websocket=websocket)
        return str(rule.rule)

    return template


def _django(method: str, path: str, websocket: bool) -> str | None:
    """Django's: "/books/<int:id>"."""
    urls: Any = sys.modules["django.urls"]
    return f"/{urls.resolve(path).route}"


def _falcon(router: Any) -> _Router:
    """Falcon's: "/books/{id}"."""

    def template(method: str, path: str, websocket: bool) -> str | None:
        route = router.find(path)
        return None if route is None else route[3]

    return template


def _blacksheep(router: Any) -> _Router:
    """BlackSheep's: "/books/{id}"."""

    def template(method: str, path: str, websocket: bool) -> str | None:
        # Bytes, as BlackSheep itself passes them: its router caches by what it was asked.
        route = router.get_matching_route("GET_WS" if websocket else method, path.encode())
        pattern = getattr(route, "pattern", None)
        return pattern.decode() if isinstance(pattern, bytes) else None

    return template
