"""A revision that is published, for tests that begin with one."""

from __future__ import annotations

import re
from pathlib import Path

from consent_mw.paths import Places
from consent_mw.policy.loader import loads
from consent_mw.policy.model import Policy
from consent_mw.policy.revisions import Revisions


def published(directory: Path, text: str) -> Policy:
    """Keep a declaration in the data directory as `consent-mw publish` does, whatever its dates say."""
    policy = loads(text)
    Revisions(Places(directory).revisions).keep(policy, text)
    return policy


def dated(text: str, published: str, effective: str = "") -> str:
    """Return a declaration with these dates; it takes effect on the day of its publication unless told."""
    text = re.sub(r"published = [\d-]+", f"published = {published}", text)
    return re.sub(r"effective = [\d-]+", f"effective = {effective or published}", text)
