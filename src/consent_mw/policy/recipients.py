"""The recipients of a purpose's data: one answer for every page, document and comparison. Pure."""

from __future__ import annotations

from typing import NamedTuple

from consent_mw.policy.model import Cookie, InBrowser, Policy, Processor, Recipient, Text


class Receiver(NamedTuple):
    """
    One who receives something for one purpose.

    Attributes:
        purpose: The declared name of the purpose.
        declared: What [[recipients]] says about it: what it gets, for how long. Empty for a cookie's provider.
        cookies: The cookies of that purpose that are its own, and what the browser keeps for it or sends it.
        processor: What [[processors]] says about it, if it works for the site; then it is not a third party.
    """

    name: Text
    purpose: str
    declared: tuple[Recipient, ...]
    cookies: tuple[Cookie | InBrowser, ...]
    processor: Processor | None = None


def receivers(policy: Policy, purpose: str) -> list[Receiver]:
    """Return all who receive something for `purpose`, each once: recipients, processors, providers of cookies."""
    merged: list[Receiver] = []
    for recipient in policy.recipients:
        if recipient.purpose == purpose:
            _add(merged, Receiver(recipient.name, purpose, (recipient,), ()))
    for processor in policy.processors:
        if purpose in processor.purposes:
            _add(merged, Receiver(processor.name, purpose, (), (), processor))
    placed: list[Cookie | InBrowser] = [*policy.cookies, *policy.browser]
    for cookie in placed:
        provider = provider_of(policy, cookie)
        if cookie.purpose == purpose and provider:
            _add(merged, Receiver(provider, purpose, (), (cookie,)))
    return merged


def provider_of(policy: Policy, cookie: Cookie | InBrowser) -> Text | None:
    """Return whose `cookie` is if it is somebody else's: naming oneself as the provider makes nobody a receiver."""
    return None if same(cookie.provider, policy.controller.name) else cookie.provider


def same(one: Text | None, other: Text | None) -> bool:
    """Whether two names mean the same: a translation more or less makes nobody another."""
    if one is None or other is None:
        return one is other
    return not set(one.by_language.values()).isdisjoint(other.by_language.values())


def _add(merged: list[Receiver], new: Receiver) -> None:
    for number, known in enumerate(merged):
        if same(known.name, new.name):
            declared, cookies = known.declared + new.declared, known.cookies + new.cookies
            merged[number] = known._replace(
                declared=declared, cookies=cookies, processor=known.processor or new.processor
            )
            return
    merged.append(new)
