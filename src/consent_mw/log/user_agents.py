"""Families of a User-Agent: browser, system, device, bot. Only these leave this module, not the string itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple, TypeAlias, cast

from consent_mw.system.bounded_cache import remembering

DeviceKind: TypeAlias = Literal["desktop", "mobile", "tablet", "bot", "other"]

#: Real agents have fewer than 300 characters; the legacy parser needs 42 ms for one of 8 kB.
LONGEST = 512
_OTHER = "Other"
_LONGEST_VERSION = 4
#: Enough for the agents of a day, some thousand on a busy site. A flood of others must stay bounded.
_REMEMBERED_BYTES = 2 << 20
#: What an agent's families take: five short texts, whose names other agents mostly share.
_AGENT_BYTES = 400

# What any bot says about itself, so that a new bot is known before any list has it. It gives a URL or a mailbox to
# reach its operator; browsers have neither. CUBOT makes telephones.
_CALLS_ITSELF_BOT = re.compile(
    r"(?<!cu)bot(?!tle)|crawl|spider|slurp|scrap(?:er|y|ing)|fetch(?:er|or)|monitor|uptime|validator|headless|phantomjs"
    r"|lighthouse|preview|https?://|[\w.+-]@[\w-]+\.\w"
    # HTTP libraries and tools: no visitor uses them. okhttp, CFNetwork and Dalvik are excluded: apps use them.
    r"|^(?:curl|wget|python|aiohttp|httpx|java|apache-httpclient|go-http-client|libwww|lwp|node-fetch|axios|got|undici"
    r"|ruby|php|guzzle|postman|httpie|scrapy|ahc|jetty|jersey)\b",
    re.IGNORECASE,
)
_CRAWLER = re.compile(r"(?<!cu)bot(?!tle)|crawl|spider|slurp", re.IGNORECASE)
_PROBE = re.compile(
    r"kube-probe|elb-healthchecker|googlehc|health[ -]?check|consul health|blackbox[ -]exporter|haproxy|envoy/hc"
    r"|alwayson|amazon-route53|pingdom|uptimerobot|statuscake|betteruptime|better uptime|zabbix|check_http|nagios"
    r"|^prometheus/|^grafana[ /]|uptime-kuma|datadog[/ ]?synthetics|newrelicpinger|site24x7|^checkly"
    r"|uptime probe|traffic-manager/|opentelemetry-collector|[- ]health$",
    re.IGNORECASE,
)
#: Crawlers and helpers of AI companies, probes, and Korean crawlers, as their makers document them. The parsers give
#: several of them another name ("com/bot" for ChatGPT-User, the browser that it pretends to be), or none.
_OWN_NAMES = {
    name.lower(): name
    for name in (
        *(
            "AI2Bot",
            "Ai2Bot-Dolma",
            "Amazonbot",
            "Applebot",
            "Applebot-Extended",
            "Bytespider",
            "CCBot",
            "ChatGPT-User",
        ),
        *("Claude-SearchBot", "Claude-User", "Claude-Web", "ClaudeBot", "DeepSeekBot", "Diffbot", "DuckAssistBot"),
        *(
            "Gemini-Deep-Research",
            "Google-CloudVertexBot",
            "Google-Extended",
            "Google-NotebookLM",
            "GoogleAgent-Mariner",
        ),
        *("GoogleOther", "GPTBot", "GrokBot", "MistralAI-User", "OAI-SearchBot", "PanguBot", "Perplexity-User"),
        *("PerplexityBot", "PetalBot", "TikTokSpider", "Timpibot", "YouBot", "anthropic-ai", "cohere-ai"),
        *("cohere-training-data-crawler", "meta-externalagent", "meta-externalfetcher", "meta-webindexer", "xAI-Bot"),
        *(
            "Blackbox Exporter",
            "Consul Health Check",
            "ELB-HealthChecker",
            "Envoy/HC",
            "GoogleHC",
            "Grafana",
            "HAProxy",
        ),
        *("NewRelicPinger", "Pingdom", "Prometheus", "Site24x7", "StatusCake", "Uptime-Kuma", "UptimeRobot", "Zabbix"),
        *("check_http", "kube-probe"),
        *("Daum", "Yeti", "kakaotalk-scrap"),
    )
}
_NAMED = re.compile(
    rf"(?<![\w-])({'|'.join(sorted(map(re.escape, _OWN_NAMES), key=len, reverse=True))})(?![\w-])"
    r"(?:/v?([0-9]{1,4})(?![0-9]))?",
    re.IGNORECASE,
)


class Agent(NamedTuple):
    """
    The families of one User-Agent.

    Attributes:
        browser: "Chrome", "Mobile Safari", "Other", ...
            A name that only this agent has is "Other".
        browser_version: The major version only, or "": the full version could tell visitors apart.
        os: "Windows", "Android", "Other", ... without a version, for the same reason.
        device: The kind, never the model.
        bot: Whether the program says that it is a bot, or one of the lists does. Everything else counts as a visitor,
            also an empty or unknown agent: a visitor who hides it still has a choice to make.
    """

    browser: str
    browser_version: str
    os: str
    device: DeviceKind
    bot: bool


def parse_agent(raw: str) -> Agent:
    """
    Return the families of a User-Agent. Never raises, whatever the string.

    Only the first 512 characters are read, and some thousand results are cached. A new agent costs 66 microseconds with
    `ua-parser[regex]`, about 900 without: call it after the request, in a thread.
    """
    return _parse(raw[:LONGEST])


def is_probe(raw: str) -> bool:
    """Return whether the agent is a health check (kube-probe, a load balancer, a monitor), which is not a visit."""
    return _PROBE.search(raw, 0, LONGEST) is not None


def is_crawler(raw: str) -> bool:
    """
    Whether this agent says that no person uses it: a crawler or a probe. Its choices make no receipt.

    This is narrower than `Agent.bot`: a person may well choose with a command line or an automated browser.
    """
    return _crawls(raw[:LONGEST])


def _read_crawls(raw: str) -> bool:
    return is_probe(raw) or _CRAWLER.search(raw) is not None or _NAMED.search(raw) is not None


def _read(raw: str) -> Agent:
    # The parsers encode to UTF-8, and a lone surrogate cannot be encoded.
    raw = raw.encode("utf-8", "replace").decode("utf-8")
    seen = _reader()(raw)
    named = _NAMED.search(raw)
    if named is not None:
        return Agent(_OWN_NAMES[named[1].lower()], named[2] or "", _public(seen.os.family), "bot", bot=True)
    bot = bool(seen.is_bot or _CALLS_ITSELF_BOT.search(raw) or _PROBE.search(raw) or _listed()(raw))
    browser, version = _public(seen.browser.family), str(seen.browser.version[0]) if seen.browser.version else ""
    if browser == _OTHER or len(version) > _LONGEST_VERSION:
        version = ""
    return Agent(browser, version, _public(seen.os.family), _device(seen, bot), bot)


def _known(family: str) -> str:
    """
    Return the family if other agents have it too, else "Other".

    ua-parser takes any text before "bot" or "CFNetwork" as a family, so anybody can make up their own. The family is
    kept in clear, so it must be a well-known name.
    """
    return family if family in _names() else _OTHER


# Cached by the capped text, so that a flood of agents of 8 kB takes no more room than one of real agents.
_crawls = remembering(_read_crawls, _REMEMBERED_BYTES // 4)
_parse = remembering(_read, _REMEMBERED_BYTES, lambda agent: _AGENT_BYTES)
_public = remembering(_known, _REMEMBERED_BYTES // 4)


@cache
def _names() -> str:
    """Every name in ua-parser's patterns and replacements and in the list of bots, with the text around it."""
    known: Any = import_module("ua_parser.user_agent_parser")
    crawlers: Any = import_module("crawleruseragents")
    texts: list[str] = [_OTHER]
    for parser in (*known.USER_AGENT_PARSERS, *known.OS_PARSERS):
        texts.append(parser.user_agent_re.pattern)
        said = cast("dict[str, str | None]", vars(parser))
        texts += [text for name, text in said.items() if name.endswith("_replacement") and text]
    for crawler in crawlers.CRAWLER_USER_AGENTS_DATA:
        texts += [crawler["pattern"], *crawler["instances"]]
    return "\n".join(texts).replace("\\", "")


