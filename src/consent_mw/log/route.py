"""
The template of the route that answered, such as "/api/{version}/books/{id}": whole, with the prefix of every mount.

Never the path itself: the field is in clear, and a path may hold somebody's id. A name that the application set by
`consent.route = ...` takes precedence. Starlette, FastAPI and Litestar put the template into the scope. Quart, Flask,
Django, Falcon and BlackSheep do not, so their router is asked once more.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from consent_mw._asgi import ASGIApp, Scope, header_value
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
_NOTHING: Final = re.compile(r"(?!)")
#: How many routes have their template cached: a site may make new ones as long as it runs.
_ROUTES: Final = 1_000

#: Takes the server's scope, the application's, and the path below the application; returns the template, or None.
_Router: TypeAlias = Callable[[Scope, Scope, str], str | None]


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
        try:
            template = self._below(reported, scope, inner)
        except Exception:  # noqa: BLE001 - other projects' routers, asked after the response: the record is kept
            template = reported
        return None if template is None else clean(template)[:LONGEST]

    def _below(self, reported: str | None, scope: Scope, inner: Scope) -> str | None:
        """Return the template if a mount is before it, or if only the framework's router knows it."""
        root, below = str(scope.get("root_path") or ""), str(inner.get("root_path") or "")
        own = _own_root_of(self._app)
        root = own if own and below.startswith(own) else root
        prefix, routers = self._mounted(below[len(root) :])
        if reported is not None:
            return prefix + reported
        if not routers:
            return f"{prefix}/{{path}}" if prefix else None
        path = str(scope.get("path", ""))
        path = path.removeprefix(below if prefix else root) or "/"
        for router in routers:
            if (template := router(scope, inner, path)) is not None:
                return prefix + template
        return None

    def _find_mounted(self, taken: str) -> tuple[str, list[_Router]]:
        """
        Return the template of the mounts that took this beginning of the path, and the routers to ask about the rest.

        It checks only mounts, no routes, and only mounts that take exactly this beginning. So it finds the right one if
        a sub-application is mounted twice.
        """
        mounted = list(islice(_mounts(self._app, taken, _DEEPEST), _DEEPEST)) or [("", self._app)]
        prefix = mounted[0][0]
        routers = [_router_of(app) for template, app in mounted if template == prefix]
        return prefix, [router for router in routers if router is not None]


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
    if deepest == 0:
        return
    for template, takes, mounted in _mounts_in(app):
        if not template:  # a Host, or a Mount("/"): neither takes a part of the path
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
            yield from map(_mount_of_starlette, filter(_is_mount, _flat(routes)))
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
        else:
            yield getattr(route, "starlette_route", None) or route


def _is_mount(route: Any) -> bool:
    return hasattr(route, "app") and hasattr(route, "routes")


def _own_root_of(app: Any) -> str:
    """Return what `FastAPI(root_path=)` puts into the scope instead of the server's, or ""."""
    roots: Iterator[Any] = (getattr(layer, "root_path", None) for layer in _layers(app))
    return next((root for root in roots if isinstance(root, str) and root), "").rstrip("/")


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
        if hasattr(getattr(layer, "url_map", None), "bind_to_environ"):
            mounts: Any = getattr(getattr(layer, "wsgi_app", None), "mounts", None)  # as in Flask's documentation
            own = _werkzeug(layer)
            return _dispatcher(mounts, own) if mounts.__class__ is dict else own
        if django is not None and isinstance(layer, django.BaseHandler):
            return _django
        if hasattr(getattr(layer, "_router", None), "find"):
            return _falcon(layer)
        if hasattr(getattr(layer, "router", None), "get_matching_route"):
            return _blacksheep(layer.router)
        if hasattr(getattr(layer, "asgi_router", None), "handle_routing"):
            return _litestar(layer.asgi_router.handle_routing)
        if getattr(layer, "routes", None).__class__ is list:
            return _starlette(layer.routes)
    return None


def _dispatcher(mounts: dict[str, Any], otherwise: _Router | None) -> _Router:
    """Werkzeug's and Hypercorn's `DispatcherMiddleware`: its prefixes are literal, and no scope has them."""

    def template(scope: Scope, inner: Scope, path: str) -> str | None:
        prefix = max((mount for mount in mounts if f"{path}/".startswith(f"{mount}/")), key=len, default="")
        router = _router_of(mounts[prefix]) if prefix else otherwise
        below = router(scope, inner, path[len(prefix) :] or "/") if router is not None else None
        return None if below is None else prefix + below

    return template


