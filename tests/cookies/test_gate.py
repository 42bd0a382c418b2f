"""The gate: which Set-Cookie lines leave, by policy, choice and signal."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.policies import POLICY

from consent_mw.consent.choice import NO_CONSENT, Choice, Consent
from consent_mw.consent.permissions import Permissions, Reason, Verdict
from consent_mw.cookies.cookie_lines import CookieFloor, name_of
from consent_mw.cookies.gate import gate
from consent_mw.policy.loader import loads
from consent_mw.testing.strategies import set_cookie_headers

NOW_NS = 1_795_000_000_000_000_000
POLICY_VALUE = loads(POLICY)
TODAY = date(2026, 11, 23)
ALL = frozenset(("session", "theme", "_ga_1", "ad", "mystery"))


def permissions(choice=None, purposes=None, cookies=None, signals=(), seen=(), policy=POLICY_VALUE, **options):
    consent = (
        Consent(
            choice=choice,
            revision=1,
            given_on=TODAY,
            purposes=purposes or {},
            cookies=cookies or {},
            signals=tuple(seen),
        )
        if choice
        else NO_CONSENT
    )
    return Permissions(policy, consent, frozenset(signals), **options)


def kept(given, **options):
    headers = [(b"Set-Cookie", f"{name}=1; Path=/".encode()) for name in sorted(ALL)]
    return {name_of(value) for _, value in gate(headers, given, NOW_NS, **options).headers}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (permissions(), {"session"}),
        (permissions(Choice.ACCEPT), {"session", "theme", "_ga_1", "ad"}),
        (permissions(Choice.REJECT), {"session"}),
        (permissions(Choice.PROMPT), {"session"}),
        (permissions(Choice.PROMPT, {"functional": True, "analytics": False}), {"session", "theme"}),
        (permissions(Choice.PROMPT, {}, {"_ga*": True}), {"session", "_ga_1"}),
        (permissions(Choice.PROMPT, {"analytics": True}, {"_ga*": False}), {"session"}),
        (permissions(Choice.ACCEPT, signals=["gpc"]), {"session", "theme", "_ga_1"}),
        (permissions(Choice.ACCEPT, signals=["gpc"], seen=["gpc"]), {"session", "theme", "_ga_1", "ad"}),
        (permissions(report_only=True), ALL),
        (
            permissions(policy=loads(POLICY.replace("[cookies]", '[cookies]\nundeclared = "report"'))),
            {"session", "mystery"},
        ),
    ],
)
def test_what_is_kept_follows_policy_choice_and_signal(given, expected):
    assert kept(given) == expected


def test_a_policy_with_necessary_cookies_only_lets_everything_declared_pass():
    text = POLICY.replace('basis = "consent"', 'basis = "necessary"')
    assert kept(permissions(policy=loads(text))) == {"session", "theme", "_ga_1", "ad"}


def test_undecided_is_kept_under_opt_out_and_refused_is_not():
    policy = loads(
        POLICY.replace('[purposes.functional]\nbasis = "consent"', '[purposes.functional]\nbasis = "opt_out"')
    )
    assert kept(permissions(policy=policy)) == {"session", "theme"}
    assert kept(permissions(Choice.REJECT, policy=policy)) == {"session"}


def test_each_decision_says_why():
    headers = [(b"set-cookie", b"%s=1" % name.encode()) for name in ("session", "theme", "_ga_1", "ad", "mystery", "")]
    given = permissions(Choice.PROMPT, {"analytics": False}, signals=["gpc"])
    decisions = gate(headers, given, NOW_NS).decisions
    assert [(d.verdict, d.reason) for d in decisions] == [
        (Verdict.KEPT, Reason.NECESSARY),
        (Verdict.PENDING, Reason.UNANSWERED),
        (Verdict.BLOCKED, Reason.REFUSED),
        (Verdict.BLOCKED, Reason.SIGNAL),
        (Verdict.BLOCKED, Reason.UNDECLARED),
        (Verdict.BLOCKED, Reason.UNREADABLE),
    ]


def test_a_deletion_always_passes():
    line = b"mystery=; Max-Age=0; Path=/"
    assert gate([(b"set-cookie", line)], permissions(Choice.REJECT), NOW_NS).headers == [(b"set-cookie", line)]


def test_the_application_can_neither_write_nor_delete_the_consent_cookie():
    given = permissions(Choice.ACCEPT, reserved=frozenset(("consent",)))
    headers = [(b"set-cookie", b"consent=forged"), (b"set-cookie", b"consent=; Max-Age=0")]
    assert gate(headers, given, NOW_NS).headers == []


def test_a_hook_may_veto_and_may_let_pass_and_is_told_the_reason():
    reasons = {}

    def hook(decision):
        reasons[decision.name] = decision.reason
        return {"session": Verdict.BLOCKED, "theme": Verdict.KEPT}.get(decision.name)

    assert kept(permissions(), hook=hook) == {"theme"}
    assert reasons["session"] is Reason.NECESSARY
    assert reasons["theme"] is Reason.NO_CHOICE


def test_headers_that_may_all_leave_do_so_in_a_list_that_nobody_else_holds():
    headers = [(b"content-type", b"text/plain"), (b"set-cookie", b"session=1")]
    gated = gate(headers, permissions(), NOW_NS).headers
    assert gated == headers
    assert gated is not headers


def test_pending_lines_are_held_back_whole():
    line = b"theme=dark; Max-Age=60; Path=/; SameSite=Strict"
    gated = gate([(b"set-cookie", line)], permissions(Choice.PROMPT), NOW_NS)
    assert gated.headers == []
    assert [held for _, held in gated.pending] == [line]


answers = st.dictionaries(st.sampled_from(["functional", "analytics", "marketing"]), st.booleans())
any_permissions = st.builds(
    permissions,
    st.sampled_from([None, *Choice]),
    answers,
    st.dictionaries(st.sampled_from(["theme", "_ga*", "ad"]), st.booleans()),
    st.sets(st.just("gpc")),
    st.sets(st.just("gpc")),
)


@given(set_cookie_headers(names=["session", "theme", "_ga_1", "ad", "mystery"]), any_permissions)
def test_a_refused_name_never_gets_through_and_nothing_raises(headers, given):
    before = list(headers)
    gated = gate(headers, given, NOW_NS)
    assert headers == before, "a received list is never changed"
    for decision, line in zip(
        [d for d in gated.decisions if d.verdict is Verdict.KEPT],
        [value for name, value in gated.headers if name.lower() == b"set-cookie"],
        strict=True,
    ):
        name = name_of(line)
        assert name is not None
        assert given.cookie(name).verdict is Verdict.KEPT or decision.reason is Reason.DELETION
    others = [header for header in headers if header[0].lower() != b"set-cookie"]
    assert [header for header in gated.headers if header[0].lower() != b"set-cookie"] == others


ATTRIBUTES = st.sampled_from(
    (b"", b"; Path=/", b"; Max-Age=0", b"; Max-Age=60; Secure", b";", b"; Max-Age=0; Max-Age=9")
)
VALUES = st.one_of(st.binary(max_size=12), st.sampled_from((b"", b"a=b", b"\x00", b'"; Path=/x', b"\t ")))


@given(
    name=st.sampled_from((b"theme", b"session", b"mystery", b"", b" theme ")),
    attributes=ATTRIBUTES,
    values=st.lists(VALUES, min_size=2, max_size=5),
)
def test_what_was_decided_about_one_value_holds_for_another_as_if_it_had_come_first(name, attributes, values):
    standing = permissions(Choice.REJECT)
    for value in values:
        line = (b"set-cookie", name + b"=" + value + attributes)
        remembered, fresh = (gate([line], granted, NOW_NS) for granted in (standing, permissions(Choice.REJECT)))
        assert remembered.headers == fresh.headers
        assert [decision.verdict for decision in remembered.decisions] == [
            decision.verdict for decision in fresh.decisions
        ]


@given(st.lists(st.sampled_from((b"", b"; Secure", b"; secure=x", b"; SameSite=None", b"; HttpOnly")), max_size=3))
def test_a_floor_raises_a_line_whatever_its_value(attributes):
    floor = CookieFloor(http_only=True, same_site="lax")
    lines = [b"a=%s" % value + b"".join(attributes) for value in (b"", b"1", b"2 3")]
    added = {floor.raised(line, https=True)[len(line) :] for line in lines}
    assert len(added) == 1
    raised = floor.raised(lines[0], https=True)
    assert floor.raised(raised, https=True) is raised


@pytest.mark.parametrize(
    ("headers", "plain"),
    [
        ([(b"content-type", b"text/html"), (b"content-length", b"5"), (b"date", b"today")], True),
        ([(b"content-type", b"text/html"), (b"content-type", b"text/plain")], False),
        ([(b"content-type", b"text/html"), (b"cache-control", b"public")], False),
    ],
)
def test_a_head_needs_a_closer_look_if_it_names_two_types_or_how_to_keep_the_page(headers, plain):
    assert gate(headers, permissions(), NOW_NS).plain is plain
