"""Files to which JSON is appended line by line: which of their lines no writer of ours can have left. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec


def strange_lines(content: bytes, is_ours: Callable[[bytes], object]) -> list[int]:
    """
    Return the numbers of the lines that are not ours. One that a crash tore counts as ours, as its writer never
    reported it as kept. But where no line at all is whole, all of them count.

    Args:
        is_ours: Decodes a line. Raises ValueError or MsgspecError, or returns None or False, where it is another.
    """
    lines = {number: line for number, line in enumerate(content.splitlines(), 1) if line}
    broken = [number for number, line in lines.items() if not _is_whole(line, is_ours)]
    if len(broken) == len(lines):
        return broken
    return [number for number in broken if not _is_torn(lines[number])]


def without(lines: list[int]) -> str:
    """Return the instruction of sed(1) that removes these lines."""
    return ";".join(f"{span}d" for span in _spans(lines))


def _spans(lines: list[int]) -> Iterator[str]:
    first = last = lines[0]
    for line in [*lines[1:], -1]:
        if line != last + 1:
            yield str(first) if first == last else f"{first},{last}"
            first = line
        last = line


def _is_whole(line: bytes, is_ours: Callable[[bytes], object]) -> bool:
    try:
        return is_ours(line) not in (None, False)
    except (msgspec.MsgspecError, ValueError):
        return False


def _is_torn(line: bytes) -> bool:
    """Whether it is the beginning of JSON. After a power cut some file systems have the size of a file, and zeros."""
    text = line.rstrip(b"\0")
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        return not text or "truncated" in str(error)
    except UnicodeDecodeError:
        pass
    return False
