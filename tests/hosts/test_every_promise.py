"""
Each promise of a site holds on each of its hosts, whichever a load balancer picks: three processes with a directory
each, one PostgreSQL, nginx before them. One fleet for all tests; those that move its clock stand at the end.
"""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from tests.support.commands import Ran, run
from tests.support.fleet import Front, Host, Visitor, another, fleet, until
from tests.support.nginx import load_balancer
from tests.support.policies import POLICY
from tests.support.postgres import PostgresServer

from consent_mw.hosts.audit_shelf import chains_in
from consent_mw.policy.loader import loads

pytestmark = pytest.mark.timeout(400)

#: Counted by its days in UTC.
SITE_POLICY = POLICY.replace('"Asia/Seoul"', '"UTC"')
BECAUSE = ("--reason", "a test")


class Fleet(NamedTuple):
    """Three hosts, what stands before them, and the file that says how far their clocks are ahead."""

    hosts: list[Host]
    front: Front
    ahead: Path

    @property
    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=int(self.ahead.read_text()))

    def pass_time(self, duration: timedelta) -> None:
        self.ahead.write_text(str(int(self.ahead.read_text()) + int(duration.total_seconds())))

    def command(self, host: Host, *words: object) -> Ran:
        """Run a command of an operator on a host."""
        named = () if words[0] == "publish" else ("--store", host.store)
        return run(*words, *named, cwd=host.directory, ahead=int(self.ahead.read_text()))

    def printed(self, host: Host, *words: object) -> list[dict[str, Any]]:
        """Return what a command says, an object a line."""
        done = self.command(host, *words, "--json")
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Generator[Fleet]:
    place = tmp_path_factory.mktemp("fleet")
    # At noon no day ends while it is looked at.
    ahead = datetime.now(UTC).replace(hour=12, minute=0).timestamp() - time.time()
    (place / "ahead").write_text(str(int(ahead)))
    with fleet(place, postgres, "one", "two", "three", policy=SITE_POLICY) as hosts:
        (place / "nginx").mkdir()
        with load_balancer([host.port for host in hosts], place / "nginx") as url:
            yield Fleet(hosts, Front(url), place / "ahead")


@pytest.fixture
def visitors() -> Generator[Callable[..., Visitor]]:
    with ExitStack() as stack:
        yield lambda *browser: stack.enter_context(closing(Visitor(*browser)))


@pytest.fixture
def kim(visitors: Callable[..., Visitor]) -> Visitor:
    return visitors()


@pytest.fixture
def lee(visitors: Callable[..., Visitor]) -> Visitor:
    return visitors()


def rows(site: Fleet, query: str, *values: Any) -> list[tuple[Any, ...]]:
    with closing(psycopg.connect(site.hosts[0].store, autocommit=True)) as connection:
        return connection.execute(query.encode(), values).fetchall()


def held(visitor: Visitor, place: Host | Front, purpose: str = "analytics") -> int:
    """How many records of a purpose a visitor is shown."""
    return sum(part["count"] for part in visitor.held(place)["held"] if part["purpose"] == purpose)


def searches(visitor: Visitor, site: Fleet, times: int = 6) -> set[str]:
    """Search so often, wherever the balancer sends one; return which hosts answered, as soon as all show it."""
    before = held(visitor, site.front)
    asked = [visitor.get(site.front, "/search").headers["X-Host"] for _ in range(times)]
    until(lambda: all(held(visitor, host) == before + 2 * times for host in site.hosts))  # a visit and an event each
    return set(asked)


def ask(visitor: Visitor, site: Fleet, **said: Any) -> dict[str, Any]:
    """Ask for something on the page of one's data, and return what was done."""
    answer = visitor.post(site.front, "/consent/my-data", json=said)
    assert answer.status_code == 200, answer.text
    done: dict[str, Any] = answer.json()
    return done


# -- see, download, prove ------------------------------------------------------------------------------------------


