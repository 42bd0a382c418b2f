"""`consent-mw receipt verify`: what was asked, in the words of then, what was answered, and whether that is intact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import click
import msgspec

from consent_mw.cli.access import accessing, asked, from_whom
from consent_mw.cli.keys import keyring_at, ring_option
from consent_mw.cli.session import with_store
from consent_mw.cli.site_options import where
from consent_mw.cli.terminal import FAULT, busy, complain
from consent_mw.consent.receipts import Receipt, Receipts, receipt_of
from consent_mw.consent.wordings import Wordings
from consent_mw.crypto.sealer import Sealer
from consent_mw.exceptions import ConfigurationError, ConsentError, KeyDestroyed
from consent_mw.kinds import RECEIPT
from consent_mw.paths import Places
from consent_mw.policy.model import RECEIPTS, Policy
from consent_mw.policy.revisions import Revisions
from consent_mw.records import Query, Record
from consent_mw.site.receipt_document import Addresses, receipt_document
from consent_mw.site.receipt_words import words_of
from consent_mw.staff.access import Access
from consent_mw.staff.errand import Errand
from consent_mw.staff.existing_site import existing_store, site_keys_at
from consent_mw.stores.base import Store
from consent_mw.system.escaping import as_json, printable

_ANSWERS: Final = {True: "yes", False: "no", None: "asked each time"}
#: What of a downloaded receipt comes from the record alone; the rest depends on the address and language of the page.
_COMPARED: Final = ("record_id", "pii_principal_id", "language", "events", "consent_mw")
#: Where the application asked, its words were never ours to keep.
_BY_THE_APPLICATION: Final = "application"
_NOTICE: Final = ("version", "sha256")


class _Verdict(msgspec.Struct, omit_defaults=True):
    """
    What one receipt proves.

    Attributes:
        receipt: What was asked for.
        record: "intact", or why it proves nothing: "missing", "changed", "destroyed", "of another keyring".
        declaration: Whether the declaration that was answered is here, whole.
        words: What the visitor read; None where it cannot be proven.
        differs: Where a downloaded file says something else than the record.
        document: The receipt itself, as the visitor can download it.
    """

    receipt: str
    record: str
    declaration: bool = False
    words: str | None = None
    differs: list[str] = []
    document: dict[str, Any] = {}

    def faults(self) -> list[str]:
        """Return what keeps it from being a proof, one line each."""
        if self.record != "intact":
            return [f"receipt {self.receipt}: {_WHY[self.record]}"]
        lines = [f"receipt {self.receipt}: the file differs from the record at {place}" for place in self.differs]
        if not self.declaration:
            lines.append(f"receipt {self.receipt}: its declaration is not kept here; restore revisions/ from a backup")
        if self.words is None and self.document["consent_mw"]["surface"] != _BY_THE_APPLICATION:
            lines.append(
                f"receipt {self.receipt}: its words are not kept here and cannot be made again; restore wordings/ "
                "from a backup, or name the site's --templates"
            )
        return lines


_WHY: Final = {
    "missing": "is not kept here: it was never given, has been destroyed when its time was over, or waits in the spool "
    "for the store",
    "changed": "was changed since it was written, or not written by this site; it proves nothing",
    "destroyed": "was kept for as long as was promised; its key is destroyed and nobody can read it",
    "of another keyring": "was sealed by another keyring; verify it where that is",
}


@click.group(no_args_is_help=False, invoke_without_command=True)
@click.pass_context
def receipt(context: click.Context) -> int:
    """Prove what a visitor was asked and what they answered."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
    return 0


