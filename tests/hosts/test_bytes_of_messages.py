"""What the page says of the bytes of a message is enough to read and check each, with nothing of this package."""

from __future__ import annotations

import asyncio
from hashlib import blake2b
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from tests.support.one_host import OneHost, settle, start

from consent_mw.hosts.messages import messages
from consent_mw.stores.memory import MemoryStore


def test_each_message_is_as_the_page_says(tmp_path: Path) -> None:
    store = MemoryStore()
    one, two = OneHost(tmp_path / "one", store), OneHost(tmp_path / "two", store)

    async def work() -> None:
        await start(one, two)
        await settle(one, two)
        types = set[str]()
        for record in await store.fetch(messages()):
            key, signature, body = record.sealed[21:53], record.sealed[53:117], record.sealed[117:]
            signed = b"consent-mw host message 1" + record.id.bytes + body
            Ed25519PublicKey.from_public_bytes(key).verify(signature, signed)
            author = blake2b(key, digest_size=16, person=b"consent-mw host").digest()
            assert author in {one.keyring.identity.id, two.keyring.identity.id}
            types.add(msgspec.msgpack.decode(body)["type"])
        assert {"beat", "pub", "wraps", "chosen", "holds"} <= types

    asyncio.run(work())