def test_what_all_hosts_recorded_is_seen_and_downloaded_from_each(site: Fleet, kim: Visitor) -> None:
    kim.accept(site.front)
    assert len(searches(kim, site)) == 3, "the balancer has to send one visitor to every host"
    documents = [kim.held(host) for host in site.hosts]
    assert all(document["complete"] for document in documents)
    assert documents[0]["held"] == documents[1]["held"] == documents[2]["held"]
    for host in site.hosts:
        table = csv.DictReader(io.StringIO(kim.get(host, "/consent/my-data.csv").text.removeprefix("\ufeff")))
        assert sum(row["purpose"] == "analytics" for row in table) == 12
        assert kim.get(host, "/consent/my-data.html").text.count("/search") >= 6


def test_a_receipt_is_proven_on_each_host_and_leads_to_its_holder(site: Fleet, kim: Visitor, tmp_path: Path) -> None:
    kim.accept(site.front)
    until(lambda: all(len(kim.held(host)["receipts"]) == 1 for host in site.hosts))
    document = kim.get(site.front, "/consent/receipt.json")
    (tmp_path / "receipt.json").write_bytes(document.content)
    name = document.json()["receipts"][0]["pii_principal_id"]
    for host in site.hosts:
        (verdict,) = site.printed(host, "receipt", "verify", tmp_path / "receipt.json", *BECAUSE)
        assert verdict["proven"], verdict
        today = site.now.date()
        done = site.command(host, "requests", "add", "--kind", "access", "--channel", "phone", "--received", today,
                            "--receipt", name, "--phone", "02-120")  # fmt: skip
        assert done.returncode == 0, done.stderr
    until(lambda: all(len(kim.held(host)["requests"]) == 3 for host in site.hosts))


# -- what is asked for ---------------------------------------------------------------------------------------------


def test_a_restriction_holds_on_each_host_and_is_lifted_from_any(site: Fleet, kim: Visitor, lee: Visitor) -> None:
    kim.accept(site.front)
    lee.accept(site.front)
    searches(kim, site)
    searches(lee, site, 3)
    since = ("--since", (site.now - timedelta(hours=1)).isoformat())
    read = ("--purpose", "analytics", *BECAUSE, *since)
    give = ("disclose", "add", "--to", "x", "--basis", "consent", "--purpose", "analytics", *since)
    free = [len(site.printed(host, "export", *read)) for host in site.hosts]
    assert free[0] == free[1] == free[2] >= 18
    ask(kim, site, action="restrict")
    for host in site.hosts:
        until(lambda host=host: kim.held(host)["restricted"])  # type: ignore[misc]  # it infers no lambda with a default
        assert not lee.held(host)["restricted"]
        until(lambda host=host: len(site.printed(host, "export", *read)) == free[0] - 12)  # type: ignore[misc]  # it infers no lambda with a default
        assert len(site.printed(host, "log", "-n", "1000", *read)) == free[0] - 12
        (given,) = site.printed(host, *give)
        assert given["left_out"] == 12
    until(lambda: all(len(lee.held(host)["disclosures"]) == 3 for host in site.hosts))
    ask(kim, site, action="lift")
    until(lambda: all(len(site.printed(host, "export", *read)) == free[0] for host in site.hosts))


def test_a_withdrawal_reaches_what_each_host_recorded(site: Fleet, kim: Visitor) -> None:
    kim.accept(site.front)
    searches(kim, site)
    ask(kim, site, action="withdraw", purpose=["analytics"])
    until(lambda: all(held(kim, host) == 0 for host in site.hosts))
    for host in site.hosts:
        state = kim.get(host, "/consent/state").json()
        assert not state["purposes"]["analytics"], state
        assert state["purposes"]["functional"], state


def waiting(kim: Visitor, host: Host | Front) -> list[str]:
    return [cookie["id"] for cookie in kim.get(host, "/consent/state").json()["waiting"]]


