"""A key file is read anew only where it changed, and what is known of it is the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consent_mw.crypto import key_slots
from consent_mw.crypto.key_slots import KeySlots


def content(number: int, state: str) -> bytes:
    """Return a slot; no two of a file are about the same day."""
    if state == "free":
        return key_slots.empty_slots(1)
    if state == "damaged":
        return b"damaged".ljust(key_slots.SLOT_BYTES)
    return key_slots.slot(2 * number + (state == "another"), "a", None if state == "tombstone" else b"k" * 32)


STATES = st.sampled_from(["free", "damaged", "tombstone", "live", "another"])


@given(st.lists(st.tuples(st.lists(STATES, max_size=80), st.integers(0, 127)), min_size=1, max_size=5))
def test_what_is_read_after_a_change_is_what_the_whole_file_says(files: list[tuple[list[str], int]]) -> None:
    known: KeySlots | None = None
    for count, (states, torn) in enumerate(files):
        slots = b"".join(content(number, state) for number, state in enumerate(states))
        blob = bytes([count]) * key_slots.PAGE + slots + b"\1" * torn
        known = KeySlots.read(blob, known)
        assert known == KeySlots.read(blob)
        assert (
            len(known.live) + len(known.destroyed) + len(known.free) + len(known.damaged) == known.size == len(states)
        )
