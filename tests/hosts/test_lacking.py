"""What a host lacks of what the others have stands in `consent-mw hosts`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.one_host import DAY, OneHost, settle

from consent_mw.cli import main
from consent_mw.stores.sqlite import SQLiteStore
from consent_mw.system.days import day_text


def _command(host: OneHost, url: str, capsys: pytest.CaptureFixture[str]) -> tuple[str, dict[str, Any]]:
    words = ["hosts", "list", "--directory", str(host.places.directory), "--store", url]
    main(words)
    table = capsys.readouterr().out
    main([*words, "--json"])
    return table, {lack["what"]: lack for lack in json.loads(capsys.readouterr().out)["lacks"]}


def test_a_new_host_lists_what_it_lacks_until_it_has_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path / 'store.sqlite3'}"
    with asyncio.Runner() as runner:
        store = SQLiteStore(tmp_path / "store.sqlite3")
        runner.run(store.open())
        one, new = (OneHost(tmp_path / name, store) for name in ("one", "new"))
        worded = one.wordings.keep("What visitors saw")
        runner.run(one.agree())
        runner.run(settle(one))
        new.places.host_book.touch()  # as it stands when a start begins to write it

        table, lacks = _command(new, url, capsys)
        assert lacks.keys() == {"messages", "wording"}
        assert lacks["wording"]["which"] == [worded]
        assert worded in table

        runner.run(new.hosts.sync())  # while the other one does not run
        table, lacks = _command(new, url, capsys)
        assert lacks.keys() == {"key"}
        assert lacks["key"]["host"] == new.keyring.view.name(one.keyring.identity.id)
        assert f"{day_text(DAY)} analytics" in lacks["key"]["which"]
        assert "keys" in table

        runner.run(settle(one, new))
        table, lacks = _command(new, url, capsys)
        assert lacks == {}
        assert "lacks" not in table
        runner.run(store.close())
