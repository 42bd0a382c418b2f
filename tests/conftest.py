"""What every test may rely on: in CI nothing is skipped, and a Chromium is at hand."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Generator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from tests.support.postgres import PostgresServer

from consent_mw.runtime.options import Options

# Nothing is asserted about time on the clock: a busy machine is no fault of the code.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# A shell lets what it starts in the background ignore Ctrl-C, and so would every process of the tests.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


#: What one run of the tests needs, and some of what a failed one before it left.
_ROOM = 2 * 2**30


def pytest_configure() -> None:
    """Work in memory where there is room: hundreds of stores that sync to one disk wait longer than they work."""
    memory = Path("/dev/shm")
    if "TMPDIR" not in os.environ and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > _ROOM:
        os.environ["TMPDIR"] = str(memory)
        tempfile.tempdir = None
    # Images set this. Without bytecode each of hundreds of processes compiles what it imports: a command takes 0.49 s
    # of processor time instead of 0.27, and every process of xdist takes twice as long to find the tests.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep what collecting makes out of every later garbage collection: it stays until the end anyway."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        # Tests leave much behind that is alive until their module ends: to visit it took a twelfth of their time.
        gc.set_threshold(10_000, 20, 20)
        gc.enable()


#: Files that take longest begin first, so that no process is still at one when the others have nothing left.
_LONG = (
    "test_commands.py", "test_two_months.py", "test_servers.py", "test_store_examples.py", "test_every_promise.py",
    "test_postgres.py", "test_journey.py", "test_killed.py", "test_accessibility.py", "test_banner_look.py",
    "test_hostile_markup.py", "test_archive_of_hosts.py", "test_drain_process.py", "test_postgres_pooler.py",
    "test_hosts_through_time.py", "test_transit.py", "test_my_data_browser.py", "test_firefox.py", "test_age.py",
    "test_one_person.py", "test_bounded_memory.py", "test_several_logs.py", "test_consent_js.py", "test_faults.py",
    "test_templates_of_init.py", "test_destruction_counts.py", "test_nothing_readable.py", "test_move.py",
    "test_partition.py", "test_killed_going_over.py", "test_meddled_store.py", "test_changed_minds.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _LONG.index(item.path.name) if item.path.name in _LONG else len(_LONG))


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure where CI is set: there, a missing part is a defect of the set-up."""
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} would be skipped, and CI skips nothing: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.fixture(scope="session", autouse=True)
def patient_answers() -> Generator[None]:
    """Cookies that wait are kept however long the disk of a busy machine takes; who tests the limit sets it again."""
    with pytest.MonkeyPatch.context() as patience:
        defaults: Any = Options.__init__.__kwdefaults__
        patience.setitem(defaults, "pending_wait", timedelta(seconds=5))
        yield


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the Chromium to drive; without one the test is skipped."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium: sudo apt-get install chromium")
    return path


@pytest.fixture(scope="session")
def shell(chromium: str) -> str:
    """Path of the same Chromium without a window around it: draws the same pages, with half of the work."""
    return shutil.which("chromium-headless-shell") or chromium


@pytest.fixture(scope="module")
def browser(shell: str) -> Generator[Any]:
    """A Chromium that only draws. No test of its module may run a loop: playwright's runs in this thread."""
    from tests.support.browser_site import launched

    with launched(shell) as browser:
        yield browser


@pytest.fixture(scope="session")
def postgres() -> Generator[PostgresServer]:
    """A PostgreSQL server, one for all tests of a run; who kills it starts it again."""
    with PostgresServer() as server:
        yield server
