"""
What the site has besides docs/: pages of the repository's root, examples, what visitors read of the example policies,
and links that lead to them.

The files stay where GitHub shows them, with links that work there; here each link is led to its place in the site.
A page that would fetch something from elsewhere fails the build.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

from consent_mw.policy.loader import load
from consent_mw.policy.timeline import begins
from consent_mw.site.markdown import markdown_of
from consent_mw.site.policy_file import policy_file

ROOT = Path(__file__).parent.parent
#: What stands in the root, by its name in the site.
PLACES = {
    "README.md": "first-steps.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changes.md",
    "LICENSE": "licence.txt",
}
#: A folder is no page: whoever links it is led to the page that tells of it.
FOLDERS = {"examples/": "frameworks.md"}
#: What the package speaks; the pages of the German university are shown in English.
SPOKEN = ("ko", "en")
#: No site of these names can be.
BASE = "https://{}.example/consent"
NOTE = "\n*An example, with names that are made up: what visitors read of [{0}](../examples/policies/{0}).*\n"
LINK = re.compile(r"(?<=\]\()([^)\s#]+)")
#: GitHub takes the backslash from a pipe in a table's code, the site's Markdown does not need it and shows it.
CODE_IN_A_ROW = re.compile(r"(?<=\| )`[^`\n]*`(?= \|)")
#: The theme fetches what draws diagrams from elsewhere, unless the page has it: `scripts/setup docs` put it here.
DRAWS = "assets/mermaid.js"
DIAGRAM = '<pre class="mermaid">'
ELSEWHERE = re.compile(
    r"""<(?:script|img|iframe|source|video|audio)\b[^>]*\bsrc=["']?(?:https?:)?//"""
    r"""|<link\b(?![^>]*\brel=["']?(?:canonical|prev|next))[^>]*\bhref=["']?(?:https?:)?//"""
    r"""|url\(["']?(?:https?:)?//|@import"""
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what does not lie in docs/."""
    for name, place in PLACES.items():
        files.append(File.generated(config, place, content=(ROOT / name).read_text(encoding="utf-8")))
    files.append(File.generated(config, DRAWS, abs_src_path=str(*ROOT.glob(".make/mermaid-*.js"))))
    for example in sorted([*(ROOT / "examples").glob("*.py"), *(ROOT / "examples").glob("policies/*.toml")]):
        name = example.relative_to(ROOT).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(example)))
    for example in sorted((ROOT / "examples").glob("policies/*.toml")):
        policy = load(example)
        for language in filter(SPOKEN.__contains__, policy.languages):
            page = markdown_of(policy_file(policy, language, BASE.format(example.stem), begins(policy)))
            note = NOTE.format(f"{example.stem}.toml")
            content = page.replace("\n", f"\n{note}", 1)
            files.append(File.generated(config, f"policies/{example.stem}-{language}.md", content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead the links of a page to where their targets are in the site."""
    if page.file.src_uri.startswith("policies/"):
        return markdown  # made above, for its place
    at_the_root = page.file.src_uri in PLACES.values()
    markdown = CODE_IN_A_ROW.sub(lambda code: code[0].replace(r"\|", "|"), markdown)
    return LINK.sub(lambda link: placed(link[1], at_the_root), markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Give a page with diagrams the script that draws them."""
    if DIAGRAM not in html:
        return html
    return f'{html}\n<script src="{get_relative_url(DRAWS, page.url)}"></script>'


def placed(target: str, at_the_root: bool) -> str:
    """Return a link of a page of the root, or of docs/, as it is in the site."""
    if at_the_root:
        target = target.removeprefix("docs/")
    outside = target.removeprefix("../")
    if outside in FOLDERS or outside in PLACES:
        return FOLDERS.get(outside) or PLACES[outside]
    return outside if outside.startswith("examples/") else target


def on_post_build(config: MkDocsConfig) -> None:
    """Fail where a built page or style would fetch something from elsewhere."""
    for file in Path(config.site_dir).rglob("*"):
        if file.suffix in (".html", ".css") and (match := ELSEWHERE.search(file.read_text(encoding="utf-8"))):
            raise PluginError(f"{file}: would fetch from elsewhere: {match[0]}")
