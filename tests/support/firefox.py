"""A real Firefox, spoken to by WebDriver BiDi as Debian's speaks it without a driver of its own."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import subprocess
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

#: It asks nothing outside.
_QUIET = {
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "browser.aboutConfig.showWarning": False,
    "browser.safebrowsing.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage_override.mstone": "ignore",
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.update.enabled": False,
    "intl.accept_languages": "en",
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "http://127.0.0.1:9/",
    "toolkit.telemetry.enabled": False,
}
#: How long a step may take on a busy machine, in seconds.
_PATIENCE = 30.0
#: What the keyboard's keys are called (WebDriver, section 17.4.2).
TAB, ENTER, ESCAPE = "\ue004", "\ue007", "\ue00c"


class Tab:
    """One tab, in a cookie jar of its own."""

    def __init__(self, firefox: Firefox) -> None:
        self._firefox = firefox
        jar = firefox.send("browser.createUserContext")["userContext"]
        self._name = firefox.send("browsingContext.create", type="tab", userContext=jar)["context"]

    def goto(self, address: str) -> None:
        self._firefox.send("browsingContext.navigate", context=self._name, url=address, wait="complete")

    def back(self) -> None:
        self._firefox.send("browsingContext.traverseHistory", context=self._name, delta=-1)

    def frame(self) -> str:
        """Return the name of the page's only frame."""
        (frame,) = self._firefox.send("browsingContext.getTree", root=self._name)["contexts"][0]["children"]
        return str(frame["context"])

    def js(self, expression: str, frame: str = "") -> Any:
        """Return the value of an expression, of its promise if it is one."""
        text = f"(async () => JSON.stringify((await ({expression})) ?? null))()"
        target = {"context": frame or self._name}
        answer = self._firefox.send(
            "script.evaluate", expression=text, target=target, awaitPromise=True, userActivation=True
        )
        assert answer["type"] == "success", answer["exceptionDetails"]["text"]
        return json.loads(answer["result"]["value"])

    def until(self, expression: str, frame: str = "") -> None:
        """Wait until an expression is true, also while the page changes."""
        end = time.monotonic() + _PATIENCE
        while True:
            with contextlib.suppress(RuntimeError):  # the page was just left
                if self.js(expression, frame):
                    return
            assert time.monotonic() < end, f"never true: {expression}"
            time.sleep(0.02)

    def press(self, *keys: str) -> None:
        strokes = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        source = {"type": "key", "id": "keyboard", "actions": strokes}
        self._firefox.send("input.performActions", context=self._name, actions=[source])


class Firefox:
    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._numbers = socket, itertools.count(1)
        self.send("session.new", capabilities={"alwaysMatch": {"acceptInsecureCerts": True}})

    def send(self, method: str, **params: Any) -> Any:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(self._socket.recv(timeout=_PATIENCE))
            if answer.get("id") == number:
                if answer["type"] == "error":
                    raise RuntimeError(f"{method}: {answer['error']}: {answer['message']}")
                return answer["result"]


@contextlib.contextmanager
def firefox(program: str, **preferences: bool | int | str) -> Generator[Firefox]:
    """Start one with a profile of its own; `preferences` are those of about:config, with `_` for each dot."""
    given = {name.replace("_", "."): value for name, value in preferences.items()}
    with tempfile.TemporaryDirectory() as profile:
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in (_QUIET | given).items()]
        (Path(profile) / "user.js").write_text("\n".join(lines))
        command = [program, "--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0"]
        environment = {"HOME": profile, "PATH": "/usr/bin:/bin"}
        with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment) as process:
            try:
                with connect(f"{_address(process)}/session", max_size=None) as socket:
                    yield Firefox(socket)
            finally:
                process.kill()


def _address(process: subprocess.Popen[bytes]) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if match := re.search(rb"listening on (ws://\S+)", line):
            return match[1].decode()
    raise AssertionError("Firefox did not start")
