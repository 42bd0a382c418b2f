"""What a process keeps in mind of a message whose record is in the book alone: all but what takes room. Pure."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final
from uuid import UUID

import msgspec

from consent_mw.hosts.messages import AUDIT, Body, Chosen, Message, Pub, Published, digest_of_public
from consent_mw.records import Record, encode_record

_DIGEST_BYTES: Final = 16


class Brief(msgspec.Struct, frozen=True, array_like=True):
    """
    A message without its record, and without its text or its public parts, of which it has digests.

    Attributes:
        id: The id of the record.
        digest: Tells the record from another one with the same id.
    """

    id: UUID
    digest: bytes
    author: bytes
    body: Body

    @classmethod
    def of(cls, message: Message) -> Brief | None:
        """Return a message in brief; None of one that is needed as it is, of which there are few."""
        body = message.body
        if not is_bulky(body):
            return None
        if isinstance(body, Pub):
            body = Pub(
                name=body.name,
                day=body.day,
                parts={label: (digest_of_public(public), own) for label, (public, own) in body.parts.items()},
            )
        elif isinstance(body, Published):
            body = msgspec.structs.replace(body, text="")
        return cls(message.record.id, digest_of_record(message.record), message.author, body)


def is_bulky(body: Body) -> bool:
    """Whether there is such a message for each living part of a day, or for each erasure: too many to keep whole."""
    return isinstance(body, Pub | Chosen) or (isinstance(body, Published) and body.until_ns > 0 and body.shelf != AUDIT)


def digest_of_record(record: Record) -> bytes:
    """Return what tells a record from every other one."""
    return blake2b(encode_record(record), digest_size=_DIGEST_BYTES).digest()
