"""Each host keeps every host's audit chain, and a chain that is cut or made anew anywhere is found."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.one_host import OneHost

from consent_mw.audit import Audit
from consent_mw.hosts.audit_chains import faults_between
from consent_mw.hosts.audit_shelf import AuditShelf, chains_in
from consent_mw.hosts.messages import AUDIT, PART_LINES, Message, Published, believed, written
from consent_mw.hosts.view import View
from consent_mw.stores.memory import MemoryStore

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


class Host:
    """One host's chain and shelf."""

    def __init__(self, directory: Path, number: int) -> None:
        directory.mkdir()
        self.id = f"{number:032x}"
        self.audit = Audit(directory / "audit.jsonl", directory / "audit.head")
        self.others = directory / "audit-of-hosts"
        self.shelf = self.new_shelf()

    def new_shelf(self) -> AuditShelf:
        return AuditShelf(self.audit, self.others, lambda: self.id, lambda: int(NOW.timestamp() * 1e9))

    def read(self, reason: str) -> None:
        self.audit.append({"user": "kim", "host": self.id[-1], "command": "log", "reason": reason}, now=NOW)

    def cut(self, lines: int) -> None:
        """As somebody would who may write everything here: the chain ends earlier, and its other files say so."""
        facts = [entry.facts["reason"] for entry in self.audit.entries()][:lines]
        for file in (self.audit.path, self.audit.head, self.audit.seen):
            file.unlink()
        for reason in facts:
            self.read(str(reason))

    @property
    def faults(self) -> list[str]:
        return faults_between(self.audit.lines(), self.id, chains_in(self.others), {})

    def reasons(self, of: Host) -> list[object]:
        return [
            entry.facts["reason"]
            for chain in chains_in(self.others)
            if chain.host == of.id
            for entry in chain.entries
            if "reason" in entry.facts
        ]


@pytest.fixture
def hosts(tmp_path: Path) -> list[Host]:
    return [Host(tmp_path / str(number), number) for number in range(3)]


def tell(hosts: list[Host]) -> None:
    """What the store does: each host gets what the others have and it has not."""
    for _ in range(2):  # an anchor that is written because of what was heard is told too
        for one in hosts:
            for name in one.shelf.names():
                for other in hosts:
                    if name not in other.shelf.names():
                        other.shelf.take(name, one.shelf.kept(name))


def test_one_list_has_who_read_what_on_each_host(hosts: list[Host]) -> None:
    hosts[0].read("first")
    tell(hosts)
    hosts[1].read("second")
    hosts[0].read("third")
    tell(hosts)
    for host in hosts:
        assert host.reasons(hosts[0]) == ["first", "third"]
        assert host.reasons(hosts[1]) == ["second"]
        assert host.faults == []


def test_hosts_that_read_nothing_do_not_answer_each_other_for_ever(hosts: list[Host]) -> None:
    hosts[0].read("first")
    for _ in range(10):
        for host in hosts:
            host.shelf = host.new_shelf()  # as if an hour had passed
        tell(hosts)
    assert [len(host.audit.lines()) for host in hosts] == [1, 1, 1]


def test_chains_to_which_nothing_came_are_not_read_again(hosts: list[Host]) -> None:
    hosts[0].read("first")
    tell(hosts)
    shelf = hosts[1].new_shelf()
    names = shelf.names()
    for name in names:  # from here on, reading one raises
        (hosts[1].others / name).unlink()
        (hosts[1].others / name).mkdir()
    assert shelf.names() == names


@pytest.mark.parametrize("left", [0, 1, 2])
def test_a_chain_that_was_cut_and_made_anew_is_found_by_each_host(
    left: int, hosts: list[Host], caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        hosts[0].read(f"reading {number}")
    tell(hosts)
    hosts[0].cut(left)
    hosts[0].shelf = hosts[0].new_shelf()
    with caplog.at_level(logging.ERROR):
        tell(hosts)
    assert "the chain was cut or made anew" in caplog.text
    assert "this host: entry" in hosts[0].faults[0]
    hosts[0].read("after the cut")
    tell(hosts)
    for host in hosts[1:]:
        assert "after the cut" in host.reasons(hosts[0])
        assert any("told it twice" in fault for fault in host.faults), host.faults


def test_what_is_lost_everywhere_but_in_an_anchor_is_missed(hosts: list[Host]) -> None:
    hosts[0].read("first")
    hosts[0].read("second")
    tell(hosts)
    (part,) = (name for name in hosts[1].shelf.names() if name.startswith(hosts[0].id))
    (hosts[1].others / part).unlink()
    assert any("other hosts anchored" in fault for fault in hosts[1].faults)


def test_a_part_that_is_missing_in_between_is_named(hosts: list[Host]) -> None:
    for number in range(3):
        hosts[0].read(f"{number}")
        tell(hosts)
    second = next(name for name in hosts[2].shelf.names() if name.startswith(f"{hosts[0].id}-{2:012}"))
    (hosts[2].others / second).unlink()
    assert any("entry 2: missing" in fault for fault in hosts[2].faults)


def test_a_part_under_a_wrong_name_is_refused(hosts: list[Host]) -> None:
    hosts[0].read("first")
    (name,) = hosts[0].shelf.names()
    kept = hosts[0].shelf.kept(name)
    for wrong in (name[:-1] + "x", name.replace("-000000000001-", "-000000000002-", 1)[:-1] + "0", "../x"):
        with pytest.raises(ValueError, match="another part"):
            hosts[1].shelf.take(wrong, kept)
    with pytest.raises(ValueError, match="another part"):
        hosts[1].shelf.take(name, kept._replace(text=kept.text.replace("first", "other")))


def test_a_long_chain_is_kept_in_few_parts_on_each_host(hosts: list[Host]) -> None:
    for number in range(PART_LINES + 20):
        hosts[0].read(str(number))
        if number % 10 == 9:
            hosts[0].shelf.names()
        if number == PART_LINES // 2:
            tell(hosts)
    tell(hosts)
    for host in hosts:
        assert host.reasons(hosts[0]) == [str(number) for number in range(PART_LINES + 20)]
        assert host.faults == []
        assert len(host.shelf.names()) <= 1 + 2 + 2, "a block, what came since, and the anchors of the others"
    hosts[0].cut(PART_LINES - 50)
    hosts[0].read("another")
    tell(hosts)
    assert all(host.faults for host in hosts)


def test_a_part_of_a_chain_is_over_when_a_block_has_its_lines(tmp_path: Path) -> None:
    host, view = OneHost(tmp_path, MemoryStore()), View()
    lines = [f"line {number}\n" for number in range(PART_LINES)]

    def publish(first: int, text: str) -> Message:
        name = f"{host.keyring.identity.id.hex()}-{first:012}-{'0' * 32}"
        record = written(
            Published(shelf=AUDIT, name=name, text=text, at_ns=0), host.keyring.identity, host.signing, host.now_ns
        )
        message = believed(record, host.signing)
        assert message is not None
        view.take(message)
        return message

    early, other = publish(1, "".join(lines[:3])), publish(2, "another line\n")
    assert not view.is_over(early)
    block, late = publish(1, "".join(lines)), publish(4, "".join(lines[3:5]))
    assert [view.is_over(message) for message in (early, late, other, block)] == [True, True, False, False]
