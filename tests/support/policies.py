"""The policy that tests share: small, with one purpose of each kind."""

POLICY = """
schema = 1
revision = 1
published = 2026-11-23
effective = 2026-11-23
time_zone = "Asia/Seoul"
languages = ["ko", "en"]
[controller]
name = { ko = "예시 주식회사", en = "Example Inc." }
officer = { name = "x", email = "privacy@example.com", phone = "1" }
[purposes.necessary]
basis = "necessary"
retention = "90 days"
[purposes.functional]
basis = "consent"
retention = "180 days"
[purposes.analytics]
basis = "consent"
retention = "13 months"
[purposes.marketing]
basis = "consent"
retention = "6 months"
refused_by = ["gpc"]
[purposes.abuse]
basis = "legitimate_interest"
retention = "1 year"
[cookies]
presets = ["starlette", "django"]
[[cookies.declared]]
name = "theme"
purpose = "functional"
expires = "1 year"
[[cookies.declared]]
name = "_ga*"
purpose = "analytics"
expires = "13 months"
domain = ".example.com"
[[cookies.declared]]
name = "ad"
purpose = "marketing"
expires = "30 days"
[log.necessary]
"client.address" = "masked"
"url.path" = "full"
[log.analytics]
"user_agent.original" = "family"
"http.request.header.referer" = "origin"
[log.abuse]
"client.address" = "full"
[events.search]
purpose = "analytics"
fields = { results = "int" }
"""
