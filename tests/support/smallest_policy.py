"""The smallest declaration that loads."""

from __future__ import annotations

#: Nothing is asked, logged, archived or given to anybody, and nobody can be telephoned.
SMALLEST = """
schema = 1
revision = 1
published = 2026-11-23
effective = 2026-11-23
languages = ["en", "ko"]
[controller]
name = "Example Inc."
officer = { name = "x", email = "privacy@example.com" }
[purposes.necessary]
basis = "necessary"
retention = "90 days"
"""
