"""The keys that a host wraps for others: each that it can open, for each host that lacks it."""

from __future__ import annotations

import logging
from collections.abc import Sequence, Set

from consent_mw.crypto.wrapping import wrapped
from consent_mw.exceptions import KeyDestroyed
from consent_mw.hosts.keyring import SharedKeyring
from consent_mw.hosts.messages import Body, Place, Pub, Wraps, context, digest_of_public
from consent_mw.hosts.view import Wrap

_log = logging.getLogger("consent_mw")


class Sharing:
    """What is still to wrap for other hosts."""

    def __init__(self, keyring: SharedKeyring) -> None:
        self._keyring = keyring
        self._nothing_due = -1  # the keyring's generation at which there was nothing to share

    def is_behind(self) -> bool:
        """Whether another host lacks keys that this one can open."""
        return bool(self._due())

    def due(self) -> list[Body]:
        """Return the messages to write. Raises OSError."""
        return self._wraps(self._due())

    def _due(self) -> list[Wrap]:
        ring, generation = self._keyring, self._keyring.generation
        if generation == self._nothing_due:
            return []
        view, me, missing = ring.view, ring.identity.id, list[Wrap]()
        others = view.names.keys() - view.retired.keys() - {me}
        for place in map(Place._make, ring.file.live()) if others else ():
            hosts = view.pubs.get(place, {}).keys() - view.retired.keys() - view.confirms.get(place, {}).keys() - {me}
            hosts -= {former for former in hosts & ring.identity.ids if self._is_own(place, former)}
            owners = view.in_use(place, me) if hosts else []
            wraps = [Wrap(place, owner, to) for to in sorted(hosts) for owner in owners if owner != to]
            missing += [wrap for wrap in wraps if wrap not in view.wraps and self._key(wrap) is not None]
        if not missing:
            self._nothing_due = generation
        return missing

    def _wraps(self, wanted: Sequence[Wrap]) -> list[Body]:
        # The recipients are on the disk before any wrap exists: the host lists them when it confirms, after it has
        # overwritten the slot.
        self._keyring.add(notes=sorted({("shared", wrap.place, wrap.to) for wrap in wanted}))
        by_day: dict[tuple[bytes, int], list[tuple[str, bytes, bytes]]] = {}
        publics = self._publics({(wrap.to, wrap.place.day) for wrap in wanted})
        for wrap in wanted:
            key, (public, _) = self._key(wrap), self._keyring.view.pubs[wrap.place][wrap.to]
            public = publics.get(public, public)
            if key is None:  # destroyed meanwhile
                continue
            try:
                enc = wrapped(key, public, context(wrap.place, wrap.owner, wrap.to, public))
            except ValueError as error:
                _log.error("%s: nothing can be wrapped for it: %s", self._keyring.view.name(wrap.to), error)
                continue
            by_day.setdefault((wrap.to, wrap.place.day), []).append((wrap.place.label, wrap.owner, enc))
        return [Wraps(day=day, to=to, keys=keys) for (to, day), keys in by_day.items()]

    def _is_own(self, place: Place, host: bytes) -> bool:
        try:
            secret = self._keyring.file.key(*place, create=False)
        except KeyDestroyed:
            return True
        return self._keyring.view.is_own(place, host, self._keyring.identity.ids, secret)

    def _publics(self, of: Set[tuple[bytes, int]]) -> dict[bytes, bytes]:
        """Return the public parts, by their digests, of these hosts and days that are here in brief."""
        briefs = self._keyring.view.briefs.values()
        ids = {brief.id for brief in briefs if isinstance(brief.body, Pub) and (brief.author, brief.body.day) in of}
        bodies = [message.body for message in self._keyring.book.messages(ids)] if ids else []
        parts = [part for body in bodies if isinstance(body, Pub) for part in body.parts.values()]
        return {digest_of_public(public): public for public, _ in parts}

    def _key(self, wrap: Wrap) -> bytes | None:
        try:
            secret = self._keyring.file.key(*wrap.place, create=False)
        except KeyDestroyed:
            return None
        return self._keyring.key_of(wrap.place, wrap.owner, secret)
