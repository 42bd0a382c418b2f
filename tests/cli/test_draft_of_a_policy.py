"""What a policy file says before it is published was promised to nobody: no command destroys by it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.commands import run
from tests.support.sites_with_records import UTC_POLICY, SiteWithRecords

from consent_mw.policy.revisions import Revisions

DAY = 86_400.0
SHORTER = UTC_POLICY.replace('retention = "90 days"', 'retention = "1 day"')
NEXT = SHORTER.replace("revision = 1", "revision = 2")


@pytest.mark.parametrize("draft", [SHORTER, NEXT], ids=["of the same number", "of the next one"])
def test_a_draft_in_the_place_of_the_policy_destroys_nothing(draft: str, tmp_path: Path) -> None:
    site = SiteWithRecords(tmp_path)
    Revisions(site.places.revisions).keep(site.policy, UTC_POLICY)
    site.keeps(site.record(datetime.now(UTC), url__path="/"))
    site.file.write_text(draft)
    for ahead, left in ((4 * DAY, 1), (92 * DAY, 0)):
        done = run("purge", "--policy", "policy.toml", cwd=tmp_path, ahead=ahead)
        assert done.returncode == 0, done.stderr
        assert len(site.records("visit")) == left
