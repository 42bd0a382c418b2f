"""What staff do: publish, read, export, disclose, answer, destroy, verify, and look at everything for the judge."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from tests.year.browser import Browser
from tests.year.population import Deed
from tests.year.process import SiteFailed

if TYPE_CHECKING:
    from tests.year.world import World

#: Browsers whose My data is looked at with each inspection.
_LOOKED_AT = 10
#: The part of the new visits of which a copy is kept at an inspection, as it would be in a backup.
_COPIED = 0.15


class Staff:
    """Commands, by the site's own clock."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._copies: list[tuple[int, str, str]] = []
        self._copied_until = ""
        self._receipts: list[tuple[str, datetime]] = []

    def run(self, *arguments: str) -> dict[str, Any]:
        world = self._world
        answer = world.site.ask("run", arguments=arguments, at=world.now.isoformat())
        world.now += timedelta(seconds=1)
        return answer

    def _ends_well(self, *arguments: str) -> dict[str, Any]:
        answer = self.run(*arguments)
        said = "" if answer["code"] == 0 else (answer["err"] or answer["out"])[-600:]
        self._world.tell("command", command=" ".join(arguments), code=answer["code"], said=said)
        return answer

    def publish(self, number: int) -> None:
        answer = self.run("publish", "policy.toml")
        if answer["code"]:
            raise SiteFailed(f"revision {number} was not published: {answer['err']}")
        self._world.tell("published", number=number)

    # -- receipts and letters -----------------------------------------------------------------------------------

    def keep_receipt(self, browser: Browser, downloaded: Any) -> None:
        """Keep what a visitor downloaded, to verify it later, and the name that it says."""
        receipts = downloaded if isinstance(downloaded, list) else downloaded.get("receipts", [downloaded])
        for receipt in receipts[:1]:
            world = self._world
            name = f"receipt-{len(self._receipts)}.json"
            (world.directory / name).write_text(json.dumps(downloaded))
            self._receipts.append((name, _given(downloaded)))
            browser.receipt = _named(receipt, "pii_principal_id")

    def register(self, browser: Browser, person: str, kind: str, *, with_receipt: bool) -> None:
        world = self._world
        if with_receipt and not browser.receipt:
            return
        whose = ["--receipt", browser.receipt] if with_receipt else ["--phone", "02-120"]
        received = world.now.astimezone(_zone(world)).strftime("%Y-%m-%dT%H:%M:%S")
        answer = self.run(
            "requests", "add", "--kind", kind, "--channel", "post", "--received", received, *whose, "--json"
        )
        if answer["code"]:
            raise SiteFailed(f"a letter was not registered: {answer['err']}")
        number = json.loads(answer["out"])["number"]
        world.tell("letter", person=person, browser=browser.name, kind=kind, number=number, known=with_receipt)

    # -- an inspection ------------------------------------------------------------------------------------------

    def inspect(self, number: int) -> None:
        world = self._world
        world.tell("inspection", **world.site.ask("look"), archived=world.site.ask("archived")["rows"])
        self._try_copies()
        self._look_over_shoulders()
        revision = world.story.course.at(world.now)
        for n, purpose in enumerate((*revision.asked, "abuse")):
            if (number + n) % 3 == 0:
                self._read(purpose, export=(number + n) % 2 == 0)
        if number % 2 == 0:
            self._disclose(revision.asked[number // 2 % len(revision.asked)])
        self._answer_requests()
        watching = [("purge", "--dry-run"), ("audit", "verify"), ("store", "check"), ("report", "--json")]
        for command in (watching[0], watching[1 + number % 3]):
            self._ends_well(*command)
        if self._receipts:
            name, kept = world.random.choice(self._receipts)
            self._verify(name, kept)

    def _try_copies(self) -> None:
        world = self._world
        opened = world.site.ask("open", copies=[copy for _, _, copy in self._copies])["opened"]
        attempts = [[ms, purpose, opens] for (ms, purpose, _), opens in zip(self._copies, opened, strict=True)]
        world.tell("copies", found=attempts)
        self._copies = [copy for copy, opens in zip(self._copies, opened, strict=True) if opens]
        since = self._copied_until or (world.now - timedelta(days=8)).isoformat()
        self._copies += map(tuple, world.site.ask("copy", since=since, share=_COPIED)["copies"])
        self._copied_until = world.now.isoformat()

    def _look_over_shoulders(self) -> None:
        world = self._world
        names = sorted(world.browsers)
        for name in world.random.sample(names, min(_LOOKED_AT, len(names))):
            world.now += timedelta(seconds=2)
            world.act(Deed(world.now, name.partition(".")[0], name, "look"))

    def _read(self, purpose: str, *, export: bool) -> None:
        reading = ["--purpose", purpose, "--reason", "to look"]
        command = ["export", "--format", "jsonl"] if export else ["log", "--json", "-n", "1000000"]
        answer = self._ends_well(*command, *reading)
        rows = [json.loads(line) for line in answer["out"].splitlines()]
        paths = [[row["kind"], row["url.path"]] for row in rows if row.get("url.path")]
        self._world.tell("read", how=command[0], purpose=purpose, paths=paths)

    def _disclose(self, purpose: str) -> None:
        answer = self._ends_well(
            "disclose", "add", "--to", "Ads Inc.", "--basis", "consent", "--reference", "contract 7",
            "--purpose", purpose, "--json",
        )  # fmt: skip
        if answer["out"]:
            said = json.loads(answer["out"])
            self._world.tell("disclosed", purpose=purpose, records=said["records"], left_out=said["left_out"])

    def _answer_requests(self) -> None:
        world = self._world
        answer = self.run("requests", "list", "--all", "--json")
        cases = [json.loads(line) for line in answer["out"].splitlines()]
        world.tell("requests", cases=cases, code=answer["code"])
        for case in cases:
            if case["state"] == "open" and world.random.random() < 0.7:
                self._answer(case)

    def _answer(self, case: dict[str, Any]) -> None:
        verb = "answer"
        if case["kind"] == "erasure" and "abuse" in (case.get("purposes") or ()):
            verb = "grant" if self._world.random.random() < 0.5 else "refuse"
        elif case["kind"] == "restriction":
            verb = "grant"
        done = self.run("requests", verb, case["number"], "--reason", "we looked at it")
        self._world.tell("answered", number=case["number"], kind=case["kind"], verb=verb, code=done["code"])
        self._world.settle()

    def _verify(self, name: str, kept: datetime) -> None:
        answer = self.run("receipt", "verify", name, "--reason", "to see")
        self._world.tell("verified", name=name, kept=kept, code=answer["code"], said=answer["err"][-300:])


def _zone(world: World) -> Any:
    from zoneinfo import ZoneInfo

    return ZoneInfo(world.story.course.at(world.now).zone)


def _given(value: Any) -> datetime:
    """Return when the oldest of some receipts was given: its number says it."""
    text = json.dumps(value)
    return min(
        datetime.fromtimestamp((UUID(number).int >> 80) / 1000, UTC)
        for number in re.findall(r'"record_id": "([^"]+)"', text)
    )


def _named(value: Any, name: str) -> str:
    """Return the first value of this name in a document, wherever it is."""
    if isinstance(value, dict):
        if isinstance(value.get(name), str):
            return str(value[name])
        value = list(value.values())
    if isinstance(value, list):
        return next((text for part in value if (text := _named(part, name))), "")
    return ""
