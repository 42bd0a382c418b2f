"""A visitor's receipts: found at once by their own cookie and by nothing else, told in the words of then."""

from __future__ import annotations

import asyncio
import json
import resource
import shutil
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from html import unescape
from pathlib import Path

import pytest
from tests.support.policies import POLICY
from tests.support.publishing import published
from tests.support.site_of_receipts import JSON, body, receipts, site
from tests.support.visitors import Visitor, now

from consent_mw._asgi import Message, Receive, Scope, Send
from consent_mw.consent.receipts import Receipt, Receipts, receipt_of
from consent_mw.consent.wordings import Wordings, text_hash
from consent_mw.exceptions import PolicyError
from consent_mw.middleware import ConsentMiddleware
from consent_mw.paths import Places
from consent_mw.policy.durations import Duration
from consent_mw.policy.loader import loads
from consent_mw.policy.revisions import Revisions
from consent_mw.records import Query
from consent_mw.site.receipt_document import SCHEMA, iso_duration
from consent_mw.site.receipt_words import words_of
from consent_mw.site.surfaces import SURFACES, shown_text
from consent_mw.testing.kept import hand_over


def header(sent: Sequence[Message], name: str) -> str:
    return ", ".join(value.decode() for key, value in sent[0]["headers"] if key == name.encode())


# -- finding it -----------------------------------------------------------------------------------------------------


def test_the_receipt_is_there_for_who_clicks_at_once(tmp_path: Path) -> None:
    async def run() -> None:
        visitor = Visitor(site(tmp_path))
        await visitor.picks("accept", headers=[(b"sec-fetch-site", b"same-origin")])
        sent = await visitor.gets("/consent/receipt.json")
        assert sent[0]["status"] == 200
        assert header(sent, "cache-control") == "no-store"
        assert header(sent, "content-disposition").startswith('attachment; filename="consent-receipt-20')
        (receipt,) = json.loads(body(sent))["receipts"]
        assert receipt["schema_version"] == SCHEMA
        assert receipt["pii_principal_id"].encode() in (visitor.browser.header(b"/", now()) or b"")

    asyncio.run(run())


def test_another_worker_finds_the_receipt_that_this_one_has_not_handed_over(tmp_path: Path) -> None:
    async def run() -> None:
        one, other = site(tmp_path), site(tmp_path)
        visitor = Visitor(one)
        await visitor.picks("accept")
        # The other worker can take only what this one lets go of, as each does twice a second without the lease.
        task = asyncio.create_task(_rotating(one))
        assert len(await receipts(visitor, app=other)) == 1
        task.cancel()

    asyncio.run(run())


async def _rotating(app: ConsentMiddleware) -> None:
    while True:
        app.runtime.spool.rotate()
        await asyncio.sleep(0.1)


def test_a_receipt_that_cannot_be_filed_yet_is_said_to_be_kept(tmp_path: Path) -> None:
    async def run() -> None:
        one, other = site(tmp_path), site(tmp_path)
        visitor = Visitor(one)
        await visitor.picks("accept")
        with one.runtime.spool.lease():  # another process hands over, and is slow
            sent = await visitor.gets("/consent/receipt", query_string=b"lang=en", app=other)
        assert (sent[0]["status"], header(sent, "retry-after")) == (503, "5")
        assert "receipt is being filed" in body(sent)
        one.runtime.spool.close()
        other.runtime.spool.close()

    asyncio.run(run())


def test_earlier_answers_follow_the_one_in_force(tmp_path: Path) -> None:
    async def run() -> None:
        visitor = Visitor(site(tmp_path))
        await visitor.picks("accept")
        await visitor.posts(("choice", "save"), ("purpose.functional", "yes"), ("purpose.analytics", "no"))
        latest, first = await receipts(visitor)
        assert latest["pii_principal_id"] == first["pii_principal_id"]
        assert (first["consent_mw"]["changes"], latest["consent_mw"]["changes"]) == (0, 1)
        assert (latest["consent_mw"]["choice"], first["consent_mw"]["choice"]) == ("prompt", "accept")
        states = {purpose["purpose_id"]: purpose["event_state"] for purpose in latest["purposes"]}
        assert states == {
            "functional": "consent given", "analytics": "consent refused", "marketing": "consent requested"
        }  # fmt: skip

    asyncio.run(run())