def _werkzeug(app: Any) -> _Router:
    """Quart's and Flask's: "/books/<int:id>", also of a host or a subdomain, as the application binds its routes."""

    def template(scope: Scope, inner: Scope, path: str) -> str | None:
        rules, websocket = app.url_map, scope["type"] == "websocket"
        names = rules.host_matching or getattr(app, "subdomain_matching", False)
        environ = {
            "HTTP_HOST": (header_value(scope["headers"], b"host") or b"localhost").decode("latin-1"),
            "PATH_INFO": path.encode("utf-8", "surrogatepass").decode("latin-1"),
            "REQUEST_METHOD": scope.get("method", "GET"),
            "wsgi.url_scheme": "ws" if websocket else "http",
        }
        adapter = rules.bind_to_environ(
            environ,
            server_name=None if rules.host_matching else app.config["SERVER_NAME"],
            subdomain=None if names else rules.default_subdomain or "",
        )
        try:
            rule, _ = adapter.match(return_rule=True, websocket=websocket)
        except Exception as error:  # noqa: BLE001 - Werkzeug's own, which names the methods that the route takes
            allowed = next(iter(getattr(error, "valid_methods", None) or ()))
            rule, _ = adapter.match(method=allowed, return_rule=True, websocket=websocket)
        return str(rule.rule)

    return template


def _litestar(find: Any) -> _Router:
    """Litestar's, where no scope of ours has it: of a method that the route does not take, or of a copied scope."""

    def template(scope: Scope, inner: Scope, path: str) -> str | None:
        path = f"/{'/'.join(filter(None, path.split('/')))}"
        try:
            rule = find(path=path, method=scope.get("method"))[-1]
        except Exception as error:  # noqa: BLE001 - Litestar's own, which names the methods
            headers: Any = getattr(error, "headers", None)
            allowed = str(headers.get("allow", "")) if headers else ""
            rule = find(path=path, method=allowed.partition(",")[0])[-1] if allowed else ""
        return str(rule) or None

    return template


def _starlette(routes: list[Any]) -> _Router:
    """
    Starlette's "/books/{id}", where no scope of ours has it: FastAPI reports only its own routes, and a layer may have
    copied the scope.
    """

    def template(scope: Scope, inner: Scope, path: str) -> str | None:
        if "router" in inner and "endpoint" not in inner:
            return None  # it was asked already, and found none
        host = (header_value(scope["headers"], b"host") or b"").decode("latin-1").partition(":")[0]
        others: str | None = None
        for route in _flat(routes):
            rule: Any = getattr(route, "path_regex", None)
            match = rule.match(path) if rule is not None else getattr(route, "host_regex", _NOTHING).match(host)
            if match is None:
                continue
            if _is_mount(route):
                router, below = _router_of(route.app), path if rule is None else f"/{match['path']}"
                rest = router(scope, inner, below) if router is not None else "/{path}"
                if rest is not None:
                    return str(getattr(route, "path_format", "")).removesuffix("/{path}") + rest
            elif scope.get("method") in (getattr(route, "methods", None) or (scope.get("method"),)):
                return str(route.path_format)
            else:
                others = others or str(route.path_format)
        return others

    return template


def _django(scope: Scope, inner: Scope, path: str) -> str | None:
    """Django's: "/books/<int:id>", and "/books/(?P<id>[0-9]+)$" of a regular expression."""
    urls: Any = sys.modules["django.urls"]
    return f"/{urls.resolve(path).route.removeprefix('^')}"


def _falcon(app: Any) -> _Router:
    """Falcon's: "/books/{id}"; of a sink its pattern, and "/static/{path}" of static files."""

    def template(scope: Scope, inner: Scope, path: str) -> str | None:
        options: Any = getattr(app, "req_options", None)
        if len(path) > 1 and getattr(options, "strip_url_path_trailing_slash", False):
            path = path.removesuffix("/")
        route = app._router.find(path)
        if route is not None:
            return str(route[3])
        for rule, _, is_sink in getattr(app, "_sink_and_static_routes", ()):
            if rule.match(path):
                return f"/{rule.pattern.lstrip('^/')}" if is_sink else f"{rule._prefix}{{path}}"
        return None

    return template


def _blacksheep(router: Any) -> _Router:
    """BlackSheep's: "/books/{id}", also of a router inside another, or one with a filter."""

    def template(scope: Scope, inner: Scope, path: str) -> str | None:
        if scope["type"] == "websocket":
            # Bytes, as BlackSheep itself passes them: its router caches by what it was asked.
            route = router.get_matching_route("GET_WS", path.encode())
        else:
            messages: Any = sys.modules["blacksheep.messages"]
            sent, above = scope.get("raw_path"), str(scope.get("path", "")).removesuffix(path)
            raw = sent.removeprefix(quote(above).encode()) if sent else quote(path).encode()
            request = messages.Request.incoming(
                scope["method"], raw or b"/", scope.get("query_string") or b"", list(scope["headers"])
            )
            request.scope = scope
            route = router.get_match(request)
            if route is None or route.handler is getattr(router.fallback, "handler", None):
                return None
        pattern = getattr(route, "pattern", None)
        return pattern.decode() if isinstance(pattern, bytes) else None

    return template
