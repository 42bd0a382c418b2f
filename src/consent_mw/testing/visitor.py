"""A visitor for tests: an HTTP client that answers the banner in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx

from consent_mw.consent.choice import Choice

__all__ = ["Visitor"]


class Visitor(httpx.Client):
    """
    An `httpx.Client` that answers the banner in one call, for a site that runs somewhere.

        with Visitor(base_url="http://127.0.0.1:8000") as visitor:
            visitor.reject()

    Args:
        prefix: Where the consent pages are.
        options: What `httpx.Client` takes; `base_url` tells where the site is, with what it is mounted under.
    """

    def __init__(self, *, prefix: str = "/consent", **options: Any) -> None:
        self._prefix = prefix
        super().__init__(**options)

    def accept(self) -> httpx.Response:
        """Press *Accept all*. Like its siblings it returns the answer, whose JSON is `state()` from then on."""
        return self._choose({"choice": Choice.ACCEPT})

    def ask(self) -> httpx.Response:
        """Press *Ask me each time*."""
        return self._choose({"choice": Choice.PROMPT})

    def reject(self) -> httpx.Response:
        """Press *Reject all*."""
        return self._choose({"choice": Choice.REJECT})

    def allow(self, *names: str) -> httpx.Response:
        """
        Allow cookies that wait, purposes, or declared cookies, by name; what waits is delivered with the answer.

        Raises:
            httpx.HTTPStatusError: The policy asks about nothing of that name; the message has the names.
        """
        return self._answer("allow", "yes", names)

    def refuse(self, *names: str) -> httpx.Response:
        """Refuse cookies that wait, purposes, or declared cookies, by name. Raises as `allow` does."""
        return self._answer("refuse", "no", names)

    def state(self) -> dict[str, Any]:
        """Return what holds for this visitor, as `GET /consent/state` tells a page's scripts."""
        state: dict[str, Any] = _fine(self.get(f"{self._prefix}/state")).json()
        return state

    def my_data(self) -> dict[str, Any]:
        """
        Return what is held about this visitor, as `my-data.json` tells it.

        Raises:
            httpx.HTTPStatusError: The site knows nobody by what the browser sends.
        """
        held: dict[str, Any] = _fine(self.get(f"{self._prefix}/my-data.json")).json()
        return held

    def exercise(self, action: str, **fields: str) -> dict[str, Any]:
        """
        Exercise a right on the page of one's data, and return what was done: "action", "number", "state", ...

            visitor.exercise("erase", confirm="yes")

        Args:
            action: "withdraw", "erase", "correct", "dispute", "restrict", ..., with the fields that go with it.

        Raises:
            httpx.HTTPStatusError: A field is wrong; the message says which.
        """
        done: dict[str, Any] = self._send("my-data", {"action": action, **fields}).json()["done"]
        return done

    def _answer(self, verb: str, word: str, names: Sequence[str]) -> httpx.Response:
        state = self.state()
        waiting = {cookie["name"]: cookie["id"] for cookie in state["waiting"] if cookie["name"] in names}
        answered = [name for name in names if name not in waiting]
        if waiting:
            response = self._choose({"answer": verb, "waiting": list(waiting.values())})
            if not answered:
                return response
        fields = {
            f"{kind}.{name}": "yes" if yes else "no"
            for kind, answers in (("purpose", state["purposes"]), ("cookie", state["cookies"]))
            for name, yes in answers.items()
            if yes is not None
        }
        kinds = {name: "purpose" if name in state["purposes"] else "cookie" for name in answered}
        return self._choose({"choice": "save", **fields, **{f"{kinds[name]}.{name}": word for name in answered}})

    def _choose(self, fields: dict[str, Any]) -> httpx.Response:
        return self._send("choice", fields)

    def _send(self, page: str, fields: dict[str, Any]) -> httpx.Response:
        headers = {"accept": "application/json", "sec-fetch-site": "same-origin"}
        return _fine(self.post(f"{self._prefix}/{page}", data=fields, headers=headers))


def _fine(response: httpx.Response) -> httpx.Response:
    if not response.is_success:
        problem = f"{response.request.url.path} answered {response.status_code}: {response.text}"
        raise httpx.HTTPStatusError(problem, request=response.request, response=response)
    return response
