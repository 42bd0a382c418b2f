"""After its end no file that was ever written tells anything of a visitor, byte by byte, crash or not."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.support.asgi import drive, scope
from tests.support.at_a_terminal import at_a_terminal
from tests.support.policies import POLICY
from tests.support.sites_with_records import DAY, END, HELD, HOUR, THEN, UTC_POLICY, SiteWithRecords
from tests.support.visitors import Visitor

from consent_mw import ConsentMiddleware, get_consent
from consent_mw.crypto.day_parts import of_label
from consent_mw.crypto.keyring import FileKeyring
from consent_mw.crypto.sealer import Sealer
from consent_mw.exceptions import KeyDestroyed
from consent_mw.system.days import day_of

ADDRESS = "2001:db8:5ec:7e7::4711"
SECRETS = {
    "address": ADDRESS,
    "path": "/비밀-path-5771",
    "query": "wanted=queried-5772",
    "agent": "Secret-Agent-5773/7.0 (none such)",
    "referer": "https://referer-5774.example/from/here",
    "event": 'event 비밀 5775 "quoted"',
    "abuse": "abuse 비밀 5776 \\ and / more",
    "waits": "비밀 waiting line 5777",
}
FULL = """
[log.necessary]
"client.address" = "full"
"url.path" = "full"
"url.query" = "full"
"user_agent.original" = "full"
"http.request.header.referer" = "full"
[log.analytics]
"client.address" = "full"
"user_agent.original" = "full"
[log.abuse]
"client.address" = "full"
"url.path" = "full"
[events.told]
purpose = "analytics"
fields = { what = "str" }
"""


def encodings(secret: str) -> set[bytes]:
    """Every form in which a text may stand in a file."""
    raws = {secret.encode(), secret.encode("utf-16-le"), secret.encode("utf-16-be")}
    if secret == ADDRESS:
        raws.add(bytes.fromhex("20010db805ec07e7") + bytes(6) + bytes.fromhex("4711"))
    forms = raws | {form for raw in raws for form in (raw.hex().encode(), raw.hex().upper().encode())}
    for raw in raws:
        for shift in range(3):  # where in a group of three bytes it begins; what its neighbours colour is cut off
            blob = base64.b64encode(b"\0" * shift + raw)
            forms |= {blob[4:-4], base64.urlsafe_b64encode(b"\0" * shift + raw)[4:-4]}
    forms |= {json.dumps(secret)[1:-1].encode(), json.dumps(secret, ensure_ascii=False)[1:-1].encode()}
    return forms | {quote(secret).encode(), quote(secret, safe="").encode(), secret.encode("unicode_escape")}


class Files:
    """Every file that was ever in a directory: linked, so that none is lost, and copied, so that none is cut."""

    def __init__(self, directory: Path, beside: Path) -> None:
        self._directory = directory
        self._beside = beside
        beside.mkdir()
        self._count = 0

    def keep(self, *, copies: bool = False) -> None:
        for path in self._directory.rglob("*"):
            if path.is_file():
                self._count += 1
                place = self._beside / f"{self._count}"
                if copies and path.name not in ("keys", "archive-keys"):
                    place.write_bytes(path.read_bytes())
                elif not copies:
                    os.link(path, place)

    def all(self) -> bytes:
        places = [*self._directory.rglob("*"), *self._beside.iterdir()]
        return b"\n".join(path.read_bytes() for path in places if path.is_file())


def readable(blob: bytes) -> set[str]:
    return {name for name, secret in SECRETS.items() if any(form in blob for form in encodings(secret))}


async def app(scope, receive, send):
    consent = get_consent(scope)
    if scope["path"] == SECRETS["path"]:
        consent.record_event("told", what=SECRETS["event"])
        consent.report_abuse(SECRETS["abuse"])
    cookie = b"theme=" + quote(SECRETS["waits"]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"set-cookie", cookie)]})
    await send({"type": "http.response.body", "body": b"x"})


async def visited(middleware: ConsentMiddleware, files: Files) -> None:
    """Play two visitors, one who accepts and one who wants to be asked, from the socket to the store."""
    headers = [(b"user-agent", SECRETS["agent"].encode()), (b"referer", SECRETS["referer"].encode())]
    seen: dict[str, Any] = {"headers": headers, "client": (ADDRESS, 1), "query_string": SECRETS["query"].encode()}
    for choice in ("accept", "prompt"):
        visitor = Visitor(middleware)
        await visitor.picks(choice)
        await visitor.gets(SECRETS["path"], **seen)
        files.keep(copies=True)
    await middleware.runtime.drain.once()
    files.keep(copies=True)
    await drive(middleware, scope(SECRETS["path"], **seen))  # and this one stays in the spool
    files.keep()
    files.keep(copies=True)


@pytest.mark.parametrize("held", ["", HELD], ids=["destroyed", "held first"])
def test_no_file_ever_written_tells_anything_after_the_end_and_without_sealing_each_does(tmp_path, held):
    policy = POLICY[: POLICY.index("[log.necessary]")] + FULL + held
    for seal in (True, False):
        root = tmp_path / str(seal)
        root.mkdir()
        (root / "policy.toml").write_text(policy if seal else policy + "[log]\nseal = false\n")
        files = Files(root / "consent-data", root / "links")
        keys = asyncio.run(story(root, files, seal=seal))
        blob = files.all()
        if seal:
            assert readable(blob) == set()
            assert [key for key in keys if key in blob] == []
        else:
            assert readable(blob) == set(SECRETS)


async def story(root: Path, files: Files, *, seal: bool) -> list[bytes]:
    middleware = ConsentMiddleware(app, policy=root / "policy.toml", secret_keys=["a secret key of the tests"])
    runtime, ring = middleware.runtime, middleware.runtime.sealer.keyring
    await runtime.drain.begin()  # which makes the keys of today and tomorrow: later they would not be among `live`
    await visited(middleware, files)
    before = files.all()
    live = ring.live()
    keys = [ring.key(day, purpose, create=False) for day, purpose in live]
    assert readable(before) == (set() if seal else set(SECRETS))
    assert all(key in before for key in keys)
    sealed = {of_label(label)[0] for _, label in live}
    assert not seal or sealed >= {"necessary", "analytics", "functional", "abuse", "receipts"}
    for years in (2, 8):  # the purposes, then the archive
        await runtime.drain.once()
        done = await runtime.destruction.once(datetime.now(UTC) + timedelta(days=366 * years))
        assert done.troubles == []
        files.keep()
        keys += archive_keys(runtime.places.archive_keys)
    files.keep(copies=True)
    assert ring.live() == []
    await runtime.drain.stop()
    return keys


def archive_keys(place: Path) -> list[bytes]:
    if not place.exists():
        return []
    ring = FileKeyring(place)
    return [ring.key(day, purpose, create=False) for day, purpose in ring.live()]


# -- SIGKILL -------------------------------------------------------------------------------------------------------

RUN = """
import asyncio, sys
from datetime import datetime
from pathlib import Path
from tests.support.sites_with_records import SiteWithRecords
site = SiteWithRecords(Path(sys.argv[1]), Path(sys.argv[1], "policy.toml").read_text())
print("ready", flush=True)
done = site.destroys(datetime.fromisoformat(sys.argv[2]))
assert done.troubles == [], done.troubles
print("done", flush=True)
"""


def test_a_destruction_that_is_killed_at_any_moment_is_completed_by_the_next(tmp_path):
    site = SiteWithRecords(tmp_path, UTC_POLICY + HELD)
    now = END + 600 * DAY
    ended, counts = [], {"necessary": 3_000, "abuse": 1_500, "analytics": 1_000}
    for purpose, count in counts.items():
        ended += [site.record(THEN + n * timedelta(seconds=20), purpose=purpose, secret=f"{n}") for n in range(count)]
    stays = [site.record(now - n * HOUR, purpose="analytics", secret="stays") for n in range(1, 50)]
    site.keeps(*ended, *stays)

    random.seed(4711)
    for _ in range(12):
        run = subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path), now.isoformat()], stdout=subprocess.PIPE)
        assert run.stdout is not None
        assert run.stdout.readline() == b"ready\n"
        time.sleep(random.uniform(0, 0.35))
        run.send_signal(signal.SIGKILL)
        run.communicate()
        # Whatever has happened: what is left of what was held can be read in one of the two places.
        assert held_somewhere(site) == counts["abuse"]
    done = site.destroys(now)
    assert done.troubles == []
    assert site.left(now) == []
    assert {record.id for record in site.records("visit")} == {record.id for record in stays}
    assert all(site.sealer.open(record) for record in site.records("visit"))
    certified = {record.data["certificate.purpose"]: record.data["certificate.records"]
                 for record in site.records("certificate")}  # fmt: skip
    assert certified == counts
    assert len(site.records("certificate")) == len(counts)


def held_somewhere(site: SiteWithRecords) -> int:
    """Count the records under `abuse` that can still be opened, live or in the archive."""
    ids = set()
    places = [(site.sealer, site.records("visit"))]
    if site.places.archive.exists():
        places.append(
            (Sealer.of_site(site.places, FileKeyring(site.places.archive_keys)), site.records("visit", archive=True))
        )
    for sealer, records in places:
        for record in records:
            try:
                if record.purpose == "abuse" and sealer.open(record):
                    ids.add(record.id)
            except KeyDestroyed:
                continue
    return len(ids)


KEYS = """
import sys
from consent_mw.crypto.keyring import FileKeyring
ring = FileKeyring(sys.argv[1])
print("ready", flush=True)
for day in range(int(sys.argv[2]), 1_000_000):
    print(day, ring.key(day, "necessary", create=True).hex(), flush=True)
    if day % 2:
        print(day, "gone" if ring.destroy(day, "necessary") else "not", flush=True)
