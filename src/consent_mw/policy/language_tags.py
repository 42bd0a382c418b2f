"""Which of several language tags serves a reader of another one. Pure, and small: it is asked in every request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

#: Subtags that were replaced by others, and still are what some browsers send (IANA Language Subtag Registry; for "no",
#: "tl" and "sh" CLDR's aliases).
_ALIASES: Final[Mapping[str, str]] = {
    "cmn": "zh",
    "in": "id",
    "iw": "he",
    "ji": "yi",
    "jw": "jv",
    "mo": "ro",
    "no": "nb",
    "sh": "sr-latn",
    "tl": "fil",
}
#: The default script of languages that have several, and another one by region (CLDR, likelySubtags). A reader of one
#: script may not read the other.
_SCRIPTS: Final[Mapping[str, str]] = {
    "az": "latn", "az-ir": "arab", "bs": "latn", "kk": "cyrl", "kk-cn": "arab", "ku": "latn", "ku-iq": "arab",
    "ky": "cyrl", "mn": "cyrl", "mn-cn": "mong", "pa": "guru", "pa-pk": "arab", "sr": "cyrl", "sr-me": "latn",
    "uz": "latn", "uz-af": "arab", "yue": "hant", "yue-cn": "hans", "zh": "hans", "zh-hk": "hant", "zh-mo": "hant",
    "zh-tw": "hant",
}  # fmt: skip
#: Languages whose readers another language serves if theirs is missing (CLDR, languageMatching: a distance below 5).
_NEAR: Final[Mapping[str, str]] = {"nb": "nn", "nn": "nb", "yue": "zh"}
#: Languages of their own that may stand behind a larger one's name: "zh-yue" is "yue" (RFC 5646, section 2.2.2).
_EXTENDED: Final = frozenset(("cmn", "yue"))
_MOST_SUBTAGS: Final = 8


def lookup(wanted: str, available: Iterable[str]) -> str | None:
    """
    Return the one of `available` that serves a reader of `wanted`, or None. Case does not matter.

    RFC 4647, section 3.4: a tag is shortened from the right until one fits, so that "en-GB" finds "en"; one for a
    whole language also finds a regional variety, so that "pt" finds "pt-BR". Old subtags mean the new ones ("iw" is
    "he"), and nobody gets a script that they did not ask for: "zh-Hant" and "zh-TW" do not find "zh". An underscore
    counts as a hyphen.
    """
    parts, script = _parts(wanted)
    available = tuple(available)
    tag = _best(parts, script, available)
    near = _NEAR.get(parts[0])
    return tag or (_best((near, *parts[1:]), script, available) if near else None)


def _best(parts: tuple[str, ...], script: str, available: Iterable[str]) -> str | None:
    known: dict[tuple[str, ...], str] = {}
    for tag in available:
        subtags, written = _parts(tag)
        if subtags[0] == parts[0] and (not script or not written or script == written):
            known.setdefault(subtags, tag)
    for length in range(len(parts), 0, -1):
        if parts[:length] in known:
            return known[parts[:length]]
    return next(iter(known.values()), None)


def _parts(tag: str) -> tuple[tuple[str, ...], str]:
    """Return the subtags of a tag in their newer form, without its script, and the script that it means."""
    first, *rest = tag.lower().replace("_", "-").split("-")[:_MOST_SUBTAGS]
    if first == "zh" and rest and rest[0] in _EXTENDED:
        first = rest.pop(0)
    first, _, script = _ALIASES.get(first, first).partition("-")
    if rest and len(rest[0]) == 4 and rest[0].isalpha():
        script = rest.pop(0)
    if not script:
        region = rest[0] if rest else ""
        script = _SCRIPTS.get(f"{first}-{region}", _SCRIPTS.get(first, ""))
    return (first, *rest), script
