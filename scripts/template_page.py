"""The page docs/reference/templates.md: what each template is given, found in the templates themselves."""

from __future__ import annotations

from collections.abc import Iterator

from jinja2 import meta, nodes
from jinja2.defaults import DEFAULT_FILTERS

from consent_mw.site.templating import TEMPLATES, Templates

#: What the translation of sentences brings along.
BROUGHT_ALONG = {"_trans"}

EVERYWHERE = {
    "base": "where our pages are, with what the application is mounted under: `/consent`",
    "enforced": "false under `report_only=True`",
    "has_my_data": "whether there is a page of the visitor's own data",
    "has_proof": "whether there is a page of proofs",
    "lifetime": "how long a choice is remembered, a duration",
    "look": "the banner's layout: `look.classes` goes into the class of the outermost element",
    "notice_lifetime": "how long a closed notice stays closed",
    "outline": "the policy in the order of the page: purposes with what is recorded, cookies and recipients of each",
    "policy": "the declaration, [as values](policy-values.md)",
    "requested_language": "the language of the policy that the visitor asked for",
    "translation": "what is really spoken: `translation.language`, `translation.direction`, `translation.name(tag)`",
    "waiting_lifetime": "how long a browser tells open pages that a cookie waits",
}
ON_PAGES = {
    "head": "the tags of our style sheet and script",
    "here": "the address of this page, without a query",
    "home": "the address of the application",
    "languages": "pairs of a language's tag and its own name",
    "notice": "the notice of an announced revision, as HTML; empty without one. In `_head.html` the name of its script",
    "pages_css": "the name of the pages' style sheet below `/static/`",
    "suffix": "`?lang=…` where the visitor switched the language, else empty: every link of ours ends with it",
    "token": "what a form has to send as `token`",
}
SOMEWHERE = {
    "application": "what the application holds about the visitor, in groups by purpose",
    "action": "where the forms of My data are sent",
    "again": "why a form has to be sent again: `unknown`, `cookies`, `revised`, or empty",
    "ahead": "the number of the announced revision, or none",
    "allowed": "the values that a form may send",
    "amendments": "what a revision changes: each has its kind, and what was and is",
    "announced": "the number of the announced revision, or none",
    "answers": "by purpose: true, false, or none where it is asked each time",
    "brief": "whether the notice stands beside a banner, and says less",
    "choice": "`accept`, `reject`, `prompt`, or none",
    "compared": "the revision before, beside this one: `amendments`, `differences`, `asked_again`; or none",
    "complete": "false where the latest records may be missing",
    "contacts": "what the visitor gave for an answer: item, value and request",
    "cookie_answers": "by declared name: the answers about single cookies",
    "counted_days": "of how many days the held-back cookies are counted",
    "count": "how many changes a revision makes",
    "declared": "each purpose by name, also one that is declared no more",
    "done": "what was just asked for, and what came of it; or none",
    "elsewhere": "whether the visitor chose on another host of the site",
    "evidence": "certificates and counts: `read`, `proofs`, `blocked`; none while the store is away",
    "fewest": "the smallest number that is told",
    "field": "the field, method or header that was refused",
    "given": "the purposes that the visitor allowed",
    "given_on": "the day of the choice",
    "has_receipt": "whether the visitor has a receipt to read",
    "holdings": "everything held about the visitor",
    "in_force": "the number of the revision in force",
    "kinds": "what a visitor may ask for by a form",
    "local": "returns an instant in the time zone of the policy",
    "message_limit": "characters that a message may have",
    "more": "how many records the page leaves out",
    "most": "how many certificates of one purpose are listed",
    "new": "the later revision",
    "next": "where an answer leads to",
    "now": "the instant of the request",
    "old": "the earlier revision",
    "outline_of": "returns the `outline` of another revision",
    "own_cookies": "what our own cookies are called on this connection",
    "page": "which of our pages it was, below `base`",
    "page_and_texts": "returns two languages from that of a receipt: of our sentences, and of the site's texts",
    "period": "reads a duration such as `90 days`",
    "reason": "why nothing was changed, a word such as `foreign`, `often` or `unsaved`",
    "records": "the latest records: what each says, and its purpose",
    "refused": "the purposes that a signal of the browser refuses",
    "removed": "purposes that nobody is asked about any more, and of which something is held",
    "reopened": "what is asked again, since a revision changed it",
    "reopened_cookies": "the cookies that are asked about again",
    "reopened_purposes": "the purposes that are asked about again",
    "restricting": "the requests that restrict the use of the visitor's data",
    "revisions": "the numbers of the published revisions",
    "saved": "whether a choice was just saved",
    "script": "the name of the script below `/static/`",
    "shared": "whether a cache keeps the page for everybody, so that nothing of a visitor may stand in it",
    "shown": "each receipt, the declaration that was answered or none, and the words that were read or none",
    "signals": "the signals of the browser that the policy honours: `gpc`, `dnt`",
    "slip": "what leads back to `done`, for an address",
    "standing": "`ahead`, `in force`, `past` or `never`: of the revision that is read",
    "state_of": "returns the state of a request",
    "style": "the name of the style sheet below `/static/`",
    "unshown": "the purposes of the application that My data does not show",
    "waiting": "the cookies that wait: id, name, declaration",
    "why": "why there is no receipt to show, or empty",
    "zone": "the time zone of the policy",
}
FILTERS = {
    "city": "a city's name for a time zone, in the language of the page",
    "contents": "the headings of a page as pairs of id and text",
    "country": "a country's name for its code",
    "date": "a day, written as the language does",
    "duration": "a duration in words",
    "moment": "an instant to the minute, written as the language does",
    "own_words": "a text of the site's in Markdown, as HTML",
    "sentence": "a list of texts as the end of a sentence",
    "text": "a text of the policy in the visitor's language, marked with `lang` where it has to be another",
}


