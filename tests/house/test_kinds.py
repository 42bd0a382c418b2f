"""Kinds of records stand in one table: what has no row there cannot be sealed, and no list stands beside it."""

from __future__ import annotations

import ast
import re
from uuid import UUID

import pytest
from tests.support.repository import ROOT
from tests.support.source import trees

from consent_mw import kinds
from consent_mw.crypto.keyring import MemoryKeyring
from consent_mw.crypto.sealer import Sealer
from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.kinds import KINDS
from consent_mw.records import new_id
from consent_mw.testing.sample_records import NOON


@pytest.fixture
def sealer() -> Sealer:
    return Sealer(MemoryKeyring(), SiteKeys.random())


def an_id() -> UUID:
    return new_id(int(NOON.timestamp() * 1e9))


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_sealed(kind: str, sealer: Sealer) -> None:
    assert sealer.open(sealer.record(an_id(), kind, "necessary", plain=b"x")) == b"x"


@pytest.mark.parametrize("plain", [b"x", None])
def test_a_kind_without_a_row_cannot_be_written(sealer: Sealer, plain: bytes | None) -> None:
    with pytest.raises(ValueError, match=r"\"visot\" is no kind of record: give it a row in consent_mw\.kinds"):
        sealer.record(an_id(), "visot", "necessary", plain=plain)


def test_each_name_of_a_kind_has_a_row() -> None:
    names = {value for name, value in vars(kinds).items() if name.isupper() and isinstance(value, str)}
    assert names == set(KINDS)


def test_what_does_not_end_says_nothing_about_a_person() -> None:
    assert [name for name, kind in KINDS.items() if not kind.ends and (kind.held or kind.disclosed)] == []


def test_no_module_has_a_list_of_kinds_of_its_own() -> None:
    for module, tree in trees().items():
        for node in ast.walk(tree) if not module.startswith("consent_mw.testing") else ():
            if isinstance(node, ast.Set | ast.Tuple | ast.List) and len(node.elts) > 1:
                words = [element.value for element in node.elts if isinstance(element, ast.Constant)]
                assert not set(words) <= set(KINDS) or len(words) < len(node.elts), f"{module}, line {node.lineno}"


def test_the_page_about_the_log_has_each_kind_that_staff_are_shown() -> None:
    page = (ROOT / "docs/log.md").read_text()
    rows = " ".join(re.findall(r"^\| (`.+?) \|", page, flags=re.MULTILINE))
    assert [kind for kind in kinds.SHOWN if f"`{kind}`" not in rows] == []
