"""The shelves of a host, on which every host has what one of them published: revisions, wordings, chains, erasures."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from consent_mw.hosts.link import Link
from consent_mw.hosts.messages import Body, Published
from consent_mw.system.shelf import Kept, Shelf

_log = logging.getLogger("consent_mw")


class Shelves:
    """What every host must have if one host has it."""

    def __init__(self, link: Link, shelves: Sequence[Shelf]) -> None:
        self._link = link
        self._shelves = shelves
        self._refused: set[str] = set()  # names of what cannot be kept here; each is logged once

    def take(self, only: str = "") -> None:
        """Keep on all shelves, or on one, what others have published and is not here."""
        for shelf in self._shelves:
            if only not in ("", shelf.label):
                continue
            published = self._link.keyring.view.published.get(shelf.label, {})
            missing = published.keys() - shelf.names() - self._refused
            due = [said for name, said in published.items() if name in missing] if missing else []
            for said in self._whole([said for said in due if not 0 < said.until_ns < self._link.clock()]):
                self._put(shelf, said)

    def due(self, only: str = "") -> list[Body]:
        """Return messages with what is new on all shelves, or on one."""
        known = self._link.keyring.view.published
        return [
            Published(shelf=shelf.label, name=name, **shelf.kept(name)._asdict())
            for shelf in self._shelves
            if only in ("", shelf.label)
            for name in sorted(shelf.names() - known.get(shelf.label, {}).keys())
        ]

    def _whole(self, published: Sequence[Published]) -> list[Published]:
        """Return what was published with its text, which of some only the book has. It is read once for all."""
        keyring = self._link.keyring
        short = {(said.shelf, said.name) for said in published if not said.text}
        ids = {
            number
            for number, brief in keyring.view.briefs.items()
            if isinstance(brief.body, Published) and (brief.body.shelf, brief.body.name) in short
        }
        bodies = [message.body for message in keyring.book.messages(ids)] if short else []
        texts = {(body.shelf, body.name): body for body in bodies if isinstance(body, Published)}
        return [texts.get((said.shelf, said.name), said) for said in published]

    def _put(self, shelf: Shelf, said: Published) -> None:
        try:
            shelf.take(said.name, Kept(said.text, said.at_ns, said.until_ns))
        except ValueError as error:
            self._refused.add(said.name)
            _log.error("the %s %s, which another host has, %s", shelf.label, said.name, error)
        else:
            if shelf.label == "revision":
                _log.info("the revision %s was published on another host", said.name)