@pytest.mark.parametrize(("choice", "words"), [("", "chosen yet"), ("reject", "refused everything")])
def test_who_has_no_receipt_reads_why(choice: str, words: str, tmp_path: Path) -> None:
    async def run() -> None:
        visitor = Visitor(site(tmp_path))
        if choice:
            await visitor.picks(choice)
        sent = await visitor.gets("/consent/receipt", query_string=b"lang=en")
        assert sent[0]["status"] == 404
        assert words in body(sent)
        assert json.loads(body(await visitor.gets("/consent/receipt.json")))["receipts"] == []

    asyncio.run(run())


def test_nobody_reads_the_receipt_of_another(tmp_path: Path) -> None:
    async def run() -> None:
        app = site(tmp_path)
        owner, stranger = Visitor(app), Visitor(app)
        await owner.picks("accept")
        (mine,) = await receipts(owner)
        await stranger.picks("accept")
        name = mine["pii_principal_id"]
        for path, query in ((f"/consent/receipt/{name}", ""), ("/consent/receipt", f"receipt={name}&id={name}")):
            sent = await stranger.gets(path, query_string=query.encode())
            assert mine["record_id"] not in body(sent)
        forged = b"__Host-consent=1|accept|1|2026-11-24|||" + name.encode() + b".AAAA"
        assert (await stranger.gets("/consent/receipt", cookie=forged))[0]["status"] == 404

    asyncio.run(run())


def test_a_receipt_whose_key_is_destroyed_is_gone_and_looking_for_it_makes_no_key(tmp_path: Path) -> None:
    async def run() -> None:
        app = site(tmp_path)
        visitor = Visitor(app)
        await visitor.picks("accept")
        (receipt,) = await receipts(visitor)
        keyring = app.runtime.sealer.keyring
        live = keyring.live()
        for day, purpose in live:
            if purpose == "receipts":
                keyring.destroy(day, purpose)
        sent = await visitor.gets("/consent/receipt", query_string=b"lang=en")
        assert sent[0]["status"] in (404, 503)
        assert receipt["record_id"] not in body(sent)
        remaining = await Receipts(app.runtime.store, app.runtime.sealer).of(receipt["pii_principal_id"])
        assert remaining == []
        assert [day for day, _ in keyring.live() if day < min(day for day, _ in live)] == []

    asyncio.run(run())


def test_the_settings_lead_to_the_receipt_where_there_is_one(tmp_path: Path) -> None:
    async def run() -> None:
        visitor = Visitor(site(tmp_path))
        assert 'href="/consent/receipt"' not in body(await visitor.gets("/consent"))
        await visitor.picks("accept")
        saved = body(await visitor.gets("/consent", query_string=b"saved=1"))
        assert saved.count('href="/consent/receipt"') == 2

    asyncio.run(run())


def test_the_page_tells_answers_words_and_number_and_can_be_kept(tmp_path: Path) -> None:
    async def run() -> None:
        visitor = Visitor(site(tmp_path))
        fields = (("choice", "accept"), ("surface", "banner"), ("language", "ko"))
        await visitor.posts(*fields)
        (receipt,) = await receipts(visitor)
        for path in ("/consent/receipt", "/consent/receipt.html"):
            html = body(await visitor.gets(path, query_string=b"lang=en"))
            assert receipt["record_id"] in html
            assert receipt["consent_mw"]["shown"]["sha256"] in html
            assert "모두 허용" in html  # the words of then, in the language of then
            assert 'href="/consent/policy/1?lang=en"' in html
        assert "attachment" in header(await visitor.gets("/consent/receipt.html"), "content-disposition")

    asyncio.run(run())


# -- what it says ---------------------------------------------------------------------------------------------------


