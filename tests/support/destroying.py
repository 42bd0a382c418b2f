"""A run of destruction that a test asks for, of a site that looks for what has ended by itself too."""

from __future__ import annotations

import asyncio
from datetime import datetime

from consent_mw.retention.destruction import Destruction, Outcome


async def destroyed(destruction: Destruction, now: datetime) -> Outcome:
    """Destroy what has ended by `now`, after the site's own look if one is under way: else nothing would be done."""
    outcome = await destruction.once(now)
    if outcome.busy:
        await asyncio.sleep(0.05)
        return await destroyed(destruction, now)
    assert outcome.troubles == []
    return outcome
