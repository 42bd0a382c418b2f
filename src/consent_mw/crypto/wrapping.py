"""
Wrap the key of a place (a part of a day and a purpose) for another host: HPKE (RFC 9180), base mode, with a hybrid of
ML-KEM-768 and X25519. Wraps of destroyed days lie in backups for ever, so they must outlast either of both. Pure.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey, Suite

_MLKEM_BYTES: Final = 1_184
PUBLIC_BYTES: Final = _MLKEM_BYTES + 32
_SUITE: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
# BLAKE2b's personalisation keeps the uses of a slot apart.
_MLKEM: Final = b"consent-mw mlkem"
_X25519: Final = b"consent-mw x2551"
_ID: Final = b"consent-mw kid"


def public_part(secret: bytes) -> bytes:
    """Return what others wrap for the holder of `secret` (32 bytes of a key slot): ML-KEM's part, then X25519's."""
    return _mlkem(secret).public_key().public_bytes_raw() + _x25519(secret).public_key().public_bytes_raw()


def key_id(key: bytes) -> bytes:
    """Return what tells a key (16 bytes), and tells nothing about it."""
    return blake2b(digest_size=16, key=key, person=_ID).digest()


def wrapped(key: bytes, public: bytes, context: bytes) -> bytes:
    """
    Return `key` for the holder of the secret behind `public`; 1,136 bytes longer.

    Args:
        context: What the wrap is bound to. It opens only with the same context.

    Raises:
        ValueError: `public` is not a public part.
    """
    if len(public) != PUBLIC_BYTES:
        raise ValueError(f"a public part has {PUBLIC_BYTES} bytes, not {len(public)}")
    mlkem, x25519 = public[:_MLKEM_BYTES], public[_MLKEM_BYTES:]
    parts = MLKEM768PublicKey.from_public_bytes(mlkem), X25519PublicKey.from_public_bytes(x25519)
    return _SUITE.encrypt(key, MLKEM768X25519PublicKey(*parts), context)


def unwrapped(wrap: bytes, secret: bytes, context: bytes) -> bytes | None:
    """Return the key in `wrap`; None where it was made for another secret or context, or is damaged."""
    try:
        return _SUITE.decrypt(wrap, MLKEM768X25519PrivateKey(_mlkem(secret), _x25519(secret)), context)
    except (InvalidTag, ValueError):
        return None


def _mlkem(secret: bytes) -> MLKEM768PrivateKey:
    return MLKEM768PrivateKey.from_seed_bytes(blake2b(digest_size=64, key=secret, person=_MLKEM).digest())


def _x25519(secret: bytes) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(blake2b(digest_size=32, key=secret, person=_X25519).digest())