def test_a_receipt_tells_what_the_specification_asks_for(tmp_path: Path) -> None:
    async def run() -> None:
        visitor = Visitor(site(tmp_path))
        await visitor.picks("accept")
        (receipt,) = await receipts(visitor)
        assert receipt["privacy_notice"]["uri"] == "https://www.example.com/consent/policy/1"
        assert receipt["privacy_notice"]["sha256"] == loads(POLICY).digest
        analytics = next(purpose for purpose in receipt["purposes"] if purpose["purpose_id"] == "analytics")
        assert analytics["lawful_basis"] == "consent"
        assert analytics["retention_period"] == "P13M"
        assert analytics["withdrawal_method"] == "https://www.example.com/consent"
        assert {"pii_type": "user_agent.original", "precision": "family"} in analytics["pii_information"]
        assert receipt["party_identification"][0]["party_email"] == "privacy@example.com"
        (event,) = receipt["events"]
        assert (event["event_state"], event["validity_duration"]) == ("consent given", "P180D")

    asyncio.run(run())


@pytest.mark.parametrize(
    ("text", "iso"),
    [("13 months", "P13M"), ("90 days", "P90D"), ("1 year", "P1Y"), ("2 weeks", "P2W"), ("30 minutes", "PT30M")],
)
def test_a_duration_is_written_as_iso_8601_writes_it(text: str, iso: str) -> None:
    assert iso_duration(Duration.parse(text)) == iso


# -- the words ------------------------------------------------------------------------------------------------------


async def _stored(app: ConsentMiddleware, visitor: Visitor) -> Receipt:
    await hand_over(app.runtime)
    (record,) = await app.runtime.store.fetch(Query(kinds=frozenset(("receipt",))))
    return receipt_of(record, app.runtime.sealer)


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("language", ["ko", "en"])
def test_the_words_of_a_receipt_can_be_made_again_after_the_policy_has_moved_on(
    surface: str, language: str, tmp_path: Path
) -> None:
    async def run() -> None:
        app = site(tmp_path)
        visitor = Visitor(app)
        await visitor.posts(("choice", "accept"), ("surface", surface), ("language", language))
        receipt = await _stored(app, visitor)
        await app.runtime.store.close()
        later = POLICY.replace("revision = 1", "revision = 2").replace('"13 months"', '"17 weeks"')
        published(tmp_path / "consent-data", later)
        site(tmp_path, later)
        places = Places(tmp_path / "consent-data")
        declared = Revisions(places.revisions).with_digest(receipt.revision, receipt.policy)
        assert (receipt.surface, receipt.language) == (surface, language)
        # Rendered again from the declaration of then, and read where they were kept: the same words.
        rendered = words_of(receipt, Wordings(tmp_path / "nowhere"), declared)
        assert rendered is not None
        assert text_hash(rendered) == receipt.text
        assert words_of(receipt, Wordings(places.wordings)) == rendered
        assert words_of(receipt, Wordings(tmp_path / "nowhere"), loads(later)) is None

    asyncio.run(run())


def test_a_choice_through_the_api_is_about_what_the_policy_declares(tmp_path: Path) -> None:
    async def run() -> None:
        app = site(tmp_path)
        visitor = Visitor(app)
        await visitor.posts(("choice", "accept"))
        receipt = await _stored(app, visitor)
        assert (receipt.surface, receipt.language) == ("api", "ko")
        assert receipt.text == text_hash(shown_text(loads(POLICY), "ko", "api"))
        assert "17주" not in shown_text(loads(POLICY), "ko", "api")
        assert "13개월" in shown_text(loads(POLICY), "ko", "api")

    asyncio.run(run())


def test_the_words_outlive_the_template_that_showed_them(tmp_path: Path) -> None:
    async def run() -> None:
        own = tmp_path / "templates"
        own.mkdir()
        (own / "_three.html").write_text("<button>Whatever you like</button>", "utf-8")
        app = site(tmp_path, templates=own)
        visitor = Visitor(app)
        await visitor.posts(("choice", "accept"), ("surface", "banner"), ("language", "en"))
        (own / "_three.html").write_text("<button>Something else</button>", "utf-8")
        app.runtime.spool.close()
        (receipt,) = await receipts(visitor, app=site(tmp_path, templates=own))
        assert "Whatever you like" in receipt["consent_mw"]["shown"]["text"]

    asyncio.run(run())


