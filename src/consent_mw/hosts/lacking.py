"""What a host lacks of what the others of its site have, for operators."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from consent_mw.hosts.keyring import SharedKeyring
from consent_mw.hosts.publishing import StorePublications
from consent_mw.stores.base import Store
from consent_mw.system.days import day_text


class Lack(msgspec.Struct, frozen=True, kw_only=True):
    """
    Something that a host lacks.

    Attributes:
        what: "key"; "statement", of a host of which it is not known here what it holds; "revision", "wording" or
            "erasure", which was published; or "messages", if this host never read all of them.
        host: The name of the host whose key or statement it is; else empty.
        which: The day and purpose of each key, or the names of what was published.
    """

    what: str
    host: str = ""
    which: Sequence[str] = ()


async def lacks(keyring: SharedKeyring, store: Store, publications: StorePublications) -> list[Lack]:
    """Return what the host with this keyring lacks. Raises StoreError, ConfigurationError and OSError."""
    view, heard = keyring.view, keyring.heard_ns
    lacking = [] if heard else [Lack(what="messages")]
    lacking += [Lack(what="statement", host=view.name(host)) for host in sorted(view.unheard() - keyring.identity.ids)]
    for host, places in sorted(keyring.missing().items()):
        which = [f"{day_text(day)} {label}" for day, label in places]
        lacking.append(Lack(what="key", host=view.name(host), which=which))
    missing = await publications.missing(store)
    return lacking + [Lack(what=label, which=names) for label, names in missing.items() if names]
