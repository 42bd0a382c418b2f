"""An arbitrary visitor against an arbitrary application: what the browser holds is never what the choice refuses."""

import asyncio
import json
import re
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.support.asgi import set_cookies
from tests.support.browser_model import Browser, Held, Key
from tests.support.policies import POLICY
from tests.support.visitors import HOST, Visitor, now

from consent_mw import ConsentMiddleware
from consent_mw.testing.strategies import cookie_headers, set_cookie_lines

NAMES = ["theme", "_ga", "_ga_X", "ad", "session", "csrftoken", "mystery", "__Host-consent", "consent",
         "__Host-consent-pending", "consent-pending"]  # fmt: skip
RESERVED = {f"{prefix}consent{end}" for prefix in ("", "__Host-") for end in ("", "-pending", "-waiting")}
ASKED = ("functional", "analytics", "marketing")
#: As the policy declares them: purpose, Domain.
DECLARED = {"theme": ("functional", ""), "_ga*": ("analytics", "example.com"), "ad": ("marketing", "")}
NECESSARY = {"session", "csrftoken", "sessionid", "messages", "django_language"}
#: A lifetime is shortened by the whole seconds that the line has waited.
SECOND = timedelta(seconds=1)
MARK = re.compile(rb"m\d{6}m")

answers = st.sampled_from(["yes", "no", "ask"])


@st.composite
def lines(draw, most=5):
    """What an application sets. (Composite, since the whole strategy's text would be 70 kB in a report.)"""
    plain = st.builds(
        lambda name, attributes: b"; ".join([name + b"=1", *attributes]),
        st.sampled_from([b"theme", b"_ga_X", b"ad", b"session"]),
        st.lists(st.sampled_from([b"Path=/", b"Max-Age=3600", b"Secure", b"Domain=example.com", b"HttpOnly"])),
    )
    return draw(st.lists(plain | set_cookie_lines(NAMES), max_size=most))


@st.composite
def hostile(draw):
    return b"; ".join(draw(cookie_headers(NAMES)))


def declared(name):
    return next((key for key in DECLARED if name == key or (key[-1] == "*" and name.startswith(key[:-1]))), None)


class Waits:
    """A line that must wait on the server."""

    def __init__(self, line, path, key, held):
        self.line, self.path, self.key, self.held = line, path, key, held
        self.mark = MARK.findall(line)[-1]
        self.name = key.name.decode("latin-1")


class VisitorMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        (self.directory / "policy.toml").write_text(POLICY)
        self.runner = asyncio.Runner()
        self.sets = []
        self.status = 200
        self.seen = None
        self.middleware = ConsentMiddleware(
            self.application,
            policy=self.directory / "policy.toml",
            secret_keys=["the secret key of the tests"],
            store="memory:",
        )
        self.visitor = Visitor(self.middleware)
        self.serial = 0
        self.gpc = False
        self.injected = {}
        self.tabs: list[list[Any]] = [[], []]
        self.arrived = {}
        self.forget()

    def forget(self):
        """What a browser that was cleared stands for."""
        self.choice, self.purposes, self.cookies, self.signalled = None, {}, {}, False
        self.waiting = {}
        self.injected.clear()

    def teardown(self):
        self.runner.run(self.middleware.runtime.drain.stop())
        self.runner.close()
        shutil.rmtree(self.directory)

    async def application(self, scope, receive, send):
        self.seen = [value for name, value in scope["headers"] if name == b"cookie"]
        headers = [(b"Set-Cookie", line) for line in self.sets] + [(b"content-type", b"text/html; charset=utf-8")]
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept", "headers": headers[:-1]})
            return
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"<html><body><p>the page</p></body></html>"})

    # -- the model ------------------------------------------------------------------------------------------------

    def verdict(self, name):
        """What the visitor's answers say about a cookie, by the words of the design: keep, ask or block."""
        if name in NECESSARY:
            return "keep"
        key = declared(name)
        if key is None or name in RESERVED:
            return "block"
        purpose = DECLARED[key][0]
        single = self.cookies.get(key) if self.choice == "prompt" else None
        given = {"accept": True, "reject": False, "prompt": self.purposes.get(purpose)}.get(self.choice or "")
        answer_ = given if single is None else single
        if purpose == "marketing" and self.gpc and not (answer_ and self.signalled):
            return "block"
        if answer_ is None:
            return "ask" if self.choice == "prompt" else "block"
        return "keep" if answer_ else "block"

    def chosen(self, choice, purposes=(), cookies=()):
        """Take a choice over; one that says the same as before is none, but for a signal that it now answers."""
        purposes, cookies = dict(purposes), dict(cookies)
        if set(purposes) == set(ASKED) and not any([*purposes.values(), *cookies.values()]):
            choice, purposes, cookies = "reject", {}, {}
        accepts = choice == "accept" or any([*purposes.values(), *cookies.values()])
        signalled = self.gpc and accepts
        if (choice, purposes, cookies) == (self.choice, self.purposes, self.cookies) and signalled <= self.signalled:
            return
        self.choice, self.purposes, self.cookies, self.signalled = choice, purposes, cookies, signalled

    # -- one exchange ---------------------------------------------------------------------------------------------

    def run(self, coroutine, path, released=()):
        """
        Run one exchange and hold the answer against the model. `released` are the lines that must arrive with it.

        Returns the messages.
        """
        self.visitor.signals = [(b"sec-gpc", b"1")] if self.gpc else []
        before = self.visitor.browser.visible(path.encode(), now())
        sent = self.runner.run(coroutine)
        released = {cookie.mark: cookie for cookie in released}
        self._arrives(sent, path, released)
        self._forgets(before)
        return sent

    def _arrives(self, sent, path, released):
        lines = set_cookies(sent)
        headers = [part for m in sent for header in m.get("headers") or () for part in header]
        everything = b"\0".join(headers + [m.get("body") or b"" for m in sent])
        for line in lines:
            read = self.visitor.browser.read(line, path.encode(), now())
            marks = MARK.findall(line)
            if not marks:  # one of our own
                continue
            self.arrived[marks[-1]] = self.arrived.get(marks[-1], 0) + 1
            if read is None:
                continue  # no browser stores it
            key, held = read
            name = key.name.decode("latin-1")
            assert name not in RESERVED, line
            if marks[-1] in released:
                original = released[marks[-1]]
                assert (key, held.value, held.secure) == (original.key, original.held.value, original.held.secure)
                assert (held.expires is None) == (original.held.expires is None)
                assert held.expires is None or held.expires <= original.held.expires + SECOND
            else:
                deletes = held.expires is not None and held.expires <= now()
                assert deletes or self.verdict(name) == "keep", (line, self.verdict(name))
            self.injected.pop(key, None)
        shown = set(MARK.findall(everything))
        assert not shown & self.waiting.keys(), "what waits was shown"
        assert released.keys() <= shown, "what was allowed did not arrive"
        assert all(count == 1 for count in self.arrived.values()), "a line arrived twice"

    def _forgets(self, before):
        for key in before:
            name = key.name.decode("latin-1")
            reachable = declared(name) is not None and (key.host_only or key.domain == DECLARED[declared(name)][1])
            if key in self.visitor.browser.jar and self.verdict(name) == "block" and name not in RESERVED:
                assert not reachable, f"{key} is refused, was sent, and is still there"

    def _reads(self):
        for line in self.seen or ():
            names = {pair.partition(b"=")[0].strip().decode("latin-1") for pair in line.split(b";") if b"=" in pair}
            refused = {name for name in names - RESERVED if self.verdict(name) == "block"}
            assert not refused, "the application read what the visitor refuses"

    # -- what can happen ------------------------------------------------------------------------------------------

    @rule(
        lines=lines(),
        status=st.sampled_from([200, 200, 204, 206, 301, 304, 404, 500]),
        path=st.sampled_from(["/", "/app", "/app/x", "/a/b/c"]),
        kind=st.sampled_from(["http", "http", "websocket"]),
        method=st.sampled_from(["GET", "POST", "HEAD"]),
    )
    def the_application_answers(self, lines, status, path, kind, method):
        self.sets = []
        for line in lines:
            self.serial += 1
            # An attribute that nobody knows makes each line one of its kind.
            self.sets.append(line + b"; mark=m%06dm" % self.serial)
        self.status = status
        self._waits(path)
        sent = self.run(self.visitor.gets(path, kind=kind, method=method), path)
        self._reads()
        assert kind == "websocket" or sent[0]["status"] == status
        assert b"the page" in b"".join(m.get("body", b"") for m in sent) or kind == "websocket"

    def _waits(self, path):
        """Note which lines must wait now: of one name the latest, twenty at most."""
        latest = {}
        for line in self.sets:
            read = self.visitor.browser.read(line, path.encode(), now())
            name = _readable_name(line)
            if name is None or self.verdict(name) != "ask":
                continue
            deletes = read is not None and read[1].expires is not None and read[1].expires <= now()
            if not deletes and len(line) <= 8_000:
                latest[name] = (line, read)
        for name, (line, read) in latest.items():
            self.waiting = {mark: cookie for mark, cookie in self.waiting.items() if cookie.name != name}
            if read is not None:
                cookie = Waits(line, path, *read)
                self.waiting[cookie.mark] = cookie

    @rule(choice=st.sampled_from(["accept", "prompt", "prompt", "reject"]), json_=st.booleans())
    def the_visitor_picks(self, choice, json_):
        self.chosen(choice)
        headers = [(b"sec-fetch-site", b"same-origin")] + ([(b"accept", b"application/json")] if json_ else [])
        self._settle(self.visitor.picks(choice, headers=headers))

    @rule(purposes=st.fixed_dictionaries({}, optional=dict.fromkeys(ASKED, answers)),
          cookies=st.fixed_dictionaries({}, optional=dict.fromkeys(DECLARED, answers)))  # fmt: skip
    def the_visitor_saves(self, purposes, cookies):
        self.chosen("prompt", {p: a == "yes" for p, a in purposes.items() if a != "ask"},
                    {c: a == "yes" for c, a in cookies.items() if a != "ask"})  # fmt: skip
        fields = [(f"purpose.{name}", value) for name, value in purposes.items()]
        fields += [(f"cookie.{name}", value) for name, value in cookies.items()]
        self._settle(self.visitor.posts(("choice", "save"), *fields))

    def _settle(self, coroutine):
        released = [cookie for cookie in self.waiting.values() if self.verdict(cookie.name) == "keep"]
        kept = {mark: cookie for mark, cookie in self.waiting.items() if self.verdict(cookie.name) == "ask"}
        self.waiting = kept
        sent = self.run(coroutine, "/consent/choice", released)
        assert sent[0]["status"] in (200, 303)

    @rule(tab=st.integers(0, 1))
    def a_tab_shows_what_waits(self, tab):
        sent = self.run(self.visitor.gets("/consent/state"), "/consent/state")
        state = json.loads(sent[-1]["body"])
        assert state["choice"] == self.choice
        self.tabs[tab] = [(entry["id"], entry["name"]) for entry in state["waiting"]]
        assert {name for _, name in self.tabs[tab]} >= {cookie.name for cookie in self.waiting.values()}

    @precondition(lambda self: any(self.tabs))
    @rule(tab=st.integers(0, 1), verb=st.sampled_from(["allow", "allow", "refuse", "purpose"]), data=st.data())
    def a_tab_answers(self, tab, verb, data):
        shown = self.tabs[tab]
        if not shown:
            return
        picked = data.draw(st.lists(st.sampled_from(shown), min_size=1, unique=True))
        # What a tab shows may have been answered in the other, or replaced by a later line of that name.
        listed = json.loads(self.run(self.visitor.gets("/consent/state"), "/consent/state")[-1]["body"])["waiting"]
        live = {entry["id"]: entry["name"] for entry in listed}
        names = {live[uuid] for uuid, _ in picked if uuid in live}
        if verb == "purpose" and self.choice == "prompt" and names:
            refused = "marketing" if self.verdict("ad") == "block" and self.gpc else None
            carried = {p: yes for p, yes in self.purposes.items() if p != refused}
            single = {c: yes for c, yes in self.cookies.items() if DECLARED[c][0] != refused}
            self.chosen("prompt", carried | {DECLARED[declared(name)][0]: True for name in names}, single)
        coroutine = self.visitor.posts(*(("waiting", uuid) for uuid, _ in picked), ("answer", verb))
        if verb == "purpose":
            self._settle(coroutine)
            return
        named = [cookie for cookie in self.waiting.values() if cookie.name in names]
        released = [cookie for cookie in named if verb == "allow" and self.verdict(cookie.name) != "block"]
        self.waiting = {mark: cookie for mark, cookie in self.waiting.items() if cookie not in named}
        self.run(coroutine, "/consent/choice", released)

    @rule()
    def the_browser_turns_its_signal_on_or_off(self):
        self.gpc = not self.gpc

    @rule(name=st.sampled_from(["theme", "_ga_X", "ad", "mystery"]), value=st.sampled_from([b"s", b'"', b""]))
    def a_script_sets_a_cookie(self, name, value):
        key = Key(name.encode(), *(("example.com", False) if name == "_ga_X" else (HOST, True)), b"/")
        self.visitor.browser.jar[key] = Held(value, None, False, False)
        self.injected[key] = True

    @rule(header=hostile(), sets=lines(3))
    def somebody_sends_hostile_cookies(self, header, sets):
        """Without a consent that we signed, only necessary cookies are set, and the page comes all the same."""
        self.sets, self.status = sets, 200
        throwaway = Visitor(self.middleware)
        sent = self.runner.run(throwaway.gets("/", cookie=header))
        assert set(throwaway.cookies) <= NECESSARY
        assert b"the page" in b"".join(m.get("body", b"") for m in sent)
        for line in self.seen or ():
            assert not {pair.partition(b"=")[0].strip() for pair in line.split(b";")} & {b"theme", b"ad", b"_ga"}

    @rule()
    def the_visitor_clears_the_browser(self):
        self.visitor.browser = Browser(HOST)
        self.forget()
        self.tabs = [[], []]

    @invariant()
    def the_browser_holds_nothing_that_is_refused(self):
        for key in self.visitor.browser.jar:
            assert key.name, "a cookie without a name"


def _readable_name(line):
    """The name on which browser and parser agree; without one a line is never kept."""
    read = Browser(HOST).read(re.sub(rb";.*", b"", line, flags=re.DOTALL), b"/", now())
    pair = line.partition(b";")[0]
    name = pair.partition(b"=")[0].strip(b" \t") if b"=" in pair else b""
    spoiled = re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", line)
    return None if spoiled or not name else (read[0].name if read else name).decode("latin-1")


TestVisitor: Any = VisitorMachine.TestCase
TestVisitor.settings = settings(
    max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