def test_a_cookie_that_waits_on_one_host_is_allowed_on_another(site: Fleet, kim: Visitor) -> None:
    hosts = site.hosts
    kim.get(hosts[0], "/")
    kim.post(hosts[0], "/consent/choice", data={"choice": "prompt"})
    # The first time on a busy machine, a store may take too long: then the cookie is blocked, and set again.
    until(lambda: kim.get(hosts[0], "/").is_success and bool(waiting(kim, hosts[0])), 60)
    until(lambda: all(waiting(kim, host) for host in hosts), 60)
    (waits_for_kim,) = waiting(kim, hosts[1])
    allowed = kim.post(hosts[2], "/consent/choice", data={"answer": "allow", "waiting": [waits_for_kim]})
    assert any(line.startswith("theme=dark") for line in allowed.headers.get_list("set-cookie"))


def test_what_staff_answer_on_one_host_is_read_on_each(site: Fleet, kim: Visitor) -> None:
    kim.accept(site.front)
    said = {"action": "dispute", "message": "this is wrong", "email": "kim@example.com"}
    number = ask(kim, site, **said)["done"]["number"]
    show = ("requests", "show", number, "--reason", "due")
    until(lambda: all("this is wrong" in site.command(host, *show).stdout for host in site.hosts))
    due = {site.printed(host, "requests", "list")[0]["due"] for host in site.hosts}
    assert len(due) == 1
    assert site.command(site.hosts[1], "requests", "refuse", number, "--reason", "it was right").returncode == 0
    for host in site.hosts:
        (request,) = kim.held(host)["requests"]
        assert [answer["reason"] for answer in request["answers"]] == ["it was right"]


def waits(kim: Visitor, host: Host, address: str) -> tuple[str, bool]:
    """How an erasure stands, and whether it waits for another host."""
    done = kim.get(host, address, headers={"Accept": "application/json"}).json()["done"]
    return done["state"], done["waits_for_hosts"]


def test_a_host_that_is_killed_costs_no_answer_and_an_erasure_waits_for_it(site: Fleet, kim: Visitor) -> None:
    kim.accept(site.front)
    searches(kim, site, 3)
    (mine,) = rows(site, "SELECT subject FROM consent_mw.records WHERE kind = 'event' ORDER BY id DESC LIMIT 1")
    left = "SELECT count(*) FROM consent_mw.records WHERE subject = %s AND kind IN ('event', 'visit')"
    assert rows(site, left, *mine) == [(6,)], "one visitor has one token on all hosts"
    site.hosts[2].kill()
    assert [kim.get(site.front, "/search").text for _ in range(6)] == ["found"] * 6
    address = ask(kim, site, action="erase", confirm="yes")["address"]
    until(lambda: rows(site, left, *mine) == [(0,)])
    # What the third has not handed over nobody knows: it is waited for, by name, on every host.
    until(lambda: all(waits(kim, host, address) == ("open", True) for host in site.hosts[:2]))
    erased = "SELECT count(*) FROM consent_mw.records WHERE kind = 'erased'"
    certified = rows(site, erased)
    site.hosts[2].begin()
    site.hosts[2].wait()
    until(lambda: all(waits(kim, host, address) == ("done", False) for host in site.hosts))
    assert rows(site, erased) > certified
    assert rows(site, left, *mine) == [(0,)]


# -- what the site does --------------------------------------------------------------------------------------------


