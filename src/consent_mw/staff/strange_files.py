"""What in the files of a data directory is not as the site wrote it: nothing of it is passed by in silence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from consent_mw.audit import Audit
from consent_mw.consent.wordings import Wordings
from consent_mw.crypto.key_slots import PAGE, KeySlots, identity
from consent_mw.crypto.known_keyrings import KnownRings
from consent_mw.hosts.book import Book
from consent_mw.paths import Places
from consent_mw.policy.revisions import Revisions
from consent_mw.rights.ledger import Entry
from consent_mw.system.journals import strange_lines, without
from consent_mw.system.ownership import content, regular


def strange_files(places: Places) -> list[str]:
    """
    Return what is strange, one line each, with the fix; and what cannot be read. Leaves out what other checks report:
    the store, the audit chain, empty files, and a key file of another kind.
    """
    faults: list[str] = []
    for examine in (_journals, strange_declarations, _wordings, _others):
        try:
            faults += examine(places)
        except OSError as error:
            faults.append(f"{error.filename}: cannot be read ({error.strerror}); let this user read it")
    return faults


def strange_erasures(places: Places) -> list[str]:
    """Return what is strange in the ledgers of erasures, as `strange_files` does. Raises OSError."""
    lost = "what is not known there as erased comes back with a backup"
    return [line for path in (places.erasures, places.erasures_of_hosts) for line in _strange(path, Entry.parse, lost)]


def _journals(places: Places) -> list[str]:
    return [
        *_strange(places.rings, KnownRings.is_line, "a keyring that is not known there is not missed"),
        *strange_erasures(places),
        *_strange(places.host_book, Book.is_line, "what other hosts announced there is missing"),
    ]


def _strange(path: Path, is_ours: Callable[[bytes], object], lost: str) -> Iterator[str]:
    if not path.is_file():
        return
    with open(path, "rb", opener=regular) as file:
        lines = strange_lines(file, is_ours)
    if not lines:
        return
    which = f"line {lines[0]} and {len(lines) - 1} more are" if len(lines) > 1 else f"line {lines[0]} is"
    yield (
        f"{path}: {which} not as the site wrote the file, and {lost}; put it back from a copy, or else run: "
        f"sed -i '{without(lines)}' {path}"
    )


def strange_declarations(places: Places) -> list[str]:
    """Return which published declarations were changed, as `strange_files` does. Raises OSError."""
    return [_changed(path) for path in Revisions(places.revisions).changed()]


def _wordings(places: Places) -> list[str]:
    return [_changed(path) for path in Wordings(places.wordings).changed()]


def _changed(path: Path) -> str:
    return f"{path}: was changed since it was kept; put back the file of the same name from a backup"


def _others(places: Places) -> Iterator[str]:
    audit = Audit(places.audit, places.audit_head)
    if not audit.has_seen and audit.seen.stat().st_size:
        yield (
            f"{audit.seen}: is not what the site wrote, so an older chain that is put back would pass; compare the "
            "chain with an anchor (consent-mw audit verify --anchor), then remove this file"
        )
    for file in (places.keys, places.archive_keys):
        if file.is_file() and (damaged := _damaged_keys(content(file))):
            yield (
                f"{file}: {damaged} of its keys are damaged, and what they sealed can be neither read nor erased; "
                "look at the disk: the next destruction overwrites them"
            )


def _damaged_keys(blob: bytes) -> int:
    try:
        identity(blob[:PAGE])
    except ValueError:
        return 0
    return len(KeySlots.read(blob).damaged)
