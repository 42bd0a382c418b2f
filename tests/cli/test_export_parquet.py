"""What `consent-mw export --format parquet` writes, as another database reads it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.at_a_terminal import at_a_terminal
from tests.support.commands import Ran, run
from tests.support.policies import POLICY
from tests.support.sites_of_commands import NOON, VISIT, Site

from consent_mw.cli import main
from consent_mw.exports.parquet import Parquet
from consent_mw.exports.spreadsheet import COLUMNS
from consent_mw.policy.loader import loads
from consent_mw.policy.revisions import Revisions

duckdb = pytest.importorskip("duckdb", reason="pip install --group dev")

BECAUSE = ("--reason", "a test")
OTHER = """[events.bought]
purpose = "marketing"
fields = { price = "float", paid = "bool", results = "str" }
"""


@pytest.fixture
def site(tmp_path: Path) -> Generator[Site]:
    site = Site(tmp_path / "consent-data")
    Revisions(site.places.revisions).keep(loads(POLICY + OTHER), POLICY + OTHER)
    site.append(
        site.record(NOON, clear=VISIT, url__path="/책\n\x1b[2J", client__address="192.0.2.0"),
        site.record(NOON + 1_000, "event", "analytics", {"event.name": "search"}, event__results=12),
        site.record(NOON + 2_000, "event", "marketing", {"event.name": "bought"}, event__price=2, event__paid=True),
    )
    yield site
    site.keyring.close()


def export(site: Site, output: Path, *options: object) -> Ran:
    return run("export", "--directory", site.places.directory, "--format", "parquet", "--output", output, *options)


def exported(site: Site, output: Path, *options: object) -> Path:
    done = export(site, output, *options)
    assert done.returncode == 0, done.stderr
    return output


def read(output: Path, query: str) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = duckdb.sql(query.replace("FILE", f"'{output}'")).fetchall()
    return rows


def types(output: Path) -> dict[str, str]:
    return {name: kind for name, kind, *_ in read(output, "DESCRIBE SELECT * FROM FILE")}


def test_an_export_of_one_purpose_has_its_opened_fields_and_no_others(site: Site, tmp_path: Path) -> None:
    output = exported(site, tmp_path / "x.parquet", "--purpose", "necessary", *BECAUSE)
    names = '"url.path", "client.address", "http.response.status_code", "http.server.request.duration", sealed'
    assert read(output, f"SELECT {names} FROM FILE") == [("/책\n\x1b[2J", "192.0.2.0", 200, 0.0123, None)]
    assert read(output, "SELECT epoch_ms(time) FROM FILE") == [(NOON // 1_000_000,)]
    kinds = types(output)
    assert kinds["time"] == "TIMESTAMP WITH TIME ZONE"
    assert (kinds["http.response.status_code"], kinds["http.server.request.duration"]) == ("BIGINT", "DOUBLE")


@pytest.mark.parametrize("options", [(), ("--purpose", "analytics")], ids=["no purpose", "no reason"])
def test_without_purpose_and_reason_personal_fields_stay_sealed(
    site: Site, tmp_path: Path, options: tuple[str, ...]
) -> None:
    done = export(site, output := tmp_path / "x.parquet", *options)
    assert "personal fields of" in done.stderr
    assert {sealed for (sealed,) in read(output, "SELECT sealed FROM FILE")} == {"sealed"}
    assert read(output, 'SELECT count("url.path"), count("event.results") FROM FILE') == [(0, 0)]
    assert b"192.0.2.0" not in output.read_bytes()
    assert not site.places.audit.exists()


def test_declared_fields_have_the_type_of_their_declaration(site: Site, tmp_path: Path) -> None:
    output = exported(site, tmp_path / "x.parquet", "--purpose", "marketing", *BECAUSE)
    assert read(output, 'SELECT "event.price", "event.paid" FROM FILE') == [(2.0, True)]
    assert types(output)["event.results"] == "VARCHAR"
    output = exported(site, tmp_path / "y.parquet", "--purpose", "analytics", *BECAUSE)
    assert read(output, 'SELECT "event.results" FROM FILE') == [(12,)]


def test_what_differs_in_its_declarations_is_text_and_nothing_is_lost(site: Site, tmp_path: Path) -> None:
    output = exported(site, tmp_path / "x.parquet")
    assert types(output)["event.results"] == "VARCHAR"
    form = Parquet({"event.results": int})
    rows = [{"time": "2026-11-23T12:00:00.123+09:00", "kind": "event", "event.results": value, "odd": [1]}
            for value in ("many", 1 << 70, 3, True)]  # fmt: skip
    output.write_bytes(form.head() + form.page(rows) + form.page([]) + form.tail())
    assert read(output, 'SELECT "event.results" FROM FILE') == [(None,), (None,), (3,), (None,)]
    more = [json.loads(text) for (text,) in read(output, "SELECT more FROM FILE")]
    assert more == [{"event.results": value, "odd": [1]} for value in ("many", 1 << 70)] + [
        {"odd": [1]},
        {"event.results": True, "odd": [1]},
    ]
    assert {at.astimezone(UTC) for (at,) in read(output, "SELECT time FROM FILE")} == {
        datetime(2026, 11, 23, 3, 0, 0, 123_000, UTC)
    }


def test_many_records_are_written_page_by_page_and_an_empty_file_has_its_columns(site: Site, tmp_path: Path) -> None:
    site.append(*(site.record(NOON + n * 1_000_000, clear=VISIT, url__path=f"/{n}") for n in range(2_500)))
    output = exported(site, tmp_path / "x.parquet", "--purpose", "necessary", *BECAUSE)
    assert read(output, 'SELECT count(*), count(DISTINCT "url.path") FROM FILE') == [(2_501, 2_501)]
    groups = read(output, "SELECT count(DISTINCT row_group_id) FROM parquet_metadata(FILE)")
    assert groups == [(3,)], "a page of a thousand records is a group"
    output = exported(site, tmp_path / "y.parquet", "--since", "2027-01-01")
    assert read(output, "SELECT count(*) FROM FILE") == [(0,)]
    assert list(types(output)) == [*COLUMNS, "event.paid", "event.price", "event.results", "sealed", "more"]


def test_a_terminal_is_spared_and_a_pipe_is_not(site: Site, tmp_path: Path) -> None:
    arguments = ["export", "--directory", str(site.places.directory), "--format", "parquet"]
    assert "add --output FILE" in at_a_terminal(arguments, b"")
    program = [sys.executable, "-m", "consent_mw", *arguments]
    (piped := tmp_path / "x.parquet").write_bytes(subprocess.run(program, capture_output=True, check=True).stdout)
    assert read(piped, "SELECT count(*) FROM FILE") == [(3,)]


def test_without_the_extra_the_command_says_how_to_install_it_and_no_access_is_recorded(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # as Python marks a module that is not there
    words = ["export", "--directory", str(site.places.directory), "--format", "parquet"]
    assert main([*words, "--purpose", "necessary", *BECAUSE, "--output", str(tmp_path / "x.parquet")]) == 1
    assert "pip install 'consent-mw[parquet]'" in capsys.readouterr().err
    assert not (tmp_path / "x.parquet").exists()
    assert not site.places.audit.exists()