def _device(seen: Any, bot: bool) -> DeviceKind:
    if bot:
        return "bot"
    if seen.is_tablet:
        return "tablet"
    if seen.is_mobile:
        return "mobile"
    return "desktop" if seen.is_pc else "other"


@cache
def _reader() -> Callable[[str], Any]:
    """Return a function from a string to a `user_agents` object. It uses ua-parser's Rust resolver if installed."""
    parsers: Any = import_module("user_agents.parsers")
    if find_spec("ua_parser_rs") is None or find_spec("ua_parser.core") is None:
        legacy: Callable[[str], Any] = parsers.UserAgent
        return legacy
    resolve: Any = import_module("ua_parser").parse

    class _Resolved(parsers.UserAgent):  # type: ignore[misc]  # user_agents has no types
        # user_agents 2.2 always calls the legacy pure-Python parser, twelve times slower: so use another constructor.
        def __init__(self, raw: str) -> None:
            result = resolve(raw).with_defaults()
            browser, system, device = result.user_agent, result.os, result.device
            self.ua_string = raw
            self.browser = parsers.parse_browser(browser.family, browser.major, browser.minor, browser.patch)
            self.os = parsers.parse_operating_system(system.family, system.major, system.minor, system.patch)
            self.device = parsers.parse_device(device.family, device.brand, device.model)

    return _Resolved


@cache
def _listed() -> Callable[[str], bool]:
    """
    Return a function that tells whether a string matches the list of `crawler-user-agents`, released monthly.

    Its own search costs 194 microseconds for an agent that is not a bot; the same patterns in ua-parser's resolver cost
    2. Of the list's own 2,123 examples the patterns above and ua-parser find 85 of 100; with the list, all are found.
    """
    crawlers: Any = import_module("crawleruseragents")
    if find_spec("ua_parser_rs") is None:
        search: Callable[[str], bool] = crawlers.is_crawler
        return search
    extractor: Any = import_module("ua_parser_rs").UserAgentExtractor(
        (f"({crawler['pattern']})", None, None, None, None, None) for crawler in crawlers.CRAWLER_USER_AGENTS_DATA
    )
    return lambda raw: extractor.extract(raw) is not None
