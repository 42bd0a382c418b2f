"""
Other projects' own tests, bare and with every application wrapped: they should give the same.

    .venv/bin/python -m bench.suites starlette            # of the version that is installed
    .venv/bin/python -m bench.suites fastapi -- -k cookie  # what follows goes to pytest

The tests come from the project's source distribution. The policy asks nothing, `report_only=True`, no banner: what is
then different is the middleware's doing. Exit code 1 where a test ends in another way.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

__all__ = ["main", "pytest_configure"]

_ROOT = Path(__file__).parent.parent
_POLICY = """
schema = 1
revision = 1
published = 2026-01-01
effective = 2026-01-01
time_zone = "UTC"
languages = ["en"]
[controller]
name = "Example"
officer = { name = "x", email = "privacy@example.com", phone = "1" }
[purposes.necessary]
basis = "necessary"
retention = "90 days"
[log.necessary]
"url.path" = "full"
"""


# -- as a plugin of pytest: every application that a test client gets is wrapped -------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    """Have Starlette's and HTTPX's clients, which nearly all suites use, ask a wrapped application."""
    from starlette import testclient

    httpx: Any = vars(testclient)["httpx"]  # or what took its place
    made: Any = testclient._TestClientTransport.__init__
    asgi: Any = httpx.ASGITransport.__init__

    def of_starlette(self: Any, app: Any, *more: Any, **options: Any) -> None:
        made(self, _wrapped(app), *more, **options)

    def of_httpx(self: Any, app: Any, *more: Any, **options: Any) -> None:
        asgi(self, _wrapped(app), *more, **options)

    testclient._TestClientTransport.__init__ = of_starlette  # type: ignore[method-assign]
    httpx.ASGITransport.__init__ = of_httpx


def _wrapped(app: Any) -> Any:
    from consent_mw import ConsentMiddleware

    directory = Path(tempfile.mkdtemp(prefix="consent-mw-suite-"))
    (directory / "policy.toml").write_text(_POLICY)
    return ConsentMiddleware(
        app, policy=directory / "policy.toml", secret_keys=["a key of the suites"], report_only=True, banner=False
    )


# -- as a program ----------------------------------------------------------------------------------------------------


def main(project: str, *more: str) -> int:
    """Run the tests of a project twice; return 1 where one ends in another way when it is wrapped."""
    with tempfile.TemporaryDirectory(prefix="consent-mw-suites-") as place:
        tests = _unpacked(project, Path(place))
        bare, wrapped = (dict(_ended(tests, Path(place), plugin, more)) for plugin in (False, True))
    for name, found in (("bare", bare), ("wrapped", wrapped)):
        counts = ", ".join(f"{count} {how}" for how, count in sorted(Counter(found.values()).items()))
        print(f"{project} {version(project)}, {name}: {counts or 'no tests'}")
    differ = sorted(name for name in bare.keys() | wrapped.keys() if bare.get(name) != wrapped.get(name))
    for name in differ:
        print(f"  {name}: {bare.get(name, 'not run')} bare, {wrapped.get(name, 'not run')} wrapped")
    return 1 if differ or not bare else 0


def _unpacked(project: str, place: Path) -> Path:
    """Return the directory of the project's source distribution, of the version that is installed."""
    words = ["download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", str(place)]
    subprocess.run([sys.executable, "-m", "pip", *words, f"{project}=={version(project)}"], check=True)
    (archive,) = place.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(place, filter="data")
    (directory,) = (each for each in place.iterdir() if each.is_dir())
    return directory


def _ended(directory: Path, place: Path, plugin: bool, more: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield each test with how it ended."""
    report = place / "report.xml"
    words = [sys.executable, "-m", "pytest", "-q", "tests", "-p", "no:cacheprovider", f"--junit-xml={report}", *more]
    words += ["-p", "bench.suites"] if plugin else []
    # What the project asks for is what it is held to, but for warnings of a Python or a plugin that it did not know.
    subprocess.run(
        [*words, "-W", "default", "--continue-on-collection-errors"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": f"{directory}:{_ROOT}", "TMPDIR": str(place)},
        stdout=subprocess.DEVNULL,
        check=False,
    )
    if not report.exists():
        raise SystemExit("the tests did not begin: what they need beside the project is said above; install that")
    for case in ElementTree.parse(report).iter("testcase"):
        how = next((child.tag for child in case if child.tag in ("failure", "error", "skipped")), "passed")
        yield f"{case.get('classname')}::{case.get('name')}", how


if __name__ == "__main__":
    project, *rest = sys.argv[1:] or ["starlette"]
    sys.exit(main(project, *(word for word in rest if word != "--")))
