"""The year as it happens, in the order of time: a real site, real files, real kills. A journal says what happened."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlencode

from tests.year.backups import Backups
from tests.year.browser import Browser
from tests.year.course import Course
from tests.year.incidents import Incident, incidents
from tests.year.population import Deed, population
from tests.year.process import SiteProcess
from tests.year.staff import Staff

#: What happened: `what` says which kind it is, `at` is the site's own clock.
Entry = dict[str, Any]


@dataclass(frozen=True)
class Story:
    """Everything that decides what happens."""

    seed: int
    start: date
    days: int
    persons: int
    course: Course
    short: bool


class World:
    """
    Carries out a story.

    Args:
        tell: Is given each entry of the journal, in order.
        progress: Is told how much of the story is over, from 0 to 1.
    """

    def __init__(
        self,
        story: Story,
        directory: Path,
        tell: Callable[[Entry], None],
        *,
        backups: Backups,
        store: str | None = None,
        progress: Callable[[float], None] = lambda _: None,
    ) -> None:
        self.story, self.directory, self._tell, self._progress = story, directory, tell, progress
        self.site = SiteProcess(directory, store)
        self.backups = backups
        self.random = Random(story.seed + 1)
        self.browsers: dict[str, Browser] = {}
        self.offset = timedelta()
        self.now = datetime.min.replace(tzinfo=UTC)
        self.staff = Staff(self)
        self._number = 0
        self._kills = 0
        self._changed = False
        self._late: list[Incident] = []

    def live(self) -> None:
        """Live through the whole story."""
        story = self.story
        (self.directory / "policy.toml").write_text(story.course.revisions[0].toml())
        deeds = population(story.seed, story.persons, story.start, story.days, story.course)
        planned = incidents(story.seed, story.start, story.days, story.course, short=story.short)
        begin = deeds[0].at.replace(hour=0, minute=0, second=0, microsecond=0)
        together: Iterable[Deed | Incident] = sorted((*deeds, *planned), key=lambda plan: plan.at)
        for plan in together:
            self.now = plan.at + self.offset
            if not self.site.runs and self._number == 0:
                self._start(drains=True)
            self._progress((plan.at - begin) / timedelta(days=story.days))
            if isinstance(plan, Deed):
                self.act(plan)
            else:
                self._incident(plan)
        self.site.stop()

    def tell(self, what: str, **facts: Any) -> None:
        self._tell({"what": what, "at": self.now, **facts})

    # -- visitors -----------------------------------------------------------------------------------------------

    def browser(self, name: str) -> Browser:
        return self.browsers.setdefault(name, Browser(name))

    def act(self, deed: Deed) -> None:
        """Have somebody do something, if the site is there."""
        # Who reads or takes back their data has the spool handed over at once, also where the drain is away: as long as
        # it is, everybody only browses, or nothing would ever wait for days.
        if self.site.runs and (self.site.drains or deed.verb == "page"):
            self._who = deed
            getattr(self, f"_does_{deed.verb.replace('-', '_')}")(self.browser(deed.browser), **deed.arguments)

    def settle(self) -> None:
        """Let what runs in the background happen."""
        self.site.ask("settle", at=self.now.isoformat())
        self._changed = False

    def request(self, browser: Browser, path: str, **options: Any) -> Entry:
        """Send one request of a browser, and return what it saw. A kill that is due comes now."""
        headers = [*browser.headers(self.now), *options.pop("headers", ())]
        order = {"at": self.now.isoformat(), "path": path, "headers": headers, **options}
        facts: Entry = {
            "person": self._who.person, "browser": browser.name, "member": browser.member, "gpc": browser.gpc,
            "path": path, "acked": True, "status": 0, "kept": [], "deleted": [], "body": "",
        }  # fmt: skip
        killable = self._kills and ("form" not in options or "choice" in path)
        if killable and self.random.random() < 0.5:  # before anybody saw the end of it
            self._kills -= 1
            self.site.tell("request", **order)
            time.sleep(self.random.random() / 300)
            self._killed()
            return {**facts, "acked": False}
        answer = self.site.ask("request", **order)
        kept, deleted = browser.take(answer.pop("cookies"), self.now)
        if killable:  # in the very moment after
            self._kills -= 1
            self._killed()
        return {**facts, **answer, "kept": kept, "deleted": deleted}

    def _does_page(self, browser: Browser, topic: str, event: str, abuse: bool = False) -> None:
        self._number += 1
        query = urlencode({**({"event": event} if event else {}), **({"abuse": "1"} if abuse else {})})
        path = f"/{topic}/{self._number}"
        seen = self.request(browser, path, query=query, headers=[("accept", "text/html")])
        self.tell("page", topic=topic, event=event, abuse=abuse, **seen)
        if seen.get("banner") and browser.habit and self.site.drains and self.random.random() < 0.7:
            self.now += timedelta(seconds=1)
            self._does_choose(browser, browser.habit)  # asked again, most answer as they did

    def _own(self, browser: Browser, path: str, form: dict[str, Any] | None = None) -> Entry:
        """Ask one of the site's own pages, as a script does."""
        options = {"form": urlencode(form, doseq=True)} if form else {}
        return self.request(browser, path, headers=[("accept", "application/json")], **options)

    def _does_choose(self, browser: Browser, kind: str, answers: dict[str, str] | None = None) -> None:
        browser.habit = kind if kind != "save" else "accept"
        asked = self.story.course.at(self.now).asked
        given = {name: said for name, said in (answers or {}).items() if name in asked}
        form = {"choice": kind, **{f"purpose.{name}": said for name, said in given.items()}}
        said = {name: word == "yes" for name, word in given.items() if word != "ask"}
        seen = self._own(browser, "/consent/choice", form)
        self._changed = True
        self.tell("choose", kind=kind, answers=said, **seen)

    def _asks(self, browser: Browser, action: str, **form: Any) -> None:
        seen = self._own(browser, "/consent/my-data", {"action": action, **form})
        done = json.loads(seen["body"]).get("done", {}) if seen["body"] else {}
        self.tell(action, number=done.get("number", ""), form=form, **seen)
        self.settle()

    def _does_withdraw(self, browser: Browser, purposes: list[str]) -> None:
        self._asks(browser, "withdraw", purpose=purposes or ["all"])

    def _does_erase(self, browser: Browser) -> None:
        self._asks(browser, "erase", confirm="yes")

    def _does_erase_abuse(self, browser: Browser) -> None:
        self._asks(browser, "erase-abuse", message="please")

    def _does_restrict(self, browser: Browser) -> None:
        self._asks(browser, "restrict", message="leave me alone")

    def _does_lift(self, browser: Browser) -> None:
        self._asks(browser, "lift")

    def _does_dispute(self, browser: Browser) -> None:
        self._asks(browser, "dispute", message="that was not me")

    def _does_ask(self, browser: Browser, kind: str) -> None:
        self._asks(browser, "ask", kind=kind, email="somebody@example.com")

    def _does_look(self, browser: Browser) -> None:
        if self._changed:  # what was taken back a moment ago is erased within seconds
            self.settle()
        seen = self._own(browser, "/consent/my-data.json")
        self.tell("look", data=json.loads(seen["body"]) if seen["body"] else {}, **seen)

    def _does_receipt(self, browser: Browser) -> None:
        seen = self._own(browser, "/consent/receipt.json")
        receipts = json.loads(seen["body"]) if seen["body"] and seen["status"] == 200 else []
        self.staff.keep_receipt(browser, receipts)
        self.tell("own", **seen)

    def _does_close_notice(self, browser: Browser) -> None:
        announced = self.story.course.announced(self.now)
        if announced is not None:
            seen = self._own(browser, "/consent/notice", {"announced": str(announced.number)})
            self.tell("close", number=announced.number, **seen)

    def _does_sign_in(self, browser: Browser, member: str) -> None:
        browser.member = member

    def _does_sign_out(self, browser: Browser) -> None:
        browser.member = None

    def _does_clear(self, browser: Browser) -> None:
        browser.clear()
        browser.member = None
        self.tell("clear", browser=browser.name)

    def _does_gpc(self, browser: Browser, on: bool) -> None:
        browser.gpc = on

    def _does_letter(self, browser: Browser, kind: str, with_receipt: bool) -> None:
        self.staff.register(browser, self._who.person, kind, with_receipt=with_receipt)
        self.settle()

    # -- the site's own life ------------------------------------------------------------------------------------

    def _incident(self, plan: Incident) -> None:
        getattr(self, f"_on_{plan.verb}")(**plan.arguments)

    def _start(self, *, drains: bool) -> None:
        self.site.start(self.now, drains=drains)
        self.tell("started", drains=drains)

    def _killed(self) -> None:
        drains = self.site.drains
        self.site.kill()
        self.tell("killed")
        self._start(drains=drains)

    def _on_kill_next(self) -> None:
        self._kills += 1

    def _on_stop(self) -> None:
        self.site.stop()
        self.tell("stopped")

    def _start_again(self, *, drains: bool = True) -> None:
        self._start(drains=drains)
        self._passes()
        late, self._late = self._late, []
        for incident in late:
            self._incident(incident)

    def _on_start(self) -> None:
        self._start_again()

    def _on_passes(self) -> None:
        self._passes()

    def _on_drain_away(self) -> None:
        if self.site.runs:
            self._passes()  # a withdrawal that is still open would have the spool handed over
            self.site.stop()
            self._start(drains=False)

    def _on_drain_back(self) -> None:
        if self.site.runs:
            self.site.stop()
            self._start_again()

    def _on_clock(self, seconds: int) -> None:
        self._passes()
        self.now += timedelta(seconds=seconds) - self.offset
        self.offset = timedelta(seconds=seconds)
        self.tell("clock", seconds=seconds)

    def _on_backup(self) -> None:
        if self.site.runs:
            self._passes()
            self.site.stop()
            self.backups.make()
            self.tell("backup")
            self._start(drains=self.site.drains)

    def _on_restore(self) -> None:
        if self.site.runs:
            self.site.stop()
            self.backups.restore()
            self.tell("restored")
            self._start_again()

    def _passes(self) -> None:
        """What runs in the background happens; where the drain is away, the timer's `purge` does."""
        if not self.site.runs:
            return
        self.settle()
        if not self.site.drains:
            self.staff.run("purge")
        self.tell("passed", settled=self.site.drains)

    def _on_midnight(self) -> None:
        if self.site.runs:
            if (
                self._changed
            ):  # what was taken back is erased within seconds, and not counted half an hour after the day
                self.now -= timedelta(minutes=6)
                self.settle()
                self.now += timedelta(minutes=6)
            self._passes()
            since = (self.now - timedelta(days=15)).isoformat()  # what waited in the spool comes late
            self.tell("daily", since=since, **self.site.ask("look", since=since))

    def _on_publish(self, number: int) -> None:
        if not self.site.runs:
            self._late.append(Incident(self.now, "publish", {"number": number}))
            return
        (self.directory / "policy.toml").write_text(self.story.course.revisions[number - 1].toml())
        self.staff.publish(number)
        self._passes()

    def _on_inspect(self, number: int) -> None:
        if self.site.runs and self.site.drains and not self.offset:
            self._passes()
            self.staff.inspect(number)
