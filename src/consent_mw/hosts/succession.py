"""A host with a key service, on a site that had its keys in the data directories of its hosts before."""

from __future__ import annotations

from consent_mw.crypto.keyring import FileKeyring, Keyring
from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.crypto.successive_keys import SuccessiveKeyring
from consent_mw.hosts.keyring import SharedKeyring
from consent_mw.paths import Places


def after_own_keys(new: Keyring, places: Places, site_keys: SiteKeys, *, among_hosts: bool = False) -> Keyring:
    """
    Return `new`, which opens and destroys what this host's own keys sealed too, if it ever had any.

    Args:
        among_hosts: Whether hosts share the store. Then a host that is new gets what they sealed before, too: their
            keys go to it.

    Raises:
        ConfigurationError: The key file or the identity cannot be used.
        KeyringUnreachable: The book cannot be used.
    """
    if among_hosts or (places.keys.exists() and places.host_book.exists()):
        return SuccessiveKeyring(new, SharedKeyring.of_site(places, site_keys))
    return SuccessiveKeyring(new, FileKeyring(places.keys)) if places.keys.exists() else new