"""


def test_a_key_that_was_given_survives_a_kill_and_one_that_was_destroyed_stays_so(tmp_path):
    path = tmp_path / "keys"
    given: dict[int, bytes] = {}
    gone: dict[int, bytes] = {}
    for round_ in range(6):
        run = subprocess.Popen([sys.executable, "-c", KEYS, str(path), str(round_ * 1_000)], stdout=subprocess.PIPE)
        assert run.stdout is not None
        assert run.stdout.readline() == b"ready\n"
        time.sleep(0.05)
        run.send_signal(signal.SIGKILL)
        lines = [line.split() for line in run.communicate()[0].decode().splitlines(keepends=True) if line[-1] == "\n"]
        for day, word in lines:
            if word == "gone":
                gone[int(day)] = given.pop(int(day))
            else:
                given[int(day)] = bytes.fromhex(word)
        last = max(given.keys() | gone.keys())
        if last % 2 and last in given:  # killed between the destruction and the word of it: either is right
            del given[last]
        ring, blob = FileKeyring(path), path.read_bytes()
        assert all(ring.key(day, "necessary", create=False) == key for day, key in given.items())
        assert not any(key in blob for key in gone.values())
        assert not {day for day, _ in ring.live()} & gone.keys()


# -- a full disk, and the command ----------------------------------------------------------------------------------

FULL_DISK = """
import resource, sys
from datetime import datetime
from pathlib import Path
from tests.support.sites_with_records import SiteWithRecords
site = SiteWithRecords(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
done = site.destroys(datetime.fromisoformat(sys.argv[2]))
print(done.keys, done.certificates, len(done.troubles))
"""


def test_on_a_full_disk_keys_are_destroyed_all_the_same(tmp_path):
    site = SiteWithRecords(tmp_path)
    site.keeps(*(site.record(THEN + n * timedelta(seconds=1), secret="x" * 200) for n in range(3_000)))
    key = site.sealer.keyring.key(day_of(THEN), "necessary", create=False)
    now = (END + DAY).isoformat()
    # Nothing may be written behind the end of the key file: no log of the database, so no deletion.
    limit = site.places.keys.stat().st_size
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path), now, str(limit)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert (said[0], said[1]) == ("1", "0")
    assert int(said[2]) > 0
    assert key not in site.places.keys.read_bytes()
    assert len(site.records("visit")) == 3_000
    assert site.destroys(END + DAY).certificates == 1


def purged(site: SiteWithRecords, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "consent_mw", "purge", "--policy", str(site.file), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_command_lists_what_is_overdue_destroys_it_and_is_content(tmp_path):
    site = SiteWithRecords(tmp_path)
    site.keeps(*(site.record(THEN + n * HOUR, secret="/") for n in range(3)))
    dry = purged(site, "--dry-run")
    assert dry.returncode == 1
    assert [line.split() for line in dry.stdout.splitlines()][1] == [
        "2024-11-23", "necessary", "live", "live", "3", "overdue"]  # fmt: skip
    assert len(site.records("visit")) == 3
    done = purged(site)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "destroyed: 1 keys, 3 records; 1 certificates written\n"
    again = json.loads(purged(site, "--json").stdout)
    assert (again["done"]["records"], again["left"]) == (0, [])
    assert purged(site, "--dry-run").stdout == "nothing has ended that is still there\n"


def test_the_command_says_what_is_missing_and_how_to_mend_it(tmp_path):
    site = SiteWithRecords(tmp_path)
    absent = purged(site)
    assert absent.returncode == 1
    assert absent.stderr.startswith(f"consent-mw: {site.places.database}: there is no log here; run the site first")
    site.keeps(site.record(THEN, secret="/"))
    ring = site.sealer.keyring.name
    site.places.keys.rename(tmp_path / "elsewhere")
    away = purged(site)
    assert away.returncode == 1
    assert f"1 records of keyring {ring} overdue; keyring {ring} is not here; run this where it is" in away.stderr
    assert len(site.records("visit")) == 1
    assert not site.places.keys.exists()
    assert "Traceback" not in absent.stderr + away.stderr
    assert purged(site, "--lost", ring).returncode == 0
    assert site.records("visit") == []


def test_at_a_terminal_the_command_shows_how_far_it_is(tmp_path):
    site = SiteWithRecords(tmp_path)
    site.keeps(*(site.record(THEN + n * HOUR, secret="/") for n in range(3)))
    seen = at_a_terminal(["purge", "--policy", str(site.file)], b"")
    assert "destroying" in seen
    assert "destroyed: 1 keys, 3 records" in seen


def test_the_command_says_when_another_process_is_at_it(tmp_path):
    site = SiteWithRecords(tmp_path)
    site.keeps(site.record(THEN, secret="/"))
    with site.places.destruction_lock.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        said = purged(site)
    assert said.returncode == 1
    assert said.stderr.endswith("destruction.lock: another process destroys at this moment; nothing was done here\n")


def test_a_running_site_destroys_by_itself(tmp_path):
    site = SiteWithRecords(tmp_path)
    site.keeps(site.record(THEN, secret="/"))

    async def run() -> None:
        async def nothing(scope, receive, send):
            raise AssertionError

        middleware = ConsentMiddleware(nothing, policy=site.file, secret_keys=["a secret key of the tests"])
        task = asyncio.ensure_future(middleware.runtime.destruction.keep_on(time.time_ns, every_seconds=0.01))
        await asyncio.to_thread(wait_for_certificate)
        task.cancel()
        await middleware.runtime.drain.stop()

    def wait_for_certificate() -> None:
        while not site.records("certificate"):
            time.sleep(0.05)

    asyncio.run(asyncio.wait_for(run(), 60))
    assert site.records("visit") == []
    assert len(site.records("certificate")) == 1
