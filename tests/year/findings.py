"""The rules, each with the sentence of the documents that it holds the site to; and what was found against one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Final, NamedTuple

#: By rule: the page, and the sentence that stands there.
RULES: Final[dict[str, tuple[str, str]]] = {
    "gate": ("gate.md", "It works on the raw lines"),
    "asked": ("visitor.md", "of each HTML page for as long as there is something to ask"),
    "notice": ("visitor.md", "until it takes effect, every page shows a notice"),
    "kept": ("durability.md", "What a client has seen whole is in the log."),
    "not kept": ("policy.md", "only visitors who allowed it are recorded"),
    "once": ("durability.md", "nothing is there twice"),
    "no mark": ("log.md", "It exists only under a purpose that is asked about and that this visitor allowed"),
    "own pages": ("log.md", "With our own pages: only what is not asked about"),
    "ended": ("retention.md", "is deleted when its hour has ended"),
    "late": ("policy.md", "at most 24 hours late"),
    "key": ("retention.md", "makes everything that it sealed unreadable wherever it lies"),
    "key too early": ("retention.md", "and not a moment early"),
    "archive": ("retention.md", "opened, sealed again under a key of the archive, written into it"),
    "erased": ("rights.md", "what was collected under the consent is erased"),
    "receipt": ("log.md", "a visitor chose something else than what was in force"),
    "verify": ("visitor.md", "says what such a receipt proves"),
    "restricted": ("log.md", "**Records of people under restriction are left out**"),
    "read": ("log.md", "Data collected for another purpose are not shown"),
    "disclosed": ("requests.md", "The command says how many records are concerned"),
    "my data": ("rights.md", "Visitors who are known see what is held about them"),
    "my data, restricted": ("rights.md", "whether nobody may use the data now"),
    "known": ("rights.md", "Two things prove who somebody is, and nothing else does"),
    "withdrawn": ("rights.md", "**To withdraw and to erase is never refused**"),
    "counts": ("retention.md", "A cell behind which fewer than five visitors stand is counted in `(other)`"),
    "small cell": ("retention.md", "fewer than five visitors"),
    "certificate": ("retention.md", "So the certificate says how many rows were deleted, whatever is interrupted"),
    "request": ("requests.md", "requests that visitors make about their data are registered, dated, answered and kept"),
    "due": ("requests.md", "one month for `EU` and `UK`, on the calendar of its time zone"),
    "command": ("operator.md", "It changes nothing that you would miss"),
    "gap": ("durability.md", "**What is lost is itself a record**"),
}  # fmt: skip


class Finding(NamedTuple):
    """Something that is not as the documents say."""

    rule: str
    at: datetime
    who: str
    text: str

    def __str__(self) -> str:
        page, sentence = RULES[self.rule]
        return (
            f"{self.at:%Y-%m-%d %H:%M:%S} {self.who or 'the site'}: {self.text} [{self.rule}; docs/{page}: {sentence}]"
        )


class Findings:
    """
    Attributes:
        judged: How often each rule was asked.
    """

    def __init__(self) -> None:
        self.all: list[Finding] = []
        self.judged: Counter[str] = Counter()
        self._said: set[tuple[str, str, str]] = set()

    def holds(self, rule: str, fine: bool, at: datetime, who: str, said: str | Callable[[], str]) -> None:
        """Judge once; what is found again at a later look is told once."""
        self.judged[rule] += 1
        if fine:
            return
        text = said if isinstance(said, str) else said()
        if (rule, who, text) not in self._said:
            self._said.add((rule, who, text))
            self.all.append(Finding(rule, at, who, text))
