"""The packages stand in layers: imports go down, never up, and never round."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter

import pytest
from tests.support.repository import ROOT
from tests.support.source import FILES, LAYER, LAYERS, PACKAGE, trees

import consent_mw as package
from consent_mw.cli.commands import COMMANDS

#: More rooms than this are no picture that one can keep in mind.
MOST_ROOMS = 30

# What only a face, an extra or a first use may load.
HEAVY = {
    "babel",
    "click",
    "django",
    "hypothesis",
    "jinja2",
    "psycopg",
    "pytest",
    "rich",
    "sqlalchemy",
    "ua_parser",
    "user_agents",
    "uvicorn",
    "websockets",
}


def imports(module: str) -> Iterator[str]:
    """Yield what `module` imports of our own, also inside functions and under TYPE_CHECKING."""
    for node in ast.walk(trees()[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == PACKAGE)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}, line {node.lineno}: write the import absolute"
            if node.module is not None and node.module.split(".")[0] == PACKAGE:
                for alias in node.names:
                    submodule = f"{node.module}.{alias.name}"
                    yield submodule if node.module != PACKAGE and submodule in FILES else node.module


@cache
def import_graph() -> dict[str, set[str]]:
    return {module: set(imports(module)) for module in FILES}


def room(module: str) -> str:
    """Return the package or the module of the root that a module is in; of the root itself its own name."""
    return module if module == PACKAGE else module.split(".")[1]


def layer(module: str) -> int:
    """Return the layer of a module below the root; the root itself stands above all."""
    if module == PACKAGE:
        return len(LAYERS)
    name = room(module)
    assert name in LAYER, f"{module} has no layer: add {name!r} to its row of LAYERS in tests/test_architecture.py"
    return LAYER[name]


def test_a_module_imports_from_its_own_layer_or_a_lower_one() -> None:
    upward = [
        f"{module} (layer {layer(module)}) imports {name} (layer {layer(name)})"
        for module, names in import_graph().items()
        for name in sorted(names)
        if layer(name) > layer(module)
    ]
    assert upward == []


def test_the_import_graph_has_no_circle() -> None:
    try:
        TopologicalSorter(import_graph()).prepare()
    except CycleError as error:
        pytest.fail("these modules import each other in a circle: " + " <- ".join(error.args[1]))


def test_no_two_rooms_import_each_other() -> None:
    rooms: dict[str, set[str]] = {}
    for module, imported in import_graph().items():
        rooms.setdefault(room(module), set()).update({room(other) for other in imported} - {room(module)})
    assert len(rooms) <= MOST_ROOMS
    try:
        TopologicalSorter(rooms).prepare()
    except CycleError as error:
        pytest.fail("these rooms import each other in a circle: " + " <- ".join(error.args[1]))


def test_no_module_imports_the_package_root() -> None:
    guilty = sorted(module for module, imported in import_graph().items() if PACKAGE in imported)
    assert not guilty, f"import from the module that defines the name, not from {PACKAGE}: {', '.join(guilty)}"


def loaded_by(program: str) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after `program`."""
    program = f"import sys; {program}; print('loaded:', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.partition("loaded:")[2].split())


def test_importing_every_public_name_loads_nothing_heavy() -> None:
    loaded = loaded_by(f"from {PACKAGE} import *")
    assert f"{PACKAGE}.middleware" in loaded
    assert not HEAVY.intersection(loaded)


def test_importing_the_package_alone_loads_no_other_module_of_it() -> None:
    assert {module for module in loaded_by(f"import {PACKAGE}") if module.startswith(PACKAGE)} == {PACKAGE}


@pytest.mark.parametrize("command", ["log", "report"])
def test_a_command_loads_no_other_command_and_no_table(command: str) -> None:
    loaded = loaded_by(f"from consent_mw.cli import main; main([{command!r}, '--help'])")
    others = {f"{PACKAGE}.cli.{name}" for name in COMMANDS if name != command}
    assert f"{PACKAGE}.cli.{command}" in loaded
    assert not (others | {"rich", "jinja2", "babel"}).intersection(loaded)


def test_every_public_name_is_where_the_package_says() -> None:
    assert {getattr(package, name).__module__.split(".")[0] for name in package.__all__} == {PACKAGE}
    assert set(package.__all__) <= set(dir(package))
    assert not hasattr(package, "nothing")


def test_a_module_opens_with_a_sentence_on_what_lives_in_it() -> None:
    assert [module for module, tree in trees().items() if not ast.get_docstring(tree)] == []


def test_no_test_file_needs_another_one() -> None:
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    assert len(files) > 100, "or this looks at nothing"
    needed = {file.name: re.findall(r"^from tests\.\w+\.(test_\w+) ", file.read_text(), re.MULTILINE) for file in files}
    assert {name: others for name, others in needed.items() if others} == {}, "what two need lies in tests/support"
