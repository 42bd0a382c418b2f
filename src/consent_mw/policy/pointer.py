"""
How data point into a policy: `purposes.*[held_by=application].items`, `sections.*.title~security`. Pure.

A name is a key, or several of which one is enough (`retention|until`); `*` is each table of a list or of tables by
name; `[key=value]`, `[key!=value]` and `[key]`, which has any, keep some of them, and `~` asks that a text, in any
language, matches a regular expression, whatever the case.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Final, cast

import msgspec
from msgspec import inspect

from consent_mw.policy.model import Policy, Text

_STEP: Final = re.compile(r"(\*|[a-z_|]+)((?:\[[a-z_]+(?:!?=[a-z_]+)?\])*)")
_FILTER: Final = re.compile(r"\[([a-z_]+)(?:(!?=)([a-z_]+))?\]")


def declarable(pointer: str) -> bool:
    """Whether a policy can have what `pointer` leads to: whether its keys are known."""
    reached = [_policy_type()]
    for name, _ in _STEP.findall(pointer.partition("~")[0]):
        reached = [below for kind in reached for below in _below(kind, name)]
    return bool(reached)


@cache
def _policy_type() -> inspect.Type:
    return inspect.type_info(Policy)


def _below(kind: inspect.Type, name: str) -> Iterator[inspect.Type]:
    if isinstance(kind, inspect.UnionType):
        for part in kind.types:
            yield from _below(part, name)
    elif isinstance(kind, inspect.DictType):
        yield kind.value_type
    elif isinstance(kind, inspect.VarTupleType):
        yield kind.item_type
    elif isinstance(kind, inspect.StructType):
        yield from (field.type for field in kind.fields if name == "*" or field.name in name.split("|"))


def somewhere(policy: Policy, pointer: str) -> bool:
    """Whether anything that `pointer` leads to is there, not empty, not false; with a `~`, whether a text matches."""
    path, _, pattern = pointer.partition("~")
    return any(_there(value, pattern) for _, value in pointed(policy, path))


def lacking(policy: Policy, pointer: str) -> list[str]:
    """
    Return the places where what `pointer` leads to is not: each empty one of several, or where the first would stand.

    One is enough where the pointer ends with a `~` or with a filter. A place is named as in the faults of `loader`:
    "purposes.orders", "recipients[2].name".
    """
    path, _, pattern = pointer.partition("~")
    places = list(pointed(policy, path))
    if pattern or path.endswith("]") or not places:
        return [] if somewhere(policy, pointer) else [path.partition(".*")[0]]
    return [place for place, value in places if not _there(value, "")]


def pointed(policy: Policy, path: str) -> Iterator[tuple[str, object]]:
    """Yield each value that `path` leads to, with its place; None for a key that is not there."""
    reached: list[tuple[str, object]] = [("", policy)]
    steps = _STEP.findall(path)
    for number, (name, filters) in enumerate(steps):
        last = number == len(steps) - 1
        reached = [
            (place, value)
            for start, origin in reached
            for place, value in _step(start, origin, name)
            if _kept(value, filters) and (last or value is not None)
        ]
    yield from reached


def _step(place: str, value: object, name: str) -> Iterator[tuple[str, object]]:
    if name != "*":
        keys = name.split("|")
        begun = next((key for key in keys if _below_key(value, key)), keys[0])
        yield f"{place}.{begun}".lstrip("."), _below_key(value, begun)
    elif isinstance(value, Mapping):
        for key, item in cast("Mapping[str, object]", value).items():
            yield f"{place}.{key}", item
    elif isinstance(value, tuple | list):
        for number, item in enumerate(cast("tuple[object, ...]", value), 1):
            yield f"{place}[{number}]", item
    elif isinstance(value, Policy):
        for field in msgspec.structs.fields(value):
            yield field.name, getattr(value, field.name)


def _below_key(value: object, key: str) -> object:
    return cast("Mapping[str, object]", value).get(key) if isinstance(value, Mapping) else getattr(value, key, None)


def _kept(value: object, filters: str) -> bool:
    return all(_keeps(getattr(value, key, None), sign, wanted) for key, sign, wanted in _FILTER.findall(filters))


def _keeps(value: object, sign: str, wanted: str) -> bool:
    return (value == wanted) == (sign == "=") if sign else value is not None


def _there(value: object, pattern: str) -> bool:
    if not pattern:
        return bool(value) if not isinstance(value, msgspec.Struct) else True
    texts = value.by_language.values() if isinstance(value, Text) else [value] if isinstance(value, str) else []
    return any(re.search(pattern, text, re.IGNORECASE) for text in texts)
