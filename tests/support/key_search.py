"""The keys of a host, and which files hold one of them in any form."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.support.fleet import Host

from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.exceptions import KeyDestroyed
from consent_mw.hosts.keyring import SharedKeyring
from consent_mw.hosts.messages import Place
from consent_mw.paths import Places


def keys_of(host: Host) -> tuple[dict[Place, bytes], set[bytes]]:
    """Return the host's own keys, and all that it can open besides."""
    keyring = SharedKeyring.of_site(Places(host.data), SiteKeys.read(Places(host.data).site_keys))
    own: dict[Place, bytes] = {}
    for place in keyring.all_keys().live:
        with suppress(KeyDestroyed):  # the host destroyed it meanwhile
            own[Place(*place)] = keyring.file.key(*place, create=False)
    view, extra = keyring.view, set[bytes]()
    for place, secret in own.items():
        extra |= {key for owner in view.pubs.get(place, ()) if (key := keyring.key_of(place, owner, secret))} - {secret}
    keyring.close()
    return own, extra


def forms(key: bytes) -> Iterator[bytes]:
    """Yield how a key may be written: as it is, in hexadecimal, in base 64."""
    yield key
    yield key.hex().encode()
    yield b64encode(key).rstrip(b"=")[:-1]


def files_with(keys: set[bytes], directory: Path, *, since: float = 0.0) -> set[str]:
    """Return the names of the files below a directory that hold one of the keys, in any form; as `found_in`."""
    return set(found_in(keys, directory, since=since))


def found_in(keys: set[bytes], directory: Path, *, since: float = 0.0) -> dict[str, set[bytes]]:
    """
    Return the keys that lie below a directory, by the names of the files.

    Args:
        since: When the first of the keys was made (in seconds): what was last written before holds none.
    """
    sought, by_file = [(form, key) for key in keys for form in forms(key)], dict[str, set[bytes]]()
    for path in directory.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_mtime >= since:
            content = path.read_bytes()
            if here := {key for form, key in sought if form in content}:
                by_file.setdefault(path.name, set()).update(here)
    return by_file
