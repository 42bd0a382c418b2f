"""A host that comes out of an image, made before the others certified its keys gone, destroys them before it serves."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.commands import run
from tests.support.fleet import Host, Visitor, another, fleet, purging, until
from tests.support.key_search import files_with, keys_of
from tests.support.postgres import PostgresServer
from tests.support.wire import wire

from consent_mw.crypto.day_parts import of_label

pytestmark = pytest.mark.timeout(400)
AHEAD = int(timedelta(days=450).total_seconds())


def certificates(host: Host) -> list[dict[str, Any]]:
    """Those of keys that several hosts had."""
    words = ("log", "-n", "1000", "--kind", "certificate", "--json", "--store", host.store)
    lines = run(*words, cwd=host.directory, ahead=AHEAD).stdout.splitlines()
    return [row for row in map(json.loads, lines) if "certificate.holders" in row]


def names(rows: list[dict[str, Any]]) -> Counter[tuple[str, str]]:
    return Counter((row["certificate.day"], row["certificate.purpose"]) for row in rows)


def certified(hosts: list[Host]) -> list[dict[str, Any]]:
    for process in [purging(host, AHEAD) for host in hosts]:
        process.wait(120)
    return certificates(hosts[0])


def drained(hosts: list[Host]) -> None:
    """Wait until nothing waits in the spools. A record gets there only once its response has left."""

    def is_drained() -> bool:
        return not [path for host in hosts for path in host.data.glob("spool/*.spool1")]

    until(is_drained)
    time.sleep(1)
    until(is_drained)


def read_on_both(hosts: list[Host]) -> None:
    """Wait until what a new visitor does on each host is read on both."""
    with closing(Visitor()) as lee:
        lee.accept(hosts[1])
        for host in hosts:
            lee.get(host, "/search")
        until(lambda: all(held(lee, host) == (4, True) for host in hosts))


def test_a_host_out_of_an_image_opens_nothing_that_was_certified(tmp_path: Path, postgres: PostgresServer) -> None:
    (tmp_path / "ahead").write_text("0")
    with fleet(tmp_path, postgres, "one", "two") as hosts, closing(Visitor()) as kim:
        one, two = hosts
        kim.accept(one)
        for host in hosts:
            kim.get(host, "/search")
        until(lambda: bool(keys_of(two)[1] or keys_of(one)[1]) and len(kim.held(two)["held"]) > 0)
        own = keys_of(two)[0]
        two.kill()
        # What waits in a spool would come out of the image once more, and be deleted and certified once more.
        shutil.copytree(two.data, tmp_path / "image", ignore=shutil.ignore_patterns("spool"))
        former = two.id
        two.begin_again()
        drained(hosts)  # what comes later than its day is certified is in another certificate of that day
        (tmp_path / "ahead").write_text(str(AHEAD))
        until(lambda: len(certified(hosts)) > 0)
        rows = certificates(one)
        over = {
            key
            for place, key in own.items()
            if (str(datetime.fromtimestamp(place.day * 86_400, UTC).date()), of_label(place.label)[0]) in names(rows)
        }
        assert over
        assert all(former[:8] in row["certificate.holders"] for row in rows)

        # Its keys of this day go with its disk: what it has not shared by then stays out of reach, as My data says.
        read_on_both(hosts)
        two.kill()
        shutil.rmtree(two.data)
        shutil.copytree(tmp_path / "image", two.data)
        assert files_with(over, two.data) == {"keys"}, "the control: the image has them"
        two.begin_again()
        assert files_with(over, two.data) == set()
        until(lambda: two.id != former and "another machine says that it is this host" in two.said)

        read_on_both(hosts)
        again = names(certified(hosts))
        assert set(again.values()) == {1}
        assert again.keys() >= names(rows).keys()


def test_two_clones_hand_over_what_waited_once(tmp_path: Path, postgres: PostgresServer) -> None:
    with (
        fleet(tmp_path, postgres, "one") as (one,),
        wire(postgres.port) as cable,
        another(one, "far") as far,
        another(one, "left") as left,
        another(one, "right") as right,
        closing(Visitor()) as kim,
    ):
        kim.accept(one)
        direct = postgres.tcp_url(database=one.store.rpartition("/")[2].partition("?")[0])
        far.store = direct.replace(f":{postgres.port}/", f":{cable.port}/")
        far.begin_again()
        until(lambda: bool(keys_of(far)[1]))
        cable.stop()
        for _ in range(5):
            assert kim.get(far, "/search").text == "found"
        far.kill()
        clones = [left, right]
        for clone in clones:
            shutil.copytree(far.data, clone.data)
            clone.begin()
        for clone in clones:
            clone.wait()
            kim.get(clone, "/search")
        until(lambda: left.id != right.id)
        until(lambda: all(held(kim, host) == (14, True) for host in (one, *clones)))


def test_a_copy_of_a_running_host_lists_who_read_what_once(tmp_path: Path, postgres: PostgresServer) -> None:
    with fleet(tmp_path, postgres, "one", "two") as (one, two), another(one, "copy") as copy:
        read(one, "before the copy")
        shutil.copytree(one.data, copy.data)
        former = one.id
        copy.begin_again()
        until(lambda: one.id != former)
        hosts = (one, two, copy)
        assert "the store has lost" not in "".join(host.said for host in hosts)
        read(one, "after it")
        until(lambda: all(reasons(host) == ["before the copy", "after it"] for host in hosts))
        assert [doctor(host) for host in hosts] == ["audit: well"] * 3
        read(copy, "on the copy")
        until(lambda: all(reasons(host) == ["before the copy", "after it", "on the copy"] for host in hosts))
        assert [doctor(host) for host in hosts] == ["audit: well"] * 3


def test_two_that_wrote_one_chain_are_named_by_doctor_on_each_host(tmp_path: Path, postgres: PostgresServer) -> None:
    with fleet(tmp_path, postgres, "one", "two") as (one, two), another(one, "copy") as copy:
        read(one, "before the copy")
        shutil.copytree(one.data, copy.data)
        read(one, "before it is noticed")
        until(lambda: "before it is noticed" in reasons(two))
        former = one.id
        copy.begin_again()
        until(lambda: one.id != former)
        read(copy, "on the copy")
        until(lambda: "audit: well" not in map(doctor, (one, two, copy)))


def read(host: Host, reason: str) -> None:
    run("log", "--purpose", "analytics", "--reason", reason, "--store", host.store, cwd=host.directory)


def reasons(host: Host) -> list[str]:
    lines = run("audit", "--json", cwd=host.directory).stdout.splitlines()
    return [row["reason"] for row in map(json.loads, lines) if "reason" in row]


def doctor(host: Host) -> str:
    lines = run("doctor", "--quick", "--store", host.store, cwd=host.directory).stdout.splitlines()
    return next(line for line in lines if line.startswith("audit"))


def held(visitor: Visitor, host: Host) -> tuple[int, bool]:
    document = visitor.held(host)
    return sum(part["count"] for part in document["held"] if part["purpose"] == "analytics"), document["complete"]