def templates_page() -> Iterator[str]:
    """Yield the paragraphs of the page. Raises KeyError for a variable or filter without a sentence here."""
    environment = Templates()._of("en")
    trees = {path.name: environment.parse(path.read_text("utf-8")) for path in sorted(TEMPLATES.glob("*.html"))}
    used = {name: variables(tree) for name, tree in trees.items()}
    differ = (SOMEWHERE | ON_PAGES | EVERYWHERE).keys() ^ set[str]().union(*used.values())
    if differ:
        raise KeyError(f"scripts/template_page.py and the templates differ about {sorted(differ)}")
    yield "# Templates"
    yield (
        "For designers. A file in the folder of `templates=` replaces ours of the same name ([Rules of your\n"
        "own](../theming.md#rules-of-your-own)). Templates are Jinja2, and escape everything. A name that is not\n"
        "given is an error, never an empty text. The names may change with any release: compare yours with ours then."
    )
    yield from section("Given to every template", EVERYWHERE)
    yield "A page, which is what extends `page.html`, is given these too:"
    yield table(ON_PAGES, ON_PAGES)
    yield from section("Given to some", SOMEWHERE)
    own = sorted(environment.filters.keys() - DEFAULT_FILTERS.keys())
    yield from section("Filters", {name: FILTERS[name] for name in own})
    yield "## Each template"
    yield "Names given to all are left out. What another template fills in has to be given where that one is used."
    rows = [f"| `{name}` | {words(used[name])} | {words(referenced(tree))} |" for name, tree in trees.items()]
    yield "\n".join(["| template | uses | with |", "|---|---|---|", *rows])


def variables(tree: nodes.Template) -> set[str]:
    """Return what a template has to be given: not what it imports, defines or sets itself."""
    own = {macro.name for macro in tree.find_all(nodes.Macro)} | {node.target for node in tree.find_all(nodes.Import)}
    own |= {name.name for name in tree.find_all(nodes.Name) if name.ctx == "store"}
    return meta.find_undeclared_variables(tree) - own - BROUGHT_ALONG


def referenced(tree: nodes.Template) -> set[str]:
    """Return the templates that one extends, includes or imports."""
    return {name for name in meta.find_referenced_templates(tree) if name}


def words(names: set[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names - EVERYWHERE.keys()))


def section(title: str, sentences: dict[str, str]) -> Iterator[str]:
    yield f"## {title}"
    yield table(sentences, sentences)


def table(names: dict[str, str], sentences: dict[str, str]) -> str:
    rows = [f"| `{name}` | {sentences[name]} |" for name in sorted(names)]
    return "\n".join(["| name | what it is |", "|---|---|", *rows])
