"""The page behind the mark "Carried out by this server": what was destroyed and held back, and nothing of anybody."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.policies import POLICY

from consent_mw._asgi import Receive, Scope, Send
from consent_mw.testing.client import ConsentClient
from consent_mw.testing.site import LivingSite

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
SHORT = POLICY.replace('retention = "90 days"', 'retention = "2 days"').replace('"Asia/Seoul"', '"UTC"')


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"set-cookie", b"_ga=1")]})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivingSite]:
    """On the first day six visitors come, on the second one; then all of it ends."""
    with LivingSite(app, directory=tmp_path_factory.mktemp("site"), policy=SHORT, at=NOON) as living:
        for number in range(6):
            living.visitor(address=f"198.51.100.{number}").get("/books")
        living.pass_time(days=1)
        living.visitor().get("/books")
        living.pass_time(days=4)
        yield living


@pytest.fixture(scope="module")
def reader(site: LivingSite) -> ConsentClient:
    return site.visitor(headers={"accept-language": "en"})


def test_the_json_has_dates_purposes_and_numbers_and_hides_the_small_ones(reader: ConsentClient) -> None:
    document = reader.get("/consent/proof.json").json()
    rows = [row for row in document["certificates"] if row["purpose"] == "necessary"]
    assert [(row["day"], row["records"]) for row in rows] == [
        ("2026-12-01", None),  # a key, made for the next day, and no record
        ("2026-11-30", None),
        ("2026-11-29", 6),
    ]
    assert {row["method"] for row in rows} == {"key"}
    assert all(row["day"] < row["ended"] <= row["destroyed"] for row in rows)
    assert rows[0].keys() == {"purpose", "where", "day", "records", "archived", "unreadable", "method", "revision",
                              "retention", "ended", "destroyed"}  # fmt: skip
    assert document["blocked"]["cookies"] == {"_ga*": 6}
    assert [revision["revision"] for revision in document["revisions"]] == [1]


def test_nothing_that_only_the_operator_needs_is_told(site: LivingSite, reader: ConsentClient) -> None:
    inner = {str(site.records("certificate")[0].data[f"certificate.{name}"]) for name in ("ring", "key")}
    text = reader.get("/consent/proof.json").text + reader.get("/consent/proof").text
    assert not [word for word in inner if word in text]
    assert "198.51.100" not in text


@pytest.mark.parametrize(("language", "words"), [("en", "fewer than 5"), ("ko", "5건 미만")])
def test_the_page_says_it_in_the_readers_language(site: LivingSite, language: str, words: str) -> None:
    html = site.visitor(headers={"accept-language": language}).get("/consent/proof").text
    assert words in html
    assert "_ga*</bdi>: 6" in html
    assert "consent-mw-foreign" not in html


def test_each_mark_of_the_policy_leads_to_a_place_of_the_page(reader: ConsentClient) -> None:
    marks = re.findall(r'<em class="consent-mw-mark"><a href="([^"]*)">', reader.get("/consent/policy").text)
    places = set(re.findall(r'id="(\w+)"', reader.get("/consent/proof").text))
    assert len(marks) > 8
    assert {mark.partition("#")[0] for mark in marks} == {"/consent/proof"}
    assert {mark.partition("#")[2] for mark in marks} == {"destruction", "cookies", "collection", "changes"} <= places


def test_an_operator_may_leave_the_page_out(tmp_path: Path) -> None:
    with LivingSite(app, directory=tmp_path, policy=SHORT, proof_page=False) as living:
        visitor = living.visitor()
        assert visitor.get("/consent/proof").status_code == 404
        marks = re.findall(r'consent-mw-mark"><a href="([^"]*)">', visitor.get("/consent/policy").text)
        assert set(marks) == {"#proof"}


def in_the_store(directory: Path, statement: str) -> None:
    """Carry out SQL in the site's store, as somebody who has its file may."""
    with closing(sqlite3.connect(directory / "consent-data" / "consent.sqlite3", isolation_level=None)) as store:
        assert store.execute(statement).rowcount in (-1, 1)


def test_an_altered_certificate_proves_nothing_and_is_not_shown(tmp_path: Path) -> None:
    with LivingSite(app, directory=tmp_path, policy=SHORT, at=NOON) as living:
        reader = living.visitor()
        reader.get("/books")
        living.pass_time(days=4)
        before = reader.get("/consent/proof.json").json()["certificates"]
        chosen = "SELECT id FROM records WHERE kind = 'certificate' AND data LIKE '%\"necessary\"%' LIMIT 1"
        altered = "replace(data, '\"necessary\"', '\"ads\"')"
        in_the_store(tmp_path, f"UPDATE records SET data = {altered} WHERE id = ({chosen})")
        living.pass_time(minutes=6)  # what was read before may be shown for five minutes
        after = reader.get("/consent/proof.json").json()["certificates"]
        assert len(after) == len(before) - 1
        assert all(row in before for row in after)


def test_a_store_that_is_away_is_said_to_be_and_found_again(tmp_path: Path) -> None:
    with LivingSite(app, directory=tmp_path, policy=SHORT, at=NOON) as living:
        reader = living.visitor(headers={"accept-language": "en"})
        in_the_store(tmp_path, "ALTER TABLE records RENAME TO away")
        page, data = reader.get("/consent/proof"), reader.get("/consent/proof.json")
        assert (page.status_code, data.status_code) == (503, 503)
        assert (data.json(), data.headers["cache-control"]) == ({"error": "store"}, "no-store")
        assert int(page.headers["retry-after"]) > 0
        assert "cannot be read at the moment" in page.text
        in_the_store(tmp_path, "ALTER TABLE away RENAME TO records")
        assert reader.get("/consent/proof").status_code == 200
