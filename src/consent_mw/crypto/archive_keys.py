"""The archive's keys in a keyring that hosts share: under names of their own, beside those of the live store."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Final, NamedTuple, Protocol, runtime_checkable

from consent_mw.crypto.keyring import Keyring, SeveralKeys

_TIER: Final = "archive/"  # no purpose can be called that


class AllKeys(NamedTuple):
    """The keys of a keyring, as `Keyring.live` and `Keyring.destroyed` return them, of both tiers."""

    live: list[tuple[int, str]]
    destroyed: dict[tuple[int, str], str]

    @property
    def of_log(self) -> AllKeys:
        """Those of the live store."""
        is_of_log = [place for place in self.live if not place[1].startswith(_TIER)]
        return AllKeys(is_of_log, {at: was for at, was in self.destroyed.items() if not at[1].startswith(_TIER)})

    @property
    def of_archive(self) -> AllKeys:
        """Those of the archive, by the labels that they have there."""
        live = [(day, label.removeprefix(_TIER)) for day, label in self.live if label.startswith(_TIER)]
        gone = [(place, was) for place, was in self.destroyed.items() if place[1].startswith(_TIER)]
        return AllKeys(live, {(day, label.removeprefix(_TIER)): was for (day, label), was in gone})


@runtime_checkable
class _TwoTiers(Keyring, Protocol):
    """A keyring that holds the archive's keys too: its `live` and `destroyed` leave them out."""

    def all_keys(self) -> AllKeys:
        """Return the keys of both tiers. Raises StoreError."""
        ...


@runtime_checkable
class _SharedTiers(_TwoTiers, SeveralKeys, Protocol):
    """The same where several hosts wrap the keys for each other."""


def all_keys_of(keyring: Keyring) -> AllKeys:
    """Return the keys of both tiers of a keyring; of one that holds one tier, those. Raises StoreError."""
    return keyring.all_keys() if isinstance(keyring, _TwoTiers) else AllKeys(keyring.live(), keyring.destroyed())


def archive_label(label: str) -> str:
    """Return what a keyring of both tiers calls a key of the archive."""
    return _TIER + label


def archive_keys(keyring: Keyring) -> ArchiveKeys | None:
    """Return the archive's keys in `keyring`; None if it holds none but those of the live store."""
    if isinstance(keyring, _SharedTiers):
        return SharedArchiveKeys(keyring)
    return ArchiveKeys(keyring) if isinstance(keyring, _TwoTiers) else None


class ArchiveKeys:
    """A `Keyring` with the archive's keys alone of one that holds those of both tiers."""

    def __init__(self, both: _TwoTiers) -> None:
        self._both = both
        self.name: str = both.name

    @property
    def generation(self) -> int:
        """See `Keyring.generation`."""
        return self._both.generation

    def key(self, day: int, purpose: str, *, create: bool) -> bytes:
        """Return a key; see `Keyring.key`."""
        return self._both.key(day, archive_label(purpose), create=create)

    def live(self) -> list[tuple[int, str]]:
        """Return the day and purpose of each key that exists, sorted."""
        return self._both.all_keys().of_archive.live

    def destroy(self, day: int, purpose: str) -> bool:
        """Destroy a key; return whether there was one."""
        return self._both.destroy(day, archive_label(purpose))

    def destroyed(self) -> dict[tuple[int, str], str]:
        """Return where each key was that is known to be destroyed."""
        return self._both.all_keys().of_archive.destroyed

    def close(self) -> None:
        """Release what the keyring of both holds. Keys stay."""
        self._both.close()


class SharedArchiveKeys(ArchiveKeys):
    """The same where several hosts wrap the keys for each other; see `SeveralKeys`."""

    def __init__(self, both: _SharedTiers) -> None:
        super().__init__(both)
        self._shared = both
        self.rings: frozenset[str] = both.rings

    def keys(self, day: int, purpose: str) -> Sequence[bytes]:
        """See `SeveralKeys.keys`."""
        return self._shared.keys(day, archive_label(purpose))

    def lacking(self) -> frozenset[str]:
        """See `SeveralKeys.lacking`; it counts both tiers."""
        return self._shared.lacking()

    def lacks(self, day: int, purpose: str) -> Sequence[str]:
        """See `SeveralKeys.lacks`."""
        return self._shared.lacks(day, archive_label(purpose))

    def is_agreed(self, day: int, label: str) -> bool:
        """See `SeveralKeys.is_agreed`."""
        return self._shared.is_agreed(day, archive_label(label))

    def waits_for(self, day: int, purpose: str) -> Sequence[str]:
        """See `SeveralKeys.waits_for`."""
        return self._shared.waits_for(day, archive_label(purpose))

    def holders(self, day: int, purpose: str) -> str:
        """See `SeveralKeys.holders`."""
        return self._shared.holders(day, archive_label(purpose))

    def settle(self, purpose: str, days: Set[int]) -> None:
        """See `SeveralKeys.settle`."""
        self._shared.settle(archive_label(purpose), days)
