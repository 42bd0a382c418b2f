"""The package's own source: its modules as trees, and the layer of each room."""

from __future__ import annotations

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "consent_mw"


# The rooms of the package: its packages, and the modules beside them that everybody speaks of. Each imports from its
# own row or a lower one, and no two of them each other; docs/architecture.md draws the same picture.
LAYERS = [
    {"_asgi", "exceptions", "kinds"},
    {"system"},
    {"audit", "paths", "policy", "proxies", "records"},
    {"crypto", "exports", "stores"},
    {"hosts", "spool"},
    {"consent"},
    {"cookies", "retention"},
    {"rights"},
    {"log", "staff"},
    {"site"},
    {"runtime"},
    {"middleware"},
    {"demo"},
    {"cli"},
    {"__main__", "testing"},
]


LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}


def package_directory() -> Path:
    spec = find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def module_name(path: Path) -> str:
    """`stores/sqlite.py` is `consent_mw.stores.sqlite`, and `stores/__init__.py` is `consent_mw.stores`."""
    parts = path.relative_to(package_directory()).with_suffix("").parts
    return ".".join([PACKAGE, *(parts[:-1] if parts[-1] == "__init__" else parts)])


FILES = {module_name(path): path for path in sorted(package_directory().rglob("*.py"))}


@cache
def trees() -> dict[str, ast.Module]:
    """Each module as a tree. Read when a test asks: every process that runs tests imports every file of them."""
    return {module: ast.parse(path.read_bytes()) for module, path in FILES.items()}