@receipt.command(
    epilog="Example: consent-mw receipt verify consent-receipt-2026-11-24.json --reason 'complaint 12'. "
    "Exit code 1 if anything about it cannot be proven."
)
@click.argument("receipt", metavar="RECEIPT")
@where
@ring_option
@click.option(
    "--templates",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="The site's own templates: words that were lost are rendered again with them.",
)
@click.option("--json", "json_wanted", is_flag=True, help="One object for each receipt.")
@from_whom
def verify(
    receipt: str,
    directory: Path,
    url: str | None,
    ring: str | None,
    templates: Path | None,
    json_wanted: bool,
    reason: str | None,
    name: str,
) -> int:
    """
    Show what was asked, in the words of then, what was answered, and whether the record is intact.

    RECEIPT is the file that the visitor downloaded (JSON), the number of the record, or the name that their cookie
    holds. That somebody looked is recorded (consent-mw audit).
    """
    places = Places(directory)
    store = existing_store(places, url)
    errand = asked(Errand("receipt verify", [RECEIPTS], reason, name))
    if errand.reason is None:
        raise click.UsageError("a receipt says what somebody answered; say why you read it, with --reason")
    given = _given(receipt)
    keyring = keyring_at(places, ring)
    if keyring is None:
        raise ConfigurationError(f"{places.keys}: is not there; give the site's data directory with --directory")
    sealer = Sealer(keyring, site_keys_at(places))
    with accessing(places, errand, keyring) as access, busy("looking for the receipt"):
        verdicts = with_store(store, lambda store: _verified(given, store, places, sealer, templates, access))
    for verdict in verdicts:
        if json_wanted:
            click.echo(as_json(msgspec.to_builtins(verdict) | {"proven": not verdict.faults()}))
        else:
            _say(verdict)
    faults = [line for verdict in verdicts for line in verdict.faults()]
    complain(*faults)
    return FAULT if faults else 0


def _given(text: str) -> Mapping[str, Mapping[str, Any] | None]:
    """
    Return the receipts that are meant, each with what a file says of it.

    Raises:
        ConfigurationError: It is a file, and holds no receipt.
    """
    path = Path(text)
    if not path.is_file():
        if path.suffix == ".json":
            raise ConfigurationError(f"{path}: there is no such file; give the one that the visitor downloaded")
        return {text: None}
    try:
        read: Any = msgspec.json.decode(path.read_bytes())
        documents = read.get("receipts", [read])
        by_number = {str(UUID(document["record_id"])): document for document in documents}
    except (OSError, AttributeError, TypeError, KeyError, ValueError) as error:
        raise ConfigurationError(
            f"{path}: is no receipt that a visitor downloaded as JSON ({type(error).__name__}); its page is "
            "/consent/receipt.json"
        ) from error
    if not by_number:
        raise ConfigurationError(f"{path}: holds no receipt; the visitor had given no answer that leaves one")
    return by_number


async def _verified(
    given: Mapping[str, Mapping[str, Any] | None],
    store: Store,
    places: Places,
    sealer: Sealer,
    templates: Path | None,
    access: Access,
) -> list[_Verdict]:
    verdicts: list[_Verdict] = []
    for receipt, document in given.items():
        records = await _records_of(receipt, store, sealer)
        # Anyone who can write to the store can add forged records beside the real one.
        verdict = _verdict(receipt, sealer.whole(records) or records, sealer, places, templates, document)
        verdicts.append(verdict)
        if verdict.record == "intact":
            access.opened += 1
        elif records:
            access.closed[verdict.record] += 1
    return verdicts


async def _records_of(asked: str, store: Store, sealer: Sealer) -> Sequence[Record]:
    try:
        ids = frozenset((UUID(asked),))
    except ValueError:
        return await Receipts(store, sealer).records(asked)
    return await store.fetch(Query(kinds=frozenset((RECEIPT,)), ids=ids))


def _verdict(
    asked: str,
    records: Sequence[Record],
    sealer: Sealer,
    places: Places,
    templates: Path | None,
    document: Mapping[str, Any] | None,
) -> _Verdict:
    if not records:
        return _Verdict(asked, "missing")
    try:
        kept = receipt_of(records[0], sealer)
    except KeyDestroyed:
        return _Verdict(asked, "destroyed")
    except ConfigurationError:
        return _Verdict(asked, "of another keyring")
    except (ConsentError, msgspec.MsgspecError, KeyError, ValueError):
        return _Verdict(asked, "changed")
    policy = _declaration(kept, places)
    words = words_of(kept, Wordings(places.wordings), policy, own_templates=templates)
    shown = receipt_document(kept, policy, Addresses(""), words=words)
    differs = _differences(shown, document) if document is not None else []
    return _Verdict(str(kept.id), "intact", policy is not None, words, differs, shown)


