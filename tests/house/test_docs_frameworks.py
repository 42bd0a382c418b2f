"""`docs/frameworks.md` has each framework, starts its example as the example says, and shows nothing but its code."""

from __future__ import annotations

import re

import pytest
from tests.support.frameworks import EXAMPLES, FRAMEWORKS
from tests.support.repository import ROOT

PAGE = (ROOT / "docs/frameworks.md").read_text()
SECTIONS = {
    heading.lower(): text for heading, text in re.findall(r"^## (\w+)\n(.*?)(?=^## )", PAGE, re.DOTALL | re.MULTILINE)
}


def test_each_framework_has_its_section() -> None:
    assert sorted(SECTIONS) == sorted(FRAMEWORKS)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_its_section_starts_the_example_and_shows_its_code(framework: str) -> None:
    section = SECTIONS[framework]
    example = (EXAMPLES / f"{framework}_app.py").read_text()
    command = f"uvicorn examples.{framework}_app:app"
    assert f"$ {command}\n" in section
    assert command in example.partition("\n")[0]
    code = example + (EXAMPLES / "django_tags.py").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    assert blocks
    for part in (part for block in blocks for part in block.strip().split("\n\n\n")):
        assert part in code
