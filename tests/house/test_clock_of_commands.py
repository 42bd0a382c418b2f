"""Nothing but the outermost places reads the machine's clock: all else is told the present, commands too."""

from __future__ import annotations

import ast
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from tests.support.source import trees

from consent_mw.cli.clock import by_clock, now_ns, utc_now
from consent_mw.testing.clock import Clock

#: Where the machine's clock may be read, and why.
READERS = {
    "consent_mw.cli.clock",  # the one place of the commands
    "consent_mw.testing.clock",  # where a test's clock stands unless told
    "consent_mw.demo.page",  # a shop in front of a real browser
    "consent_mw.runtime.options",  # tells the clock of the machine from one of a test
    "consent_mw.spool.segment",  # how long ago a file was written, by the clock that says when
    "consent_mw.system.locks",  # how long ago a file was touched, by the clock that says when
}
#: Of the modules and classes that tell the present, what does.
TELL = {
    "time": {"time", "time_ns", "localtime", "gmtime", "ctime", "asctime", "strftime"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
    "email.utils": {"formatdate", "localtime"},
}
#: Whose argument has the machine's clock as its default: who makes one within the package has to give another.
CLOCKED = {"Drain": "clock", "Spool": "clock", "Site": "now_ns", "Options": "clock", "TransitKeyring": "clock"}
#: And who hands its options on to one of them.
HANDING_ON = {"ConsentMiddleware": "clock"}


def readings(tree: ast.Module) -> Iterator[ast.Attribute]:
    """Yield each place that names what tells the machine's time."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in TELL.get(ast.unparse(node.value).rpartition(".")[2], ()):
            yield node


def defaults(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Yield the class and the default of each argument of an `__init__` that is the machine's clock."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for part in node.body:
                values: list[ast.expr] = []
                if isinstance(part, ast.AnnAssign) and part.value:  # of a dataclass
                    values = [part.value]
                if isinstance(part, ast.FunctionDef) and part.name == "__init__":
                    values = [*part.args.defaults, *filter(None, part.args.kw_defaults)]
                yield from ((node.name, value) for value in values if ast.unparse(value) == "time.time_ns")


def test_a_module_reads_no_clock_of_the_machine() -> None:
    guilty = [
        f"{module}, line {reading.lineno}: {ast.unparse(reading)}"
        for module in sorted(trees().keys() - READERS)
        for reading in readings(trees()[module])
        if reading not in {default for _, default in defaults(trees()[module])}
    ]
    assert guilty == [], "take `now` as an argument; a command asks consent_mw.cli.clock"


def test_a_module_imports_nothing_by_which_it_could_read_the_clock_unseen() -> None:
    for module, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module in ("time", "email.utils"):
                assert not {alias.name for alias in node.names} & TELL[node.module], module
            names = node.names if isinstance(node, ast.Import | ast.ImportFrom) else []
            assert not [name for name in names if name.asname and name.name in ("time", "datetime", "date")], module


def test_whatever_has_the_clock_of_the_machine_as_a_default_is_given_another_within_the_package() -> None:
    assert {name for tree in trees().values() for name, _ in defaults(tree)} == CLOCKED.keys()
    clocked = CLOCKED | HANDING_ON
    for module, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and module.split(".")[1:2] != ["demo"]:
                name = ast.unparse(node.func).rpartition(".")[2]
                given = {keyword.arg for keyword in node.keywords}  # None: `**options`
                assert name not in clocked or {clocked[name], None} & given, f"{module}, line {node.lineno}"


def test_a_command_takes_the_present_from_the_clock_of_the_call_and_from_the_machine_again_after_it() -> None:
    clock = Clock(datetime(2028, 2, 29, 12, tzinfo=UTC))
    with by_clock(clock):
        assert utc_now().date() == datetime(2028, 2, 29, tzinfo=UTC).date()
        with by_clock(lambda: 0):
            assert now_ns() == 0
        assert utc_now() > datetime(2028, 2, 29, tzinfo=UTC)
    assert abs(now_ns() - time.time_ns()) < 60 * 10**9


def test_only_the_toolkit_for_tests_can_set_the_clock_of_a_command() -> None:
    callers = {
        module
        for module, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "by_clock"
    }
    assert callers == {"consent_mw.testing.commands"}
