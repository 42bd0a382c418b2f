"""The keys of a site that went to a key service: the new keyring makes them, the old one opens until its days end."""

from __future__ import annotations

from collections.abc import Sequence, Set
from contextlib import suppress

from consent_mw.crypto.archive_keys import AllKeys, all_keys_of
from consent_mw.crypto.keyring import Keyring, SeveralKeys, keys_of, rings_of
from consent_mw.exceptions import KeyDestroyed
from consent_mw.system.days import day_text


class SuccessiveKeyring:
    """
    A `Keyring` over two, which takes the name of the new one. A place that has a key in the old one keeps it, and one
    that was destroyed there gets none; every other key is made in the new one. So each place still has one key, and no
    key is copied.

    Attributes:
        old: The keyring that makes no more keys.
    """

    def __init__(self, new: Keyring, old: Keyring) -> None:
        self._new = new
        self.old = old
        self._shared = old if isinstance(old, SeveralKeys) else None
        self.name: str = new.name
        self.rings: frozenset[str] = rings_of(new) | rings_of(old)

    @property
    def generation(self) -> int:
        """See `Keyring.generation`. Both only grow."""
        return self._new.generation + self.old.generation

    def key(self, day: int, purpose: str, *, create: bool) -> bytes:
        """Return a key; see `Keyring.key`."""
        try:
            return self.old.key(day, purpose, create=False)
        except KeyDestroyed:
            if (day, purpose) in all_keys_of(self.old).destroyed:
                raise
        return self._new.key(day, purpose, create=create)

    def keys(self, day: int, purpose: str) -> list[bytes]:
        """See `SeveralKeys.keys`."""
        keys: list[bytes] = []
        for keyring in (self.old, self._new):
            with suppress(KeyDestroyed):
                keys += keys_of(keyring, day, purpose)
        if not keys:
            raise KeyDestroyed(
                f'the key of purpose "{purpose}" on {day_text(day)} is destroyed, or there never was one'
            )
        return keys

    def all_keys(self) -> AllKeys:
        """Return the keys of both, those of the archive too."""
        new, old = all_keys_of(self._new), all_keys_of(self.old)
        live = sorted({*new.live, *old.live})
        gone = {**new.destroyed, **old.destroyed}
        return AllKeys(live, {place: was for place, was in gone.items() if place not in live})

    def live(self) -> list[tuple[int, str]]:
        """Return the day and purpose of each key of the live store that exists in either, sorted."""
        return self.all_keys().of_log.live

    def destroy(self, day: int, purpose: str) -> bool:
        """Destroy a key in both; return whether there was one."""
        was_in_old = self.old.destroy(day, purpose)
        return self._new.destroy(day, purpose) or was_in_old

    def destroyed(self) -> dict[tuple[int, str], str]:
        """Return where each key of the live store was that is known to be destroyed."""
        return self.all_keys().of_log.destroyed

    def close(self) -> None:
        """Release both. Keys stay."""
        self.old.close()
        self._new.close()

    # What the hosts still wait for concerns the old one alone.

    def lacking(self) -> frozenset[str]:
        """See `SeveralKeys.lacking`."""
        return self._shared.lacking() if self._shared else frozenset()

    def lacks(self, day: int, purpose: str) -> Sequence[str]:
        """See `SeveralKeys.lacks`."""
        return self._shared.lacks(day, purpose) if self._shared else ()

    def is_agreed(self, day: int, label: str) -> bool:
        """See `SeveralKeys.is_agreed`. The new one is the same for all."""
        return True

    def waits_for(self, day: int, purpose: str) -> Sequence[str]:
        """See `SeveralKeys.waits_for`."""
        return self._shared.waits_for(day, purpose) if self._shared else ()

    def holders(self, day: int, purpose: str) -> str:
        """See `SeveralKeys.holders`."""
        return self._shared.holders(day, purpose) if self._shared else ""

    def settle(self, purpose: str, days: Set[int]) -> None:
        """See `SeveralKeys.settle`."""
        if self._shared:
            self._shared.settle(purpose, days)