def test_what_is_published_on_one_host_is_announced_by_each_and_taken_early_by_none(site: Fleet, kim: Visitor) -> None:
    hosts, today = site.hosts, site.now.astimezone(loads(SITE_POLICY).time_zone).date()
    kim.accept(site.front)
    later = SITE_POLICY.replace("revision = 1", "revision = 2").replace('"13 months"', '"14 months"', 1)
    later = later.replace("= 2026-11-23", f"= {today}", 1).replace("= 2026-11-23", f"= {today + timedelta(60)}", 1)
    with another(hosts[0], "fresh", later) as fresh:
        fresh.begin()
        until(lambda: not fresh.is_running)
        assert "revision 2 was never published" in fresh.said
        # Typed where no site runs: this directory has the keys of the site, and no later revision.
        done = site.command(fresh, "publish", "policy.toml", "--store", fresh.store)
        assert done.returncode == 0, done.stderr
        until(lambda: all(kim.get(host, "/consent/policy/2").status_code == 200 for host in hosts))
        fresh.begin()
        fresh.wait()
        for host in (*hosts, fresh):
            state = kim.get(host, "/consent/state").json()
            assert (state["revision"], state["choice"]) == (1, "accept")
        fresh.end()
        site.command(fresh, "purge", "--policy", "policy.toml")  # whose file is of the one to come
        listed = json.loads(site.command(hosts[0], "hosts", "--json").stdout)["hosts"]
        assert [host["revision"] for host in listed if host["id"] == fresh.id] == [1]
    done = site.command(hosts[0], "hosts", "retire", fresh.id, "--reason", "gone", "--although-at-work")
    assert done.returncode == 0, done.stderr


def told_accesses(host: Host) -> set[object]:
    """The reasons for which somebody read something on any host, as this one has heard."""
    return {entry.facts.get("reason") for chain in chains_in(host.data / "audit-of-hosts") for entry in chain.entries}


def is_contradicted(host: Host) -> bool:
    return any("told it twice" in chain.verdict.broken for chain in chains_in(host.data / "audit-of-hosts"))


def test_each_host_lists_who_read_what_on_all_and_finds_a_chain_that_was_cut(site: Fleet, kim: Visitor) -> None:
    hosts, last = site.hosts, site.hosts[2]
    wanted = {f"ticket {number}" for number in range(3)}
    for number, host in enumerate(hosts):
        site.printed(host, "log", "--purpose", "necessary", "--reason", f"ticket {number}")
    until(lambda: all(wanted <= told_accesses(host) for host in hosts))
    assert wanted <= {row.get("reason") for row in site.printed(hosts[1], "audit", "-n", 1000)}
    done = site.command(hosts[0], "audit", "verify")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("as it told the other hosts") >= 3
    for name in ("audit.jsonl", "audit.head", "audit.seen"):  # as somebody would who may write everything there
        (last.data / name).unlink()
    done = site.command(last, "audit", "verify")
    assert (done.returncode, "this host: entry 1 is missing" in done.stderr) == (1, True), done.stderr
    site.printed(last, "log", "--purpose", "necessary", "--reason", "ticket 3")
    until(lambda: all(is_contradicted(host) for host in hosts))
    done = site.command(hosts[0], "audit", "verify")
    assert (done.returncode, "told it twice" in done.stderr) == (1, True), done.stderr
    assert wanted <= told_accesses(hosts[0])


def known_erasures(host: Host) -> int:
    """Return how many entries about erasures a host has: of other hosts, or of its own where it was the quicker one."""
    files = [host.data / "erasures.jsonl", host.data / "erasures-of-hosts.jsonl"]
    return sum(file.read_bytes().count(b"tokens") for file in files if file.exists())


def test_after_a_restore_the_others_erase_again_what_a_host_that_is_gone_had_erased(site: Fleet, kim: Visitor) -> None:
    first, events = site.hosts[0], "SELECT count(*) FROM consent_mw.records WHERE kind = 'event'"
    with another(first, "eraser", SITE_POLICY) as eraser:
        eraser.begin()
        eraser.wait()
        before, known = rows(site, events), [known_erasures(host) for host in site.hosts]
        kim.accept(eraser)
        kim.get(eraser, "/search")
        until(lambda: rows(site, events) != before)
        with closing(psycopg.connect(first.store, autocommit=True)) as connection:
            connection.execute("CREATE TABLE saved AS SELECT * FROM consent_mw.records")
            assert kim.post(eraser, "/consent/my-data", json={"action": "erase", "confirm": "yes"}).is_success
            until(lambda: rows(site, events) == before)
            until(lambda: all(known_erasures(host) > many for host, many in zip(site.hosts, known, strict=True)))
            eraser.kill()
            with connection.transaction():
                connection.execute("DELETE FROM consent_mw.records")
                connection.execute("INSERT INTO consent_mw.records SELECT * FROM saved")
            connection.execute("DROP TABLE saved")
        until(lambda: rows(site, events) == before)
    gone = site.command(first, "hosts", "retire", eraser.id, "--reason", "gone", "--although-at-work")
    assert gone.returncode == 0, gone.stderr


