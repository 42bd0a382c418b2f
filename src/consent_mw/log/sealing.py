"""From what a recorder gathered of an exchange to the frame in the spool: each purpose's part sealed under its key."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from os import urandom
from typing import Final, TypeAlias

import msgspec

from consent_mw.crypto.sealer import NONCE_BYTES, Sealer, names_of
from consent_mw.exceptions import KeyDestroyed
from consent_mw.records import new_id_bytes
from consent_mw.spool.bundles import BUNDLE, Bundle, frame_head, length_of, parts_of
from consent_mw.system.days import DAY_NS, QUARTER_SECONDS

#: `None`, encoded: instead of what a purpose may know, where even that could not be gathered.
_NOTHING: Final = b"\xc0"

_QUARTER_NS: Final = QUARTER_SECONDS * 10**9

#: A purpose, and what its seal is bound to beside the facts of the exchange.
Place: TypeAlias = tuple[str, bytes]


class Gathered(msgspec.Struct, array_like=True, frozen=True):
    """
    An exchange as it crosses the memory that two processes share. Nothing in it is sealed yet.

    Attributes:
        begun: The id under which it was kept when it began, or none.
        facts: The encoded `Bundle`.
        owns: The encoded `Own` of each purpose.
    """

    started_ns: int
    begun: bytes
    facts: msgspec.Raw
    owns: tuple[msgspec.Raw, ...]


class Sealing:
    """Makes frames. Used by the worker that gathered, or by the process that drains."""

    def __init__(self, sealer: Sealer) -> None:
        self._seal = sealer.seal_bytes
        self._ready = sealer.ready
        self._head = frame_head(sealer.keyring.name)

    def of_ring(self, payload: bytes, noise: bytes) -> tuple[bytes, list[KeyDestroyed]]:
        """
        Return the frame of an encoded `Gathered`, and an error for each part whose key is gone.

        Args:
            noise: Its id is made from it, so it must be the same whenever the same payload is sealed.

        Raises:
            ConsentError: The keyring cannot be reached.
        """
        gathered = _decode(payload)
        facts = bytes(gathered.facts)
        id_bytes = gathered.begun or new_id_bytes(gathered.started_ns, noise)
        places = _places(bytes(Bundle.read(facts).layout))
        owns = [None if bytes(own) == _NOTHING else own for own in gathered.owns]
        return self.frame(id_bytes, gathered.started_ns, urandom(NONCE_BYTES), facts, places, owns)

    def frame(
        self,
        id_bytes: bytes,
        started_ns: int,
        nonce: bytes,
        facts: bytes,
        places: Iterable[Place],
        owns: Iterable[object],
    ) -> tuple[bytes, list[KeyDestroyed]]:
        """
        Return the frame, and an error for each part whose key is destroyed, since the clock stepped back. Purposes that
        end later are kept. Raises ConsentError as `of_ring`.

        Args:
            nonce: Fresh from the operating system. Each purpose has its own key, so one is enough for all.
            owns: What each purpose may know, to be encoded; None for a part that is missing already.
        """
        encode = _encode  # one look-up for all purposes
        ready = self._ready(started_ns // _QUARTER_NS).get
        sealed: list[bytes] = []
        gone: list[KeyDestroyed] = []
        for (purpose, names), own in zip(places, owns, strict=True):
            if own is None:
                sealed.append(b"")
                continue
            cipher, plain, bound = ready(purpose), encode(own), names + facts
            if cipher is not None:
                sealed.append(cipher[0] + nonce + cipher[1].encrypt(nonce, plain, id_bytes + bound))
                continue
            try:
                sealed.append(self._seal(id_bytes, started_ns // DAY_NS, purpose, bound, plain, nonce))
            except KeyDestroyed as error:
                sealed.append(b"")
                gone.append(error)
        return self._head + id_bytes + length_of(facts) + facts + encode(sealed), gone


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Gathered).decode


@lru_cache(maxsize=64)  # one for each set of purposes that a visitor may have allowed
def _places(layout: bytes) -> tuple[Place, ...]:
    return tuple((part.purpose, names_of(BUNDLE, part.purpose)) for part in parts_of(layout))
