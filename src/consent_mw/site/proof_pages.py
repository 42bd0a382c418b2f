"""The public page behind the mark "Carried out by this server": certificates, counts and revisions. It names nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from zoneinfo import ZoneInfo

from starlette.responses import Response

from consent_mw.exceptions import StoreError
from consent_mw.policy.durations import Duration
from consent_mw.policy.model import Policy
from consent_mw.retention.proofs import COUNTED_DAYS, MOST, Evidence, Proof, Proofs
from consent_mw.retention.small_cells import FEWEST
from consent_mw.site.rendering import FOR_ALL, Rendering
from consent_mw.site.visit import Visit

_RETRY_SECONDS = "60"


class ProofPages:
    """
    Answers `/proof`.

    Args:
        published: Returns the published revisions.
    """

    def __init__(
        self, rendering: Rendering, policy: Policy, proofs: Proofs, published: Callable[[], Iterable[Policy]]
    ) -> None:
        self._rendering = rendering
        self._policy = policy
        self._proofs = proofs
        self._published = published

    async def page(self, visit: Visit) -> Response:
        """Answer with what the store says now; 503 while it cannot be reached."""
        try:
            evidence = await self._proofs.evidence()
        except StoreError:
            return self._away(visit)
        if visit.wants_json:
            return self._rendering.data(self._document(evidence), headers=FOR_ALL)
        return self._rendering.page(visit, "proof.html", self._context(evidence), headers=FOR_ALL, file="proof.html")

    def _away(self, visit: Visit) -> Response:
        said = {**FOR_ALL, "cache-control": "no-store", "retry-after": _RETRY_SECONDS}
        if visit.wants_json:
            return self._rendering.data({"error": "store"}, status=503, headers=said)
        return self._rendering.page(visit, "proof.html", {"evidence": None}, status=503, headers=said)

    def _context(self, evidence: Evidence) -> dict[str, object]:
        return {
            "evidence": evidence,
            "most": MOST,
            "fewest": FEWEST,
            "counted_days": COUNTED_DAYS,
            "revisions": sorted(self._published(), key=lambda policy: policy.revision, reverse=True),
            "period": Duration.parse,
            "local": self._local,
        }

    def _local(self, instant: datetime) -> datetime:
        return instant.astimezone(self._policy.time_zone)

    def _document(self, evidence: Evidence) -> dict[str, object]:
        zone = self._policy.time_zone
        return {
            "read": _at(evidence.read, zone),
            "time_zone": zone.key,
            "fewest": FEWEST,
            "most": MOST,
            "certificates": [_row(proof, zone) for proofs in evidence.proofs.values() for proof in proofs],
            "blocked": {"days": COUNTED_DAYS, "cookies": dict(evidence.blocked)},
            "revisions": [
                {
                    "revision": policy.revision,
                    "published": policy.published.isoformat(),
                    "effective": policy.effective.isoformat(),
                    "sha256": policy.digest,
                }
                for policy in sorted(self._published(), key=lambda policy: policy.revision)
            ],
        }


def _row(proof: Proof, zone: ZoneInfo) -> dict[str, object]:
    return {
        "purpose": proof.purpose,
        "where": proof.where,
        "day": proof.day.isoformat(),
        "records": proof.records,
        "archived": proof.archived,
        "unreadable": proof.unreadable,
        "method": proof.method,
        "revision": proof.revision,
        "retention": proof.retention,
        "ended": _at(proof.ended, zone),
        "destroyed": _at(proof.destroyed, zone),
    }


def _at(instant: datetime, zone: ZoneInfo) -> str:
    return instant.astimezone(zone).isoformat(timespec="seconds")