def test_words_that_were_changed_on_the_disk_prove_nothing(tmp_path: Path) -> None:
    wordings = Wordings(tmp_path)
    name = wordings.keep("What was asked")
    assert wordings.read(name) == "What was asked"
    (tmp_path / f"{name}.txt").write_text("What was never asked", "utf-8")
    assert wordings.read(name) is None
    assert wordings.read("../" + name) is None


def test_another_declaration_with_the_same_number_is_not_the_one_that_was_answered(tmp_path: Path) -> None:
    revisions = Revisions(tmp_path)
    other = POLICY.replace('"13 months"', '"14 months"')
    for text in (POLICY, other):
        revisions.keep(loads(text), text)
    assert revisions.with_digest(1, loads(POLICY).digest).purposes["analytics"].retention == Duration(13, "month")
    with pytest.raises(PolicyError):
        revisions.with_digest(1, "0" * 64)


def without_a_place(directory: Path) -> AbstractContextManager[None]:
    shutil.rmtree(directory / "consent-data/spool")
    return nullcontext()


@contextmanager
def without_room(directory: Path) -> Generator[None]:
    """The kernel takes no byte more into any file, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("trouble", [without_a_place, without_room])
@pytest.mark.parametrize("before", [(), ("reject",)], ids=["undecided", "refused before"])
def test_an_acceptance_without_a_receipt_on_the_disk_is_told_to_be_none(
    before: tuple[str, ...], trouble: Callable[[Path], AbstractContextManager[None]], tmp_path: Path
) -> None:
    middleware = site(tmp_path)

    async def story() -> None:
        visitor = Visitor(middleware)
        for choice in before:
            await visitor.picks(choice)
        held = dict(visitor.browser.jar)
        form, script = (b"sec-fetch-site", b"same-origin"), [*JSON, (b"sec-fetch-site", b"same-origin")]
        with trouble(tmp_path):
            for language, sentence in (("en", "couldn't be recorded"), ("ko", "지금은 선택을 기록할 수 없어")):
                sent = await visitor.picks("accept", headers=[form, (b"accept-language", language.encode())])
                assert (sent[0]["status"], header(sent, "location"), header(sent, "retry-after")) == (503, "", "60")
                assert sentence in unescape(body(sent))
            sent = await visitor.picks("accept", headers=script)
            assert (sent[0]["status"], json.loads(body(sent))["error"]) == (503, "unsaved")
        assert visitor.browser.jar == held
        assert json.loads(body(await visitor.gets("/consent/state")))["choice"] == (before[0] if before else None)

    asyncio.run(story())


def test_what_waits_goes_on_waiting_where_the_answer_could_not_be_kept(tmp_path: Path) -> None:
    async def setting(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"set-cookie", b"theme=dark; Path=/")]})
        await send({"type": "http.response.body", "body": b""})

    (tmp_path / "policy.toml").write_text(POLICY, "utf-8")
    middleware = ConsentMiddleware(setting, policy=tmp_path / "policy.toml", secret_keys=["a key of at least 16 bytes"])

    async def waiting(visitor: Visitor) -> list[str]:
        return [cookie["name"] for cookie in json.loads(body(await visitor.gets("/consent/state")))["waiting"]]

    async def story() -> None:
        visitor = Visitor(middleware)
        await visitor.picks("prompt")
        await visitor.gets("/")
        assert await waiting(visitor) == ["theme"]
        with without_a_place(tmp_path):
            assert (await visitor.picks("accept"))[0]["status"] == 503
        assert await waiting(visitor) == ["theme"]
        assert visitor.cookies == {}

    asyncio.run(story())


def test_a_refusal_holds_also_where_its_receipt_cannot_be_kept(tmp_path: Path) -> None:
    middleware = site(tmp_path)

    async def story() -> None:
        visitor = Visitor(middleware)
        await visitor.picks("accept")
        with without_a_place(tmp_path):
            assert (await visitor.picks("reject"))[0]["status"] == 303
        assert json.loads(body(await visitor.gets("/consent/state")))["choice"] == "reject"

    asyncio.run(story())
