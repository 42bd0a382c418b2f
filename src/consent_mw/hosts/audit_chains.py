"""What hosts told of their audit chains, and what is wrong with it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from typing import Final, NamedTuple

import msgspec

from consent_mw.audit import Anchor, Entry, Verdict, entries_of, followed
from consent_mw.exceptions import ConfigurationError

#: The fact of an entry that names the ends of other hosts' chains, by their ids.
ANCHORS: Final = "anchors"
_CAUSES: Final = "its chain was cut or made anew, or its directory was copied while it ran"


class HostChain(NamedTuple):
    """
    What one host told of its audit chain.

    Attributes:
        host: The host's id, in hexadecimal.
        entries: Every entry that it told, in order.
        verdict: Whether that is one whole chain. Where it should end only others can say.
        lines: The lines by number.
    """

    host: str
    entries: Sequence[Entry]
    verdict: Verdict
    lines: Mapping[int, bytes]

    @classmethod
    def of(cls, host: str, published: Mapping[int, Set[bytes]]) -> HostChain:
        """Return the chain of the lines that the host published under each number."""
        numbers = sorted(published)
        entries = list(entries_of(line for number in numbers for line in sorted(published[number])))
        lines = {number: min(published[number]) for number in numbers}
        whole = [lines[number] for number in range(1, len(numbers) + 1) if number in lines]
        verdict = followed(whole)
        if double := [number for number in numbers if len(published[number]) > 1]:
            verdict = verdict._replace(broken=f"entry {double[0]}: the host told it twice, and not the same; {_CAUSES}")
        elif len(whole) < len(numbers):
            verdict = verdict._replace(broken=f"entry {len(whole) + 1}: missing")
        return cls(host, entries, verdict, lines)

    def runs_through(self, anchor: Anchor) -> bool:
        """Whether the chain has this end, or had it before it grew."""
        return self.lines.get(anchor.number, b"").endswith(f'"hash":"{anchor.hash}"}}\n'.encode())


def anchored(entries: Iterable[Entry]) -> dict[str, int]:
    """Return up to which entry of each other host's chain these entries anchor it."""
    anchors: dict[str, int] = {}
    for host, anchor in _anchors(entries):
        anchors[host] = max(anchor.number, anchors.get(host, 0))
    return anchors


def faults_between(own: Sequence[bytes], me: str, chains: Sequence[HostChain], name: Mapping[str, str]) -> list[str]:
    """
    Return what is wrong with the chains of the hosts, by each other.

    Args:
        own: The lines of this host's own chain.
        me: This host's id.
        name: How each host is called, by its id.
    """
    faults = [f"{name.get(chain.host, chain.host)}: {chain.verdict.broken}" for chain in chains if chain.verdict.broken]
    by_host = {chain.host: chain for chain in chains}
    here, shared = dict(enumerate(own, 1)), by_host[me].lines if me in by_host else dict[int, bytes]()
    if other := [number for number, line in shared.items() if here.get(number) != line]:
        faults.append(
            f"this host: entry {other[0]} is missing or another than the one that it told the other hosts; {_CAUSES}"
        )
    for entries in (entries_of(own), *(chain.entries for chain in chains)):
        for host, anchor in _anchors(entries):
            chain = by_host.get(host)
            if chain is None or not chain.runs_through(anchor):
                faults.append(
                    f"{name.get(host, host)}: entry {anchor.number} is missing or another than the one that other "
                    f"hosts anchored; {_CAUSES}"
                )
    return list(dict.fromkeys(faults))


def _anchors(entries: Iterable[Entry]) -> Iterator[tuple[str, Anchor]]:
    for entry in entries:
        with suppress(msgspec.ValidationError, ConfigurationError):  # anyone may have written to the file
            ends = msgspec.convert(entry.facts.get(ANCHORS, {}), dict[str, str])
            yield from [(host, Anchor.parse(text)) for host, text in ends.items()]
