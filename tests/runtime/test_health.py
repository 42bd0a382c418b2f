"""What a load balancer is told: off unless asked for, true of the spool, nothing of anybody, and not in the log."""

from __future__ import annotations

from pathlib import Path

from tests.support.asgi import drive, scope
from tests.support.my_data_site import records, run, site

PATHS = ("/consent/health", "/consent/health/ready", "/consent/health/live")


def test_a_process_says_whether_what_it_is_given_would_be_kept(tmp_path: Path) -> None:
    async def work() -> None:
        app = site(tmp_path, health=True)

        async def statuses() -> list[int]:
            return [(await drive(app, scope(path)))[0]["status"] for path in PATHS]

        sent = await drive(app, scope(PATHS[0]))
        assert sent[1]["body"] == b'{"live":true,"ready":true}'
        assert not [name for name, _ in sent[0]["headers"] if name == b"set-cookie"]
        assert await statuses() == [200, 200, 200]
        spool = app.runtime.storage.spool
        kept = spool.directory.rename(tmp_path / "away")
        spool._counted_until = 0.0  # a second has gone by
        assert await statuses() == [503, 503, 200]
        kept.rename(spool.directory)
        spool._broken_until = 0.0  # and another
        assert await statuses() == [200, 200, 200]
        assert (await drive(app, scope(PATHS[0], method="POST")))[0]["status"] == 405
        assert await records(app, "visit") == []

    run(work)


def test_it_is_off_unless_asked_for(tmp_path: Path) -> None:
    async def work() -> None:
        sent = await drive(site(tmp_path), scope(PATHS[0]))
        assert sent[0]["status"] == 404
        assert b"ready" not in b"".join(message.get("body", b"") for message in sent)

    run(work)
