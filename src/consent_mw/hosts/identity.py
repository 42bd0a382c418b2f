"""The identity of a host: a key that signs its messages to the other hosts. It opens nothing."""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from consent_mw.exceptions import ConfigurationError
from consent_mw.system import durable
from consent_mw.system.locks import in_turn
from consent_mw.system.ownership import unlinked

ID_BYTES: Final = 16
KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
_NAME: Final = b"consent-mw host"
#: How many runs a host remembers: their beats may still be in the store. A beat of any other run comes from a copy.
_RUNS: Final = 64


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    """
    The content of the file.

    Attributes:
        seed: The seed of the Ed25519 key (RFC 8032).
        former: Public keys of identities that this directory had before.
        runs: Random names of the latest runs.
    """

    seed: bytes
    former: tuple[bytes, ...] = ()
    runs: tuple[bytes, ...] = ()


class Identity:
    """
    The identity of the host that owns this data directory, in a file (mode 0600).

    Attributes:
        key: The host's public key (32 bytes).
        id: The id by which other hosts know it (16 bytes).
        ids: Its current id and all former ones. Other hosts gave the keys that it holds to one of these.
        runs: Names of its latest runs, the newest last.
    """

    def __init__(self, path: Path) -> None:
        """
        Open the file, or create it.

        Raises:
            ConfigurationError: The file cannot be read or written, or it holds something else.
        """
        self._path = path
        try:
            with in_turn(path.parent):
                self._take(self._read() or self._write(_Kept(seed=os.urandom(KEY_BYTES))))
        except OSError as error:
            raise self._refused(f"cannot be used ({error.strerror})", "let this user read and write it") from error

    def begin_run(self) -> bytes:
        """Return the name (8 bytes) of a new run. It is on the disk before anything is sent. Raises OSError."""
        with in_turn(self._path.parent):
            kept = self._read() or self._kept
            name = os.urandom(8)
            self._take(self._write(msgspec.structs.replace(kept, runs=(*kept.runs, name)[-_RUNS:])))
        return name

    def has_run(self, name: bytes) -> bool:
        """Whether any process of this host began a run of that name. Raises OSError."""
        if name not in self.runs:
            with in_turn(self._path.parent):
                self._take(self._read() or self._kept)
        return name in self.runs

    def renew(self) -> None:
        """
        Become a new host that keeps what this one holds. For a host that was copied or retired. Raises OSError.
        """
        with in_turn(self._path.parent):
            kept = self._read() or self._kept
            if self.key == _public(kept.seed):  # otherwise another process was first
                # The names of its runs stay: its processes go on under them.
                kept = self._write(
                    msgspec.structs.replace(kept, seed=os.urandom(KEY_BYTES), former=(*kept.former, self.key))
                )
            self._take(kept)

    def signature(self, message: bytes) -> bytes:
        """Return the signature (64 bytes) of a message."""
        return self._private.sign(message)

    def _take(self, kept: _Kept) -> None:
        self._kept = kept
        self._private = Ed25519PrivateKey.from_private_bytes(kept.seed)
        self.key: bytes = _public(kept.seed)
        self.id: bytes = id_of_key(self.key)
        self.ids: frozenset[bytes] = frozenset((self.id, *map(id_of_key, kept.former)))
        self.runs: tuple[bytes, ...] = kept.runs

    def _read(self) -> _Kept | None:
        try:
            with open(self._path, "rb", opener=unlinked) as file:
                kept = msgspec.json.decode(file.read(), type=_Kept)
        except FileNotFoundError:
            return None
        except (msgspec.MsgspecError, ValueError) as error:
            fix = "move it away; the host then joins the others as a new one"
            raise self._refused("holds something else", fix) from error
        if len(kept.seed) != KEY_BYTES:
            raise self._refused("holds no key", "move it away; the host then joins the others as a new one")
        return kept

    def _write(self, kept: _Kept) -> _Kept:
        durable.replace(self._path, msgspec.json.encode(kept))
        return kept

    def _refused(self, problem: str, fix: str) -> ConfigurationError:
        return ConfigurationError(f"{self._path}: the file of this host's identity {problem}; {fix}")


def id_of_key(key: bytes) -> bytes:
    """Return the id (16 bytes) of the host with this public key. A host cannot choose its id."""
    return blake2b(key, digest_size=ID_BYTES, person=_NAME).digest()


def is_signed(key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the host with this public key signed `message`."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _public(seed: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
