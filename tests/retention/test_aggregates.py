"""What remains of a day: counts that identify nobody, whoever the records were about."""

from __future__ import annotations

import os
from collections import Counter
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.support.sites_with_records import DAY, END, HOUR, THEN, SiteWithRecords

from consent_mw.crypto.sealer import Sealer
from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.records import Record, Scalar, new_id, time_of
from consent_mw.retention.aggregates import DayCounts, cells_of
from consent_mw.retention.small_cells import FEWEST, OTHER
from consent_mw.retention.visits import Visits
from consent_mw.system.days import day_of

SEALER = Sealer.without_keys(SiteKeys.random())
START_NS = int(THEN.timestamp()) * 10**9


def visit(number: int = 0, *, subject: bytes | None = None, minutes: float = 0, **data: Scalar) -> Record:
    record_id = new_id(START_NS + int(minutes * 60e9) + number * 1_000_000)
    facts = {name.replace("__", "."): value for name, value in data.items()}
    return Record(record_id, "visit", "analytics", subject, "", facts, b"")


def counted(records: list[Record]) -> dict[str, dict[str, int]]:
    counts = DayCounts(day_of(THEN), "analytics")
    counts.add(sorted(records, key=lambda record: record.id))
    return {str(record.data["aggregate.by"]): cells_of(record) for record in counts.records(SEALER)}


def test_a_day_is_counted_by_each_of_its_facts():
    records = [
        visit(
            n,
            subject=bytes([n]),
            http__route="/books/{id}",
            http__response__status_code=200,
            http__server__request__duration=0.004,
            user_agent__name="Firefox",
            device__type="desktop",
            consent__choice="accept",
        )
        for n in range(6)
    ]
    counts = counted(records)
    assert counts == {
        "agent": {"visitor": 6},
        "browser": {"Firefox": 6},
        "choice": {"accept": 6},
        "device": {"desktop": 6},
        "joined entry": {"/books/{id}": 6},
        "joined exchanges": {"1": 6},
        "joined exit": {"/books/{id}": 6},
        "joined hour": {"00": 6},
        "joined minutes": {"up to 1": 6},
        "kind": {"visit": 6},
        "latency": {"0.005": 6},
        "route": {"/books/{id}": 6},
        "status": {"2xx": 6},
        "visit hour": {"00": 6},
    }


def test_what_stays_open_is_counted_apart_from_answers():
    answers = [visit(n, http__server__request__duration=0.009) for n in range(94)]
    sockets = [
        visit(100 + n, http__server__request__duration=1800.0, network__protocol__name="websocket") for n in range(6)
    ]
    streams = [visit(200 + n, http__server__request__duration=120.0, http__response__streamed=True) for n in range(5)]
    counts = counted([*answers, *sockets, *streams])
    assert counts["latency"] == {"0.01": 94}
    assert counts["websocket minutes"] == {"up to 60": 6}
    assert counts["stream minutes"] == {"up to 5": 5}


def test_a_cell_of_one_busy_visitor_is_as_small_as_one_of_a_short_one():
    crowd = [visit(n, subject=bytes([n]), http__route="/") for n in range(5)]
    alone = [visit(9, subject=b"one", http__route="/secret", minutes=n) for n in range(50)]
    others = [visit(n, subject=bytes([n]), http__route="/b") for n in range(5)]
    # "/" and "/b" have five visitors each; the smaller one by name joins, or "/secret" would be known by subtraction.
    assert counted([*crowd, *alone, *others])["route"] == {"/b": 5, OTHER: 55}


def test_a_day_of_four_visitors_leaves_no_count_at_all():
    assert counted([visit(n, subject=bytes([n % 4]), http__route="/") for n in range(100)]) == {}


def test_the_same_day_gives_the_same_ids_again():
    records = [visit(n, subject=bytes([n]), http__route="/") for n in range(9)]
    first, second = DayCounts(1, "analytics"), DayCounts(1, "analytics")
    first.add(records)
    second.add(records[:8])
    assert [record.id for record in first.records(SEALER)] == [record.id for record in second.records(SEALER)]


def test_each_cookie_that_an_exchange_was_refused_is_counted_by_its_declared_name():
    refused: list[dict[str, Any]] = [{"consent.cookies.blocked": names} for names in ("theme _ga*", "theme", None, "")]
    records = [Record(new_id(START_NS + n), "visit", "necessary", None, "", facts, b"")
               for n, facts in enumerate(refused * 5)]  # fmt: skip
    assert counted(records)["blocked"] == {"_ga*": 5, "theme": 10}
    assert "blocked" not in counted(records[:4])


def test_undeclared_cookies_are_counted_and_not_named():
    def seen(source: str, *names: str) -> list[Record]:
        facts = [{"cookie.name": name, "cookie.source": source} for name in names]
        return [Record(new_id(START_NS), "undeclared", "necessary", None, "", fact, b"") for fact in facts]

    assert counted(seen("response", "cart", "cart"))["undeclared"] == {"set by the site": 1}
    # What browsers send may be one visitor's, so fewer than five names are not told.
    assert "undeclared" not in counted(seen("request", "alice", "bob", "carol", "dave"))
    assert counted(seen("request", *"abcde"))["undeclared"] == {"sent by browsers": 5}


