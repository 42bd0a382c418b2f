"""Files to which JSON is appended line by line: which of their lines no writer of ours can have left. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec


def strange_lines(lines: Iterable[bytes], is_ours: Callable[[bytes], object]) -> list[int]:
    """
    Return the numbers of those of `lines`, each with its line break, that are not ours. One that a crash tore counts as
    ours, as its writer never reported it as kept. But where no line at all is whole, all of them count.

    Args:
        is_ours: Decodes a line. Raises ValueError or MsgspecError, or returns None or False, where it is another.
    """
    numbered = ((number, line.rstrip(b"\r\n")) for number, line in enumerate(lines, 1))
    some_are_whole, broken = False, dict[int, bytes]()
    for number, line in numbered:  # one by one: an old site has megabytes
        if line and _is_whole(line, is_ours):
            some_are_whole = True
        elif line:
            broken[number] = line
    return [number for number, line in broken.items() if not (some_are_whole and _is_torn(line))]


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
