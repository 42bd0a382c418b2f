"""A host that had its keys in its data directory, and now has a key service."""

from __future__ import annotations

from consent_mw.crypto.keyring import FileKeyring, Keyring
from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.crypto.successive_keys import SuccessiveKeyring
from consent_mw.hosts.keyring import SharedKeyring
from consent_mw.paths import Places


def after_own_keys(new: Keyring, places: Places, site_keys: SiteKeys) -> Keyring:
    """
    Return `new`, which opens and destroys what this host's own keys sealed too, if it ever had any.

    Raises:
        ConfigurationError: The key file or the identity cannot be used.
        KeyringUnreachable: The book cannot be used.
    """
    if not places.keys.exists():
        return new
    old = SharedKeyring.of_site(places, site_keys) if places.host_book.exists() else FileKeyring(places.keys)
    return SuccessiveKeyring(new, old)