def _declaration(receipt: Receipt, places: Places) -> Policy | None:
    try:
        return Revisions(places.revisions).with_digest(receipt.revision, receipt.policy)
    except ConsentError:
        return None


def _differences(shown: Mapping[str, object], document: Mapping[str, Any]) -> list[str]:
    """Return the names of what the file says otherwise than the record."""
    record = msgspec.json.decode(msgspec.json.encode(shown))
    places = [name for name in _COMPARED if document.get(name) != record[name]]
    notice = document.get("privacy_notice")
    places += [f"privacy_notice.{name}" for name in _NOTICE if _at(notice, name) != record["privacy_notice"][name]]
    return [*places, "purposes"] if _states(document) != _states(record) else places


def _states(document: Mapping[str, Any]) -> object:
    """What was answered about each purpose and cookie, in no language."""
    purposes: Any = document.get("purposes")
    if not isinstance(purposes, list):
        return None
    return [[_at(one, name) for name in ("purpose_id", "event_state", "cookies")] for one in purposes]  # pyright: ignore[reportUnknownVariableType] - as below


def _at(mapping: Any, name: str) -> object:
    return mapping.get(name) if isinstance(mapping, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - JSON of a file that anyone may have written


def _say(verdict: _Verdict) -> None:
    click.echo(f"receipt {printable(verdict.receipt)}: {verdict.record}")
    if verdict.record != "intact":
        return
    for heading, line in _lines(verdict.document, verdict):
        click.echo(f"  {heading:<12} {printable(line)}")
    for line in (verdict.words or "").splitlines():
        click.echo(f"    | {printable(line)}")


def _lines(document: Mapping[str, Any], verdict: _Verdict) -> list[tuple[str, str]]:
    own, notice = document["consent_mw"], document["privacy_notice"]
    given = datetime.fromisoformat(document["events"][0]["event_time"]).astimezone()
    answers = {entry["purpose_id"]: _answered(entry["event_state"]) for entry in document["purposes"]}
    lines = [
        ("given", given.isoformat(sep=" ", timespec="seconds")),
        ("choice", own["choice"]),
        ("purposes", ", ".join(f"{name}: {answer}" for name, answer in answers.items())),
        ("cookies", ", ".join(f"{name}: {_ANSWERS[yes]}" for name, yes in own["answers"]["cookies"].items())),
        ("signals", ", ".join(own["signals"])),
        ("asked on", f"{own['surface']}, in {_languages(document['language'], own['shown'])}"),
        ("name", document["pii_principal_id"] or "none: a refusal belongs to nobody"),
        ("changes", _changes(own["changes"])),
        ("declaration", f"revision {notice['version']}, {_kept(verdict.declaration)}, {notice['sha256']}"),
        ("words", _words(verdict, own)),
    ]
    return [(heading, line) for heading, line in lines if line]


def _changes(count: int) -> str:
    return f"{count} before it under that name" if count else ""


def _languages(page: str, shown: Mapping[str, Any]) -> str:
    declared = shown["declared_language"]
    return f"{page or 'no language'}" + (f", the site's own texts in {declared}" if declared != page else "")


def _words(verdict: _Verdict, own: Mapping[str, Any]) -> str:
    if verdict.words is None and own["surface"] == _BY_THE_APPLICATION:
        return "the application's own, which it keeps itself"
    return f"{_kept(verdict.words is not None)}, {own['shown']['sha256']}"


def _kept(whole: bool) -> str:
    return "whole" if whole else "missing"


def _answered(state: str) -> str:
    return {"consent given": "yes", "consent refused": "no"}.get(state, "asked each time")
