"""From `policy.toml` to a `Policy`: one reading finds every error, each with its place and its fix."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, cast
from zoneinfo import ZoneInfo, available_timezones

from consent_mw.exceptions import Fault, PolicyError
from consent_mw.policy.model import Policy, did_you_mean
from consent_mw.policy.reading.cookies import read_cookies
from consent_mw.policy.reading.log import read_log
from consent_mw.policy.reading.parties import read_parties
from consent_mw.policy.reading.purposes import read_purposes
from consent_mw.policy.reading.tables import EXAMPLES, Reading
from consent_mw.policy.reading.words import read_words
from consent_mw.policy.toml_lines import with_lines

#: The shape of the declaration that this version reads.
SCHEMA = 1

#: Whose law a policy may follow.
JURISDICTIONS: Final = ("KR", "EU", "UK", "US")
#: Of the United States: those of ISO 3166-2 that are states, and the district.
STATES: Final = re.compile(
    "US-(A[LKZR]|C[AOT]|D[EC]|FL|GA|HI|I[DLNA]|K[SY]|LA|M[EDAINSOT]|N[EVHJMYCD]|O[HKR]|PA|RI|S[CD]|T[NX]|UT|V[TA]|W[AVIY])"
)
#: Every other attribute of `Policy` is a key or a table of the declaration.
_NOT_AT_THE_TOP = {"file", "digest", "undeclared", "seal"}
_TOP = ("schema", *(name for name in Policy.__struct_fields__ if name not in _NOT_AT_THE_TOP))
_REQUIRED = ("schema", "revision", "published", "effective", "languages", "controller")

# Every file of the database is looked into for it, and a command may read each revision that was kept.
_time_zones = lru_cache(maxsize=1)(available_timezones)


def load(path: str | Path) -> Policy:
    """
    Read and check the declaration at `path`.

    Raises:
        PolicyError: It cannot be read or enforced; `faults` holds every fault.
    """
    place = Path(path)
    try:
        if place.exists() and not (place.is_file() or place.is_dir()):  # a pipe, a device: reading it may never end
            raise PolicyError(Fault(str(path), "", "is no regular file", "put the declaration itself there"))
        text = place.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise PolicyError(Fault(str(path), "", "there is no such file", "write one with: consent-mw init")) from None
    except OSError as error:
        raise PolicyError(
            Fault(str(path), "", f"cannot be read ({error.strerror})", "check its permissions")
        ) from error
    except UnicodeDecodeError as error:
        fix = "save it as UTF-8, which TOML requires"
        raise PolicyError(Fault(str(path), f"byte {error.start}", "is no UTF-8", fix)) from error
    return loads(text, file=str(path))


def loads(text: str, *, file: str = "policy.toml") -> Policy:
    """
    Read and check a declaration that is already in memory; `file` names it in messages.

    Raises:
        PolicyError: As `load`.
    """
    if text.startswith("\ufeff"):
        fix = "save it as UTF-8 without one"
        raise PolicyError(Fault(file, "byte 0", "no valid TOML: begins with a byte order mark", fix))
    try:
        raw = tomllib.loads(text)
        digest = hashlib.sha256(text.encode()).hexdigest()
    except tomllib.TOMLDecodeError as error:
        problem, _, place = str(error).rpartition(" (at ")
        raise PolicyError(
            Fault(file, place.rstrip(")"), f"no valid TOML: {problem or error}", "fix the line; dates are 2026-12-31")
        ) from error
    except (ValueError, RecursionError) as error:  # tomllib lets through a number of 5,000 digits, brackets 1,000 deep
        fix = "start again from the file of: consent-mw init"
        raise PolicyError(Fault(file, "", f"no valid TOML: {error}", fix)) from error
    reading = Reading(file)
    policy = _policy(reading, raw, digest)
    if policy is None or reading.faults:
        raise PolicyError(*with_lines(text, reading.faults))
    return policy


def _policy(reading: Reading, raw: Mapping[str, object], digest: str) -> Policy | None:
    reading.unknown(raw, _TOP, "")
    for key in _REQUIRED:
        if key not in raw:
            reading.fault("", f"has no {key}", f"add {EXAMPLES[key]}")
    declared = reading.table(raw, "purposes")  # references are checked by name: a faulty purpose is still declared
    purposes = read_purposes(reading, declared)
    head = _head(reading, raw)
    parties = read_parties(reading, raw, declared)
    receivers = (*parties["recipients"], *parties["processors"])
    printed = {"processors": bool(parties["processors"]), "transfers": any(part.transfer for part in receivers)}
    parts = {
        **head,
        **parties,
        **read_cookies(reading, raw, declared),
        **read_log(reading, raw, declared),
        **read_words(reading, raw, head["effective"], printed),
    }
    return None if reading.faults else Policy(file=reading.file, digest=digest, purposes=purposes, **parts)


def _head(reading: Reading, raw: Mapping[str, object]) -> dict[str, Any]:
    """Read which revision it is, of whose law, and when it takes effect."""
    _schema(reading, raw.get("schema", SCHEMA))
    published = reading.day(raw.get("published"), "published")
    effective = reading.day(raw.get("effective"), "effective")
    if published and effective and effective < published:
        reading.fault("effective", f"{effective} is before published, {published}", "announce first, then take effect")
    return {
        "revision": _revision(reading, raw.get("revision", 1)),
        "published": published,
        "effective": effective,
        "time_zone": _zone(reading, raw.get("time_zone", "UTC")),
        "languages": _languages(reading, raw.get("languages", ["en"])),
        "jurisdiction": _jurisdiction(reading, raw.get("jurisdiction", "EU")),
    }


def _schema(reading: Reading, raw: object) -> None:
    if type(raw) is not int or raw != SCHEMA:  # to Python, true and 1.0 are 1 as well
        newer = type(raw) is int and raw > SCHEMA
        fix = "upgrade consent-mw" if newer else f"write schema = {SCHEMA}"
        reading.fault("schema", f"{raw!r} is not {SCHEMA}, which this version reads", fix)


def _revision(reading: Reading, raw: object) -> int:
    if isinstance(raw, int) and not isinstance(raw, bool) and 1 <= raw < 1_000_000:
        return raw
    reading.fault("revision", f"{raw!r} is no revision", "write a whole number from 1, raised with each change")
    return 1


def _zone(reading: Reading, raw: object) -> ZoneInfo:
    if isinstance(raw, str) and raw in _time_zones():
        return ZoneInfo(raw)
    fix = did_you_mean(str(raw), sorted(_time_zones())).split("known are")[0]
    reading.fault("time_zone", f"{raw!r} is no time zone", fix or 'write one such as "Asia/Seoul"')
    return ZoneInfo("UTC")


def _languages(reading: Reading, raw: object) -> tuple[str, ...]:
    tags = cast("list[object]", raw) if isinstance(raw, list) else []
    if _are_tags(tags):
        reading.words(tags, str, "languages")
        return tuple(cast("list[str]", tags))
    respelled = [re.sub("^[A-Za-z]+", lambda code: code[0].lower(), str(tag).replace("_", "-")) for tag in tags]
    meant = f"languages = {json.dumps(respelled)}" if _are_tags(respelled) else EXAMPLES["languages"]
    reading.fault("languages", f"{raw!r} is no list of language tags", f"write {meant}")
    return ("en",)


def _are_tags(tags: Sequence[object]) -> bool:
    tag = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
    return bool(tags) and all(isinstance(text, str) and tag.fullmatch(text) for text in tags)


def _jurisdiction(reading: Reading, raw: object) -> str:
    if isinstance(raw, str) and STATES.fullmatch(raw):
        return raw
    if isinstance(raw, str) and raw.startswith("US-"):
        reading.fault("jurisdiction", f"{raw!r} is no state", 'write one such as "US-CA", or "US"')
        return "US"
    return reading.one_of(raw, JURISDICTIONS, "jurisdiction")
