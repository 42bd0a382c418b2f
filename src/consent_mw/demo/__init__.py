"""A small real site that tries to set more cookies than its visitors may want. `consent-mw demo` runs it."""

from __future__ import annotations

from consent_mw.demo.server import serve

__all__ = ["serve"]
