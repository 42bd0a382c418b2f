"""What the page about requests types works, in its order, in a site with somebody's receipt."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from tests.support.repository import ROOT
from tests.support.sites_with_visitors import Site, visited

from consent_mw.cli import main
from consent_mw.rights.request import REQUEST_KINDS

PAGE = (ROOT / "docs/requests.md").read_text()
NUMBER, NAME = "0198f3a2", "FP8ZW_p58atg87ozi0IOug"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return visited(tmp_path)


def typed() -> list[str]:
    """Return what follows `consent-mw` in each line of the page's blocks."""
    blocks = re.findall(r"^```console\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in re.findall(r"^\$ consent-mw (.+?)(?: +#.*)?$", block, re.MULTILINE)]


def test_what_the_page_types_works_in_its_order(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--directory", str(site.places.directory)]

    def asked(kind: str, *words: str) -> str:
        head = ["requests", "add", "--kind", kind, "--channel", "phone", "--received", "2026-11-23", "--json"]
        assert main([*head, *words, *where]) == 0
        return str(json.loads(capsys.readouterr().out)["number"])

    lines = typed()
    assert len(lines) == 13
    for line in lines:
        capsys.readouterr()
        about = ("erasure", "--purpose", "abuse", "--receipt", site.names[1]) if "grant" in line else ("complaint",)
        number = asked(*about) if NUMBER in line else ""
        words = [word.replace(NUMBER, number).replace(NAME, site.names[0]) for word in shlex.split(line)]
        code = main([*words, *where])
        said = capsys.readouterr().err
        assert code == 0 or (line.startswith("requests") and said.startswith("consent-mw: overdue: ")), (line, said)


def test_the_page_tells_every_kind_of_request_that_the_command_takes() -> None:
    assert [kind for kind in REQUEST_KINDS if f"`{kind}`" not in PAGE] == []
