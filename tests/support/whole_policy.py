"""Parts of a whole policy: what the application holds, a processor, sections."""

from __future__ import annotations

MEMBERS = """
[purposes.members]
held_by = "application"
basis = "consent"
title = { en = "Accounts", ko = "회원 관리" }
until = { en = "until you close your account", ko = "회원 탈퇴 시까지" }
items = { required = "E-mail", optional = "Telephone" }
kept = [{ what = "Contracts", retention = "5 years", law = "Act 6" }]
[purposes.ads]
basis = "consent"
retention = "6 months"
"""


CLOUD = """
[[processors]]
name = "Cloud Inc."
task = "Hosting"
purposes = ["members", "ads"]
transfer = { countries = ["US"], basis = "scc", refuse = "Ask us." }
[[cookies.declared]]
name = "_c"
purpose = "ads"
provider = "Cloud Inc."
expires = "1 year"
"""


SECTION = """
[[sections]]
after = "destruction"
title = "Security"
text = '''
We lock <b>the door</b>:
- people, [trained](https://example.com/how)
- [not a link](javascript:alert)
'''
"""
