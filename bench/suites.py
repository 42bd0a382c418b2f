"""
Other projects' own tests, bare and with every application wrapped: they should give the same.

    .venv/bin/python -m bench.suites starlette             # of the version that is installed
    .venv/bin/python -m bench.suites fastapi -- -k cookie  # what follows goes to pytest
    .venv/bin/python -m bench.suites django                # of Django its tests of ASGI

The tests come from the project's source distribution: those of starlette, fastapi, falcon, django and uvicorn have
them, those of quart and litestar do not. What a suite needs beside the project is to be installed first. The policy
asks nothing, `report_only=True`, no banner: what is then different is the middleware's doing. Exit code 1 where a test
ends in another way.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from functools import partial
from importlib import import_module
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


#: The applications whose class is wrapped, where no client of the project's is.
_APPLICATIONS = {"falcon": "falcon.asgi:App", "quart": "quart:Quart", "django": "django.core.handlers.asgi:ASGIHandler"}
_SAID = re.compile(r"^(test_\w+ \([\w.]+\)).*?\.\.\. (ok|FAIL|ERROR|skipped)", re.MULTILINE | re.DOTALL)


# -- as a plugin of pytest: every application that a test client gets is wrapped -------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    """Have the suite's applications wrapped: by its clients, its server, or in their own class."""
    wrap(os.environ["CONSENT_MW_SUITE"])


def wrap(project: str) -> None:
    """Wrap the applications of this project's tests from now on."""
    _wrapped(wrap)  # loads what is loaded late: some tests wait for one second only
    if project in _APPLICATIONS:
        _wrap_class(*_APPLICATIONS[project].split(":"))
    elif project == "uvicorn":
        _wrap_server()
    else:
        _wrap_clients()


def _wrap_class(module: str, name: str) -> None:
    application: Any = getattr(import_module(module), name)
    bare: Any = application.__call__
    known: dict[int, Any] = {}

    async def call(self: Any, scope: Any, receive: Any, send: Any) -> None:
        outer, inner = known.get(id(self), (None, None))
        if inner is not self:
            outer = _wrapped(partial(bare, self))
            known[id(self)] = outer, self
        await outer(scope, receive, send)

    application.__call__ = call


def _wrap_server() -> None:
    config: Any = import_module("uvicorn.config").Config
    load: Any = config.load

    def loaded(self: Any) -> None:
        load(self)
        if self.interface != "wsgi":
            self.loaded_app = _wrapped(self.loaded_app)

    config.load = loaded


def _wrap_clients() -> None:
    """Starlette's and HTTPX's clients, which nearly all suites use."""
    from starlette import testclient

    httpx: Any = vars(testclient)["httpx"]  # or what took its place
    transport: Any = testclient._TestClientTransport.__init__
    asgi: Any = httpx.ASGITransport.__init__

    def of_starlette(self: Any, app: Any, *more: Any, **options: Any) -> None:
        transport(self, _wrapped(app), *more, **options)

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
        ended = _ended_by_django if project == "django" else _ended
        bare, wrapped = (dict(ended(project, tests, Path(place), wraps, more)) for wraps in (False, True))
    for name, outcomes in (("bare", bare), ("wrapped", wrapped)):
        counts = ", ".join(f"{count} {how}" for how, count in sorted(Counter(outcomes.values()).items()))
        print(f"{project} {version(project)}, {name}: {counts or 'no tests'}")
    differ = sorted(name for name in bare.keys() | wrapped.keys() if bare.get(name) != wrapped.get(name))
    for name in differ:
        print(f"  {name}: {bare.get(name, 'not run')} bare, {wrapped.get(name, 'not run')} wrapped")
    return 1 if differ or not bare else 0


def _unpacked(project: str, place: Path) -> Path:
    """Return the directory of the project's source distribution, of the version that is installed."""
    words = ["download", "--quiet", "--no-deps", "--no-binary", project, "--dest", str(place)]
    # Falcon would be compiled for its name and version.
    environment = {**os.environ, "FALCON_DISABLE_CYTHON": "1"}
    subprocess.run([sys.executable, "-m", "pip", *words, f"{project}=={version(project)}"], check=True, env=environment)
    (archive,) = place.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(place, filter="data")
    (directory,) = (path for path in place.iterdir() if path.is_dir())
    return directory


def _environment(project: str, directory: Path, place: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": f"{directory}:{_ROOT}",
        "TMPDIR": str(place),
        "CONSENT_MW_SUITE": project,
    }


def _ended(project: str, directory: Path, place: Path, wraps: bool, more: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield each test with how it ended."""
    report = place / f"{'wrapped' if wraps else 'bare'}.xml"  # one that does not begin must not find the other's
    words = [sys.executable, "-m", "pytest", "-q", "tests", "-p", "no:cacheprovider", f"--junit-xml={report}", *more]
    words += ["-p", "bench.suites"] if wraps else []
    # What the project asks for is what it is held to, but for warnings of a Python or a plugin that it did not know.
    subprocess.run(
        [*words, "-W", "default", "-o", "timeout=600", "--continue-on-collection-errors"],
        cwd=directory,
        env=_environment(project, directory, place),
        stdout=subprocess.DEVNULL,
        check=False,
    )
    if not report.exists():
        raise SystemExit("the tests did not begin: what they need beside the project is said above; install that")
    for case in ElementTree.parse(report).iter("testcase"):
        how = next((child.tag for child in case if child.tag in ("failure", "error", "skipped")), "passed")
        yield f"{case.get('classname')}::{case.get('name')}", how


def _ended_by_django(
    project: str, directory: Path, place: Path, wraps: bool, more: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    """As `_ended`, of Django's own runner, which writes a line for each."""
    begin = "import runpy, sys; sys.argv[0] = 'runtests.py'; "
    begin += "import bench.suites; bench.suites.wrap('django'); " if wraps else ""
    begin += "runpy.run_path('runtests.py', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", begin, "asgi", "handlers", "--parallel=1", "--verbosity=2", *more],
        cwd=directory / "tests",
        env=_environment(project, directory, place),
        capture_output=True,
        text=True,
        check=False,
    )
    yield from _SAID.findall(done.stdout + done.stderr)


if __name__ == "__main__":
    project, *rest = sys.argv[1:] or ["starlette"]
    sys.exit(main(project, *(word for word in rest if word != "--")))
