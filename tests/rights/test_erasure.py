"""Withdrawals and erasures reach every record of their sender, survive a crash at any step, and are certified."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from tests.support.site_of_erasures import DAY, NAME, NOW, NOW_NS, OTHER, Site, erasure_of
from tests.support.sites_with_records import HELD, UTC_POLICY

from consent_mw.consent.data_subject import Person
from consent_mw.log.drain import Drain
from consent_mw.policy.model import ABUSE
from consent_mw.records import Query, Record, Scalar, encode_record
from consent_mw.rights.desk import Desk, kept_by_store
from consent_mw.rights.erasure import ErasureOutcome
from consent_mw.rights.holdings import Holdings, Registry
from consent_mw.rights.ledger import Entry, Ledger
from consent_mw.rights.people import People, links
from consent_mw.rights.request import Answer, Request
from consent_mw.rights.restriction import Restriction, restricted
from consent_mw.spool.spool import Spool


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path, UTC_POLICY)


def test_a_second_look_of_one_process_waits_for_the_first_and_sees_what_it_did(site: Site) -> None:
    site.keeps(site.of(NAME, NOW - DAY))
    request = site.asks(erasure_of(NAME))

    async def look_twice(store: Any) -> tuple[ErasureOutcome, ErasureOutcome]:
        erasure = site.erasure(store)
        try:
            first, second = await asyncio.gather(erasure.once(NOW), erasure.once(NOW))
        finally:
            await erasure.close()
        return first, second

    first, second = site.using(look_twice)
    assert not first.busy
    assert not second.busy
    assert [certificate.request for certificate in first.done] == [request.id]
    assert not second.done
    assert not second.waiting


@pytest.mark.parametrize("at_once", [400, 7])
def test_an_erasure_leaves_nothing_of_its_sender_and_everything_of_others(
    at_once: int, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consent_mw.rights.extent._PARTITIONS", at_once)
    days = [NOW - n * DAY for n in range(1, 300, 7)]
    site.keeps(*(site.of(name, day, purpose) for day in days for name in (NAME, OTHER)
                 for purpose in ("analytics", "functional")))  # fmt: skip
    request = site.asks(erasure_of(NAME))
    outcome = site.erases()
    assert (outcome.troubles, outcome.waiting, [done.request for done in outcome.done]) == ([], [], [request.id])
    assert site.held_of(NAME) == []
    assert len(site.held_of(OTHER)) == 2 * len(days)
    certificate = site.certificates()[request.id]
    assert (certificate.records, certificate.kind, certificate.received) == (2 * len(days), "erasure", NOW)


def test_an_erasure_of_more_than_a_page_of_rows_leaves_none(site: Site) -> None:
    site.keeps(*(site.of(NAME, NOW - n * timedelta(seconds=20)) for n in range(2_500)))
    site.asks(erasure_of(NAME))
    assert site.erases().done[0].records == 2_500
    assert site.held_of(NAME) == []


def test_a_withdrawal_erases_what_was_collected_under_it_and_nothing_else(site: Site) -> None:
    site.keeps(site.of(NAME, NOW - DAY), site.of(NAME, NOW - DAY, "functional"), site.of(OTHER, NOW - DAY))
    request = site.asks(Request.new("withdrawal", "site", NOW_NS, person=Person((NAME,)), purposes=("analytics",)))
    site.erases()
    assert [record.purpose for record in site.held_of(NAME)] == ["functional"]
    assert len(site.held_of(OTHER)) == 1
    (case,) = site.holdings(Person((NAME,))).cases
    assert case.request.id == request.id
    assert case.ended is not None
    assert (case.ended.outcome, case.ended.facts) == ("done", {"records": 1})


def test_an_erasure_is_certified_once_and_its_request_goes_with_the_rest(site: Site) -> None:
    site.asks(Request.new("complaint", "site", NOW_NS - 10**15, person=Person((NAME,)), email="me@example.com"))
    (complaint,) = site.holdings(Person((NAME,))).cases
    answer = Answer.new(complaint.request.id, "done", NOW_NS - 10**14, reason="we are sorry")
    request = erasure_of(NAME)
    site.asks(request, answer)
    assert [done.request for done in site.erases().done] == [request.id]
    assert site.erases().done == []
    assert site.records("request", "answer") == []
    assert list(site.certificates()) == [request.id]


def test_a_request_that_is_open_stays_when_its_sender_is_erased(site: Site) -> None:
    complaint = site.asks(Request.new("complaint", "site", NOW_NS - 10**15, person=Person((NAME,)), message="why?"))
    site.asks(erasure_of(NAME))
    site.erases()
    assert [record.id for record in site.records("request")] == [complaint.id]


def test_records_of_abuse_wait_for_the_operator_whose_reason_the_visitor_reads(site: Site) -> None:
    site.keeps(site.of(NAME, NOW - DAY, ABUSE, "abuse"), site.of(NAME, NOW - DAY))
    site.asks(erasure_of(NAME))
    site.erases()
    assert [record.kind for record in site.held_of(NAME)] == ["abuse"]
    (case,) = site.holdings(Person((NAME,))).cases
    assert (case.request.purposes, case.ended) == ((ABUSE,), None)
    site.erases()
    assert len(site.held_of(NAME)) == 1, "nobody has granted it"

    async def refuse(store: Any) -> None:
        refusal = Answer.new(case.request.id, "refused", NOW_NS + 1, reason="a claim is pending", by="kim")
        await Desk(store, site.sealer, kept_by_store(store)).register(answers=[refusal])

    site.using(refuse)
    (case,) = site.holdings(Person((NAME,))).cases
    assert case.ended is not None
    assert case.ended.reason == "a claim is pending"
    assert len(site.erases().done) == 0
    assert len(site.held_of(NAME)) == 1


def test_records_of_abuse_go_when_the_operator_grants_it(site: Site) -> None:
    site.keeps(site.of(NAME, NOW - DAY, ABUSE, "abuse"))
    request = erasure_of(NAME, purposes=(ABUSE,))
    site.asks(request, Answer.new(request.id, "granted", NOW_NS, by="kim"))
    assert site.erases().done[0].records == 1
    assert site.held_of(NAME) == []


def test_receipts_stay_as_proof(site: Site) -> None:
    site.keeps(site.of(NAME, NOW - DAY, "receipts", "receipt"), site.of(NAME, NOW - DAY))
    site.asks(erasure_of(NAME))
    site.erases()
    assert len(site.records("receipt")) == 1


def test_a_form_of_somebody_unknown_erases_nothing_by_itself(site: Site) -> None:
    site.keeps(site.of(NAME, NOW - DAY))
    site.asks(Request.new("erasure", "form", NOW_NS, email="me@example.com"))
    assert site.erases() == ErasureOutcome()
    assert len(site.held_of(NAME)) == 1


# -- the archive ----------------------------------------------------------------------------------------------------


def test_an_erasure_reaches_what_the_archive_holds_after_the_live_key_is_gone(tmp_path: Path) -> None:
    site = Site(tmp_path, UTC_POLICY + HELD.replace("abuse", "analytics"))
    then = NOW - 500 * DAY
    site.keeps(site.of(NAME, then), site.of(OTHER, then))
    assert site.destroys(NOW).archived == 2
    assert site.sealer.keyring.live() == []

    async def held(store: Any) -> Holdings:
        erasure = site.erasure(store)
        registry = Registry([site.policy], store, site.sealer, archive=erasure._archive)
        try:
            return await registry.of(Person((NAME,)), NOW)
        finally:
            await erasure.close()

    (archived,) = site.using(held).held
    assert (archived.where, archived.records, archived.rows[0]["path"]) == ("archive", 1, f"/{NAME}")
    site.asks(erasure_of(NAME))
    assert site.erases().done[0].records == 1
    assert len(site.records("visit", archive=True)) == 1
    assert site.using(held).held == ()


# -- crashes and backups --------------------------------------------------------------------------------------------


def test_a_restored_backup_brings_nobody_back(site: Site) -> None:
    site.keeps(site.of(NAME, NOW - DAY), site.of(OTHER, NOW - DAY))
    site.asks(Request.new("complaint", "site", NOW_NS - 10**15, person=Person((NAME,)), email="me@example.com"))
    (complaint,) = site.holdings(Person((NAME,))).cases
    site.asks(Request.new("complaint", "site", NOW_NS - 10**15, person=Person((OTHER,))),
              Answer.new(complaint.request.id, "done", NOW_NS))  # fmt: skip
    backup = site.places.database.read_bytes()
    site.asks(erasure_of(NAME))
    site.erases()
    site.places.database.write_bytes(backup)
    assert len(site.held_of(NAME)) == 1
    assert site.erases(NOW + DAY).brought_back == 3, "the visit, the complaint and its answer"
    assert site.held_of(NAME) == []
    assert len(site.held_of(OTHER)) == 1
    assert len(site.records("request")) == 1
    assert site.erases(NOW + DAY).brought_back == 0


def test_a_store_that_is_noticed_to_have_gone_back_is_erased_from_at_once(site: Site) -> None:
    gone = site.of(NAME, NOW - DAY)
    site.keeps(gone)
    other = Ledger(site.places.erasures)
    for number in range(30):  # so many that a look at some of them does not come to the last
        tokens = tuple(os.urandom(16).hex() for _ in range(20))
        other.append(Entry(at=NOW, request=UUID(int=number), until=NOW + DAY, tokens=tokens,
                           days=(0,) * 20, purposes={"analytics": 20}))  # fmt: skip
    site.asks(erasure_of(NAME))
    restored = 0

    async def live(store: Any) -> list[int]:
        nonlocal restored
        erasure = site.erasure(store, restored=lambda: restored)
        await erasure.once(NOW)
        await store.append([gone])
        before = await erasure.once(NOW)
        restored = 1
        after = await erasure.once(NOW)
        await erasure.close()
        return [before.brought_back, after.brought_back]

    assert site.using(live) == [0, 1]


def test_what_is_collected_after_an_erasure_stays_also_under_the_token_of_the_same_day(site: Site) -> None:
    site.keeps(site.of(NAME, NOW - timedelta(hours=1)))
    site.asks(erasure_of(NAME))
    site.erases()
    site.keeps(site.of(NAME, NOW + timedelta(hours=1)), site.of(NAME, NOW - timedelta(hours=2)))
    assert site.erases(NOW + timedelta(hours=3)).brought_back == 1, "the one that was only written down late"
    assert len(site.held_of(NAME)) == 1


KILLED = """
import asyncio, sys
from datetime import datetime
from pathlib import Path
from tests.support.site_of_erasures import Site
site = Site(Path(sys.argv[1]), Path(sys.argv[1], "policy.toml").read_text())
print("ready", flush=True)
assert site.erases(datetime.fromisoformat(sys.argv[2])).troubles == []
print("done", flush=True)
"""


def test_an_erasure_that_is_killed_at_any_moment_is_completed_and_counted_right(tmp_path: Path) -> None:
    site = Site(tmp_path, UTC_POLICY + HELD.replace("abuse", "analytics"))
    then = NOW - 500 * DAY
    site.keeps(*(site.of(NAME, then + n * timedelta(seconds=1)) for n in range(500)))
    assert site.destroys(NOW).archived == 500
    site.keeps(*(site.of(name, NOW - n * timedelta(minutes=5)) for n in range(4_000) for name in (NAME, OTHER)))
    request = site.asks(erasure_of(NAME))
    kills = 0
    chance = random.Random(4711)
    for _ in range(8):
        killed = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path), NOW.isoformat()],
                                  stdout=subprocess.PIPE, text=True)  # fmt: skip
        assert killed.stdout is not None
        assert killed.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0.0, 0.06))
        killed.send_signal(signal.SIGKILL)
        kills += "done" not in killed.communicate()[0]
    assert kills >= 2
    assert site.erases().troubles == []
    assert site.held_of(NAME) == []
    assert len(site.held_of(OTHER)) == 4_000
    assert site.records("visit", archive=True) == []
    assert site.certificates()[request.id].records == 4_500
    assert site.records("request") == []


def test_what_a_backup_brings_back_while_the_request_is_open_is_counted_once(site: Site) -> None:
    site.keeps(*(site.of(NAME, NOW - n * DAY) for n in range(5)))
    request = site.asks(erasure_of(NAME))
    backup = site.places.database.read_bytes()
    site.erases()
    site.places.database.write_bytes(backup)
    site.keeps(site.of(NAME, NOW - DAY))  # and one that comes late, before the site starts again
    site.erases()
    assert site.certificates()[request.id].records == 6


class Torn(Exception):
    """The process ends here."""


def test_a_death_after_the_rows_went_counts_them_however_many_come_late(site: Site) -> None:
    site.keeps(*(site.of(NAME, NOW - n * DAY) for n in range(3)))
    request = site.asks(erasure_of(NAME))

    class Mortal(type(site.store())):  # type: ignore[misc]  # whichever store the site has
        async def delete(self, query: Query) -> int:
            await super().delete(query)
            raise Torn

    async def erase(store: Any) -> None:
        with pytest.raises(Torn):
            await site.erasure(store).once(NOW)

    site.using(erase, Mortal(site.places.database))
    assert site.held_of(NAME) == []
    site.keeps(*(site.of(NAME, NOW - n * DAY) for n in range(3)))
    site.erases()
    assert site.certificates()[request.id].records == 6


def test_what_comes_while_a_step_goes_counts_for_the_certificate(site: Site) -> None:
    site.keeps(site.of(NAME, NOW - DAY))
    request, late = site.asks(erasure_of(NAME)), [site.of(NAME, NOW - 2 * DAY)]

    class Crowded(type(site.store())):  # type: ignore[misc]  # whichever store the site has
        async def delete(self, query: Query) -> int:
            if late and query.ids:
                await super().append([late.pop()])
            count: int = await super().delete(query)
            return count

    async def erase(store: Any) -> None:
        await site.erasure(store).once(NOW)

    site.keeps(site.of(NAME, NOW - 2 * DAY))
    site.using(erase, Crowded(site.places.database))
    assert site.held_of(NAME) == []
    assert site.certificates()[request.id].records == 3


def test_a_ledger_that_cannot_be_written_keeps_everything_and_says_why(site: Site) -> None:
    site.keeps(site.of(NAME, NOW - DAY))
    site.asks(erasure_of(NAME))
    site.places.erasures.mkdir()
    outcome = site.erases()
    assert "erasures.jsonl: the ledger of erasures failed" in outcome.troubles[0]
    assert len(site.held_of(NAME)) == 1
    site.places.erasures.rmdir()
    assert len(site.erases().done) == 1


def test_a_torn_line_of_the_ledger_hides_no_other(site: Site) -> None:
    site.keeps(site.of(NAME, NOW - DAY))
    site.asks(erasure_of(NAME))
    backup = site.places.database.read_bytes()
    site.erases()
    whole = site.places.erasures.read_bytes()
    site.places.erasures.write_bytes(whole[: len(whole) // 3])
    site.places.database.write_bytes(backup)
    site.erases()
    assert site.held_of(NAME) == []


def test_the_ledger_forgets_tokens_whose_keys_are_gone(site: Site) -> None:
    site.keeps(site.of(NAME, NOW - DAY))
    site.asks(erasure_of(NAME))
    site.erases()
    assert b"tokens" in site.places.erasures.read_bytes()
    site.erases(NOW + 500 * DAY)
    assert site.places.erasures.read_bytes().strip() == b""


# -- the spool, the application, and who is asked meanwhile -----------------------------------------------------------


def test_what_waits_in_the_spool_is_waited_for(site: Site) -> None:
    spool = Spool(site.places.spool, clock=lambda: NOW_NS - 10**10)
    late = site.of(NAME, NOW - timedelta(seconds=20))
    assert spool.write([encode_record(late)])
    spool.close()
    request = site.asks(erasure_of(NAME))
    outcome = site.erases(spool=Spool(site.places.spool))
    assert (outcome.waiting, site.certificates()) == ([request.id], {})

    async def erase(store: Any) -> ErasureOutcome:
        reader = Spool(site.places.spool)
        drain = Drain(site.policy, reader, store, site.sealer)
        erasure = site.erasure(store, spool=reader, hand_over=drain.once)
        return await erasure.once(NOW)

    assert site.using(erase).done[0].records == 1
    assert site.held_of(NAME) == []


class Shop:
    """An application with data of its own."""

    def __init__(self, *, fails: int = 0) -> None:
        self.erased: list[str] = []
        self.fails = fails

    async def read(self, sign_in: str) -> dict[str, Scalar]:
        return {"name": f"{sign_in} itself"}

    async def correct(self, sign_in: str, item: str, value: str) -> bool:
        return False

    async def erase(self, sign_in: str, purpose: str | None = None) -> None:
        if self.fails:
            self.fails -= 1
            raise ConnectionError("away")
        self.erased.append(sign_in)


def test_what_the_application_holds_is_erased_where_it_runs_and_asked_again_until_it_is(site: Site) -> None:
    person = Person((NAME,), "user 7")
    request = site.asks(Request.new("erasure", "site", NOW_NS, person=person, application=True))
    assert site.erases().waiting == [request.id], "no hook here: the command leaves it to the site"
    shop = Shop(fails=1)
    outcome = site.erases(personal_data=shop)
    assert "personal_data.erase() failed" in outcome.troubles[0]
    assert site.certificates() == {}
    assert len(site.erases(personal_data=shop).done) == 1
    assert shop.erased == ["user 7"]


def test_a_person_is_restricted_until_their_erasure_is_done(site: Site) -> None:
    site.keeps(mine := site.of(NAME, NOW - DAY), site.of(OTHER, NOW - DAY))

    def restricts(record: Record) -> bool:
        restriction: Restriction = site.using(
            lambda store: restricted(
                Desk(store, site.sealer, kept_by_store(store)), People(store, site.sealer), site.sealer
            )
        )
        return restriction.restricts(record)

    assert not restricts(mine)
    site.asks(erasure_of(NAME))
    assert restricts(mine)
    site.erases()
    assert not restricts(mine)


def test_a_sign_in_leads_to_every_receipt_that_it_used(site: Site) -> None:
    site.keeps(site.of(NAME, NOW - DAY), site.of(OTHER, NOW - DAY))
    site.keeps(*(link for name in (NAME, OTHER) for link in links(site.sealer, name, "user 7", NOW_NS)))
    person = site.using(lambda store: People(store, site.sealer).of(Person((), "user 7")))
    assert set(person.names) == {NAME, OTHER}
    assert site.using(lambda store: People(store, site.sealer).of(Person((), "user 8"))).names == ()
    site.asks(Request.new("erasure", "site", NOW_NS, person=Person((), "user 7")))
    assert site.erases().done[0].records == 2
