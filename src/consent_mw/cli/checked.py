"""Every record of a site checked by a command, in the store and in the archive."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from consent_mw.cli.session import with_store
from consent_mw.cli.terminal import busy
from consent_mw.crypto.sealer import Sealer
from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.exceptions import ConsentError
from consent_mw.paths import Places
from consent_mw.retention.calendar import Retention
from consent_mw.rights.ledger import Erased, entries_at
from consent_mw.staff.existing_site import policies
from consent_mw.staff.wholeness import Wholeness, examined
from consent_mw.stores.archiving import archive_beside
from consent_mw.stores.base import Store
from consent_mw.stores.sqlite import SQLiteStore


class Checked(NamedTuple):
    """What was found in one place; `problem` says why it could not be read."""

    place: str
    wholeness: Wholeness
    problem: str = ""

    def __str__(self) -> str:
        if self.problem:
            return f"the {self.place}: its records cannot be checked"
        whole = self.wholeness.records - self.wholeness.changed
        return f"the {self.place}: {whole:,} of {self.wholeness.records:,} records are as the site wrote them"

    @property
    def faults(self) -> list[str]:
        """What is wrong, one line each."""
        return [self.problem] if self.problem else self.wholeness.faults(f"the {self.place}")

    def as_dict(self) -> dict[str, object]:
        """Return it ready for JSON."""
        return {"place": self.place, **msgspec.to_builtins(self.wholeness), "problem": self.problem}


def everything_checked(places: Places, store: Store) -> list[Checked]:
    """Read every record of `store`, and of the archive where there is one, and return what was found."""
    stores = {"store": store}
    if (shared := archive_beside(store)) and Retention(policies(places)).of_archive().purposes:
        stores["archive of all hosts"] = shared
    if places.archive.exists():
        stores["archive"] = SQLiteStore(places.archive)
    with busy("reading every record"):
        try:
            sealer = Sealer.without_keys(SiteKeys.read(places.site_keys))
            erased = Erased(entries_at(places))
        except ConsentError as error:
            return [Checked("store", Wholeness(), str(error))]
        results = [_checked(place, one, sealer, erased) for place, one in stores.items()]
    if not sealer.site_keys.keys:  # a store that was only just made has nothing to check
        why = f"{places.site_keys}: is not there, so no record can be checked; run this in the site's data directory"
        return [Checked(result.place, Wholeness(), why) if result.wholeness.records else result for result in results]
    return results


def _checked(place: str, store: Store, sealer: Sealer, erased: Erased) -> Checked:
    try:
        return Checked(place, with_store(store, lambda store: examined(store, sealer, erased)))
    except ConsentError as error:
        return Checked(place, Wholeness(), str(error))