def test_choices_are_counted_by_language():
    facts: list[dict[str, Any]] = [{"consent.language": language, "consent.choice": choice}
             for language in ("ko", "en") for choice in ("accept", "reject") for _ in range(5)]  # fmt: skip
    records = [Record(new_id(START_NS + n), "receipt", "receipts", None, "", fact, b"") for n, fact in enumerate(facts)]
    assert counted(records)["receipt language choice"] == {
        "en: accept": 5, "en: reject": 5, "ko: accept": 5, "ko: reject": 5}  # fmt: skip


def test_whoever_is_under_restriction_is_not_counted():
    records = [visit(n, subject=bytes([n % 7]), http__route="/") for n in range(21)]
    counts = DayCounts(1, "analytics", skipped=lambda record: record.subject in (bytes([0]), bytes([6])))
    counts.add(records)
    cells = {str(record.data["aggregate.by"]): cells_of(record) for record in counts.records(SEALER)}
    assert cells["route"] == {"/": 15}
    assert cells["joined hour"] == {"00": 5}
    few = DayCounts(1, "analytics", skipped=lambda record: record.subject in {bytes([n]) for n in range(3)})
    few.add(records)
    assert few.records(SEALER) == []


@given(st.lists(st.tuples(st.integers(0, 12), st.sampled_from("abcdef"), st.booleans()), max_size=60))
def test_behind_every_cell_stand_five_visitors_and_no_smaller_one_can_be_subtracted(drawn):
    records = [visit(n, subject=bytes([who]) if named else None, http__route=route)
               for n, (who, route, named) in enumerate(drawn)]  # fmt: skip
    who: dict[str, set[object]] = {}
    for number, (visitor, route, named) in enumerate(drawn):
        who.setdefault(route, set()).add(visitor if named else ("nobody", number))
    cells = counted(records).get("route", {})
    hidden = {visitor for route, visitors in who.items() if route not in cells for visitor in visitors}
    assert all(len(who[route]) >= FEWEST for route in cells if route != OTHER)
    assert sum(cells.values()) in (0, len(drawn))
    assert not (hidden and cells) or len(hidden) >= FEWEST


@given(st.lists(st.integers(0, 90), min_size=1, max_size=30))
def test_a_visit_ends_with_half_an_hour_of_silence(pauses):
    minutes = [sum(pauses[:n]) for n in range(len(pauses) + 1)]
    records = [visit(subject=b"x", minutes=minute) for minute in minutes]
    visits = Visits()
    ended: list[Any] = []
    for record in records:
        ended += visits.add(record)
    ended += visits.rest()
    assert len(ended) == 1 + sum(pause >= 30 for pause in pauses)
    assert sum(one.exchanges for one in ended) == len(records)


def test_visits_are_joined_by_subject_and_nobody_without_one_is_in_any():
    visits = Visits()
    records = [visit(subject=b"a", minutes=0, http__route="/"), visit(minutes=1), visit(subject=b"b", minutes=2),
               visit(subject=b"a", minutes=29, http__route="/end"), visit(subject=b"b", minutes=33)]  # fmt: skip
    ended = [one for record in records for one in visits.add(record)]
    ended += visits.rest()
    assert [(one.subject, one.exchanges, one.ended - one.began) for one in ended] == [
        (b"b", 1, timedelta()), (b"a", 2, timedelta(minutes=29)), (b"b", 1, timedelta())]  # fmt: skip
    assert (ended[1].entry, ended[1].exit) == ("/", "/end")


def test_what_a_stranger_invents_does_not_fill_the_memory():
    counts = DayCounts(0, "analytics")
    counts.add(visit(n, user_agent__name=os.urandom(8).hex(), subject=b"one") for n in range(3_000))
    assert len(counts._counts["browser"]) == 1_001


def test_the_counts_of_a_day_are_written_before_its_records_go_and_outlive_them(tmp_path):
    site = SiteWithRecords(tmp_path)
    site.keeps(*(site.record(THEN + n * HOUR, data={"http.route": "/"}, secret=f"/{n}") for n in range(10)))
    assert site.destroys(THEN + DAY + timedelta(minutes=29)).counted == 0
    done = site.destroys(THEN + DAY + timedelta(minutes=30))
    assert (done.counted, done.records) == (1, 0)
    before = site.records("aggregate")
    assert site.destroys(THEN + DAY + timedelta(hours=5)).counted == 0
    site.destroys(END + DAY)
    assert site.records("aggregate") == before
    assert {record.purpose for record in before} == {"aggregates"}
    assert Counter(record.data["aggregate.by"] for record in before)["route"] == 1
    assert all(time_of(record.id) == THEN and record.subject is None and not record.ring for record in before)
