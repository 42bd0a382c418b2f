"""Restore a request as the browser made it, if a proxy cut its path or renamed its host. Pure."""

from __future__ import annotations

from consent_mw._asgi import Scope
from consent_mw.proxies import Proxies

_MOST_LAYERS = 20


def mounted_at(app: object) -> str:
    """
    Return the path that an application says it is mounted under: FastAPI's `root_path=`, also below other middleware.

    The application is inside of us and applies it only to its own view of a request.
    """
    for _ in range(_MOST_LAYERS):
        mount = getattr(app, "root_path", None)
        if isinstance(mount, str) and mount.startswith("/") and not mount.startswith("//"):
            return mount.rstrip("/")
        app = getattr(app, "app", None)
    return ""


def outside(scope: Scope, proxies: Proxies, mounted: str) -> Scope | None:
    """
    Return `scope` with the path and the host that the browser asked for; None if the server has both already.

    Args:
        mounted: The mount path to assume if neither the server nor a proxy names one.
    """
    root, host = str(scope.get("root_path") or ""), proxies.host(scope)
    taken = proxies.prefix(scope) or (mounted if not root else "")
    if root == taken or root.startswith(f"{taken}/"):
        taken = ""  # the server has the same root path already
    if not taken and host is None:
        return None
    path = str(scope.get("path", ""))
    if root and path != root and not path.startswith(f"{root}/"):
        path = root + path  # Hypercorn leaves the root path out of it
    if not (path == taken or path.startswith(f"{taken}/")):
        path = taken + path
    outer = {**scope, "root_path": taken + root, "path": path}
    if host is not None:
        lines = [line for line in scope.get("headers") or () if line[0] != b"host"]
        outer["headers"] = [(b"host", host.encode("ascii")), *lines]
    return outer