def purged(site: Fleet, host: Host) -> None:
    """Destroy on a host what has ended, as it does itself each minute."""
    site.command(host, "purge", "--policy", "policy.toml")  # exits with 1 as long as others are waited for


def test_a_day_counts_a_visitor_once_and_hides_who_are_few(site: Fleet, visitors: Callable[..., Visitor]) -> None:
    site.pass_time(timedelta(days=1))
    day = site.now.date()
    chrome = [visitors("Mozilla/5.0 (X11; Linux x86_64) Chrome/142.0.0.0 Safari/537.36") for _ in range(5)]
    opera = [visitors("Opera/9.80 (Windows NT 6.1) Presto/2.12 Version/12.16") for _ in range(2)]
    firefox = [visitors() for _ in range(3)]
    for visitor in (*chrome, *opera, *firefox):
        visitor.accept(site.front)
        assert {visitor.get(site.front, "/search").text for _ in range(3)} == {"found"}
    until(lambda: all(held(visitor, site.front) == 6 for visitor in (*chrome, *opera, *firefox)))
    site.pass_time(timedelta(hours=13))

    def is_counted() -> bool:
        purged(site, site.hosts[1])  # which waits until the spool there holds nothing of the day
        (report,) = site.printed(site.hosts[1], "report", "--since", day, "--until", day)
        counted = report["days"].get(str(day), {})  # one purpose after the other
        return counted.get("visits") is not None and counted.get("events") is not None

    until(is_counted)
    for host in site.hosts:
        (report,) = site.printed(host, "report", "--since", day, "--until", day)
        assert (report["days"][str(day)]["visits"], report["days"][str(day)]["events"]) == (10, 30)
        # Two visitors on three hosts are two, so they are told together with others.
        assert report["counts"]["browser"]["cells"] == {"Chrome": 15, "(other)": 15}


def holders(site: Fleet, host: Host) -> set[str]:
    """Which hosts had a key of analytics that is certified."""
    log = site.printed(host, "log", "-n", "1000", "--kind", "certificate")
    of_keys = [row for row in log if row["certificate.purpose"] == "analytics" and "certificate.holders" in row]
    return {row["certificate.holders"] for row in of_keys}


def test_what_has_ended_is_destroyed_by_each_and_certified_when_all_have(site: Fleet, kim: Visitor) -> None:
    kim.accept(site.front)
    searches(kim, site, 3)
    third = site.hosts[2]
    third.kill()
    site.pass_time(timedelta(days=450))
    for host in site.hosts[:2]:
        purged(site, host)
    assert rows(site, "SELECT count(*) FROM consent_mw.records WHERE purpose = 'analytics'") == [(0,)]

    def missing() -> list[bool]:
        """Which hosts have not destroyed their part yet, as the first one knows."""
        left = site.command(site.hosts[0], "purge", "--policy", "policy.toml", "--dry-run")
        assert left.returncode == 1
        return [f"({host.id[:8]})" in left.stderr for host in site.hosts]

    until(lambda: missing() == [False, False, True])
    assert holders(site, site.hosts[0]) == set()
    third.begin()
    third.wait()

    def certified() -> bool:
        purged(site, site.hosts[0])
        return bool(holders(site, site.hosts[0]))

    until(certified)
    for host in site.hosts:
        assert all(holder.id[:8] in named for named in holders(site, host) for holder in site.hosts)
