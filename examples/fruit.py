"""What every example offers: fruit. Nothing in here knows of a framework, or of consent."""

from collections.abc import AsyncIterator
from html import escape

FRUIT = ("apple", "apricot", "cherry", "grape", "pear", "plum")
HARVEST = ("fruit,letters\n", *(f"{fruit},{len(fruit)}\n" for fruit in FRUIT))

PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Fruit</title></head>
<body><h1>Fruit</h1>
<form><label>Search <input name="q" value="{words}"></label> <button>Go</button></form>
<p>{results}</p>
<p>This search {was} counted.</p>
<p><a href="{root}/consent/" data-consent="settings">Cookie settings</a></p>
</body>
</html>"""


def matching(words: str) -> list[str]:
    """Return the fruit whose name holds `words`."""
    return [fruit for fruit in FRUIT if words in fruit]


def page(words: str, results: list[str], *, counted: bool, root: str = "") -> str:
    """Return the page of a search; `root` is the path that the site is mounted under."""
    was = "was" if counted else "was not"
    return PAGE.format(words=escape(words), results=", ".join(results) or "none", was=was, root=escape(root))


async def harvest() -> AsyncIterator[str]:
    """Yield the lines of `HARVEST`, as if each took a while."""
    for line in HARVEST:
        yield line
