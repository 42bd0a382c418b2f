"""Families of user agents: right for the usual ones, bounded and calm for the others."""

import gc
import subprocess
import sys
import tracemalloc
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given

from consent_mw.log.user_agents import Agent, is_crawler, is_probe, parse_agent
from consent_mw.testing import strategies

MOZILLA = "Mozilla/5.0 "
CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 "

PEOPLE = [
    (
        f"{MOZILLA}(Windows NT 10.0; Win64; x64) {CHROME}Safari/537.36",
        Agent("Chrome", "142", "Windows", "desktop", False),
    ),
    (
        f"{MOZILLA}(X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
        Agent("Firefox", "145", "Linux", "desktop", False),
    ),
    (
        f"{MOZILLA}(iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 "
        "Mobile/15E148 Safari/604.1",
        Agent("Mobile Safari", "18", "iOS", "mobile", False),
    ),
    (
        f"{MOZILLA}(Linux; Android 10; K) {CHROME}Mobile Safari/537.36",
        Agent("Chrome Mobile", "142", "Android", "mobile", False),
    ),
    (
        f"{MOZILLA}(Linux; Android 14; SM-X710) {CHROME}Safari/537.36",
        Agent("Chrome", "142", "Android", "tablet", False),
    ),
    (
        f"{MOZILLA}(Linux; Android 11; CUBOT X50) {CHROME}Mobile Safari/537.36",
        Agent("Chrome Mobile", "142", "Android", "mobile", False),
    ),
    ("none of your business", Agent("Other", "", "Other", "other", False)),
    ("", Agent("Other", "", "Other", "other", False)),
    ("\ud800", Agent("Other", "", "Other", "other", False)),
]

BOTS = [
    f"{MOZILLA}(compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    f"{MOZILLA}AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.3; +https://openai.com/gptbot)",
    f"{MOZILLA}(compatible; Yeti/1.1; +https://naver.me/spd)",
    f"{MOZILLA}(compatible; Daum/4.1; +http://cs.daum.net/faq/15/4118.html?faqId=28966)",
    f"{MOZILLA}(compatible; YandexBot/3.0; +http://yandex.com/bots)",
    f"{MOZILLA}(compatible; Baiduspider/2.0; +http://www.baidu.com/search/spider.html)",
    f"{MOZILLA}(compatible; ClaudeBot/1.0; +claudebot@anthropic.com)",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    f"{MOZILLA}(X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/140.0.0.0 Safari/537.36",
    "curl/8.14.1",
    "Wget/1.25.0",
    "python-requests/2.32.5",
    "python-httpx/0.28.1",
    "Go-http-client/2.0",
    "axios/1.12.2",
    "Apache-HttpClient/4.5.14 (Java/21)",
    "TomorrowsCrawler/0.1",
]

NAMED = [
    (
        f"{MOZILLA}AppleWebKit/537.36 (KHTML, like Gecko); compatible; ChatGPT-User/1.0; +https://openai.com/bot",
        "ChatGPT-User",
        "1",
    ),
    (
        f"{MOZILLA}AppleWebKit/537.36 (KHTML, like Gecko; compatible; Claude-User/1.0; +Claude-User@anthropic.com)",
        "Claude-User",
        "1",
    ),
    (
        f"{MOZILLA}(Linux; Android 5.0) AppleWebKit/537.36 (compatible; Bytespider; a@bytedance.com)",
        "Bytespider",
        "",
    ),
    (f"{MOZILLA}(compatible; MistralAI-User/1.0; +https://docs.mistral.ai/robots)", "MistralAI-User", "1"),
    (f"{MOZILLA}(compatible) AI2Bot (+https://www.allenai.org/crawler)", "AI2Bot", ""),
    (
        "meta-externalagent/1.1 (+https://developers.facebook.com/docs/sharing/webmasters/crawler)",
        "meta-externalagent",
        "1",
    ),
    ("GoogleOther", "GoogleOther", ""),
    ("Prometheus/2.45.0", "Prometheus", "2"),
    ("kube-probe/1.33", "kube-probe", "1"),
    ("kube-probe/471100099999", "kube-probe", ""),
    (f"{MOZILLA}(compatible; Daum/4.1; +http://cs.daum.net/faq/15/4118.html?faqId=28966)", "Daum", "4"),
]

PROBES = [
    "Prometheus/3.1.0",
    "Uptime-Kuma/1.23.11",
    "kube-probe/1.33",
    "ELB-HealthChecker/2.0",
    "GoogleHC/1.0",
    "Blackbox Exporter/0.27.0",
    "Consul Health Check",
]


@pytest.mark.parametrize(("raw", "expected"), PEOPLE)
def test_a_visitor_is_told_in_families(raw, expected):
    assert parse_agent(raw) == expected
    assert not is_probe(raw)


@pytest.mark.parametrize("raw", BOTS + PROBES)
def test_a_bot_is_labelled(raw):
    assert parse_agent(raw).bot
    assert parse_agent(raw).device == "bot"


@pytest.mark.parametrize("raw", PROBES)
def test_a_health_check_is_told_from_other_bots(raw):
    assert is_probe(raw)
    assert not any(map(is_probe, BOTS))


@pytest.mark.parametrize(("raw", "name", "version"), NAMED)
def test_a_crawler_or_probe_has_the_name_that_its_maker_gave_it(raw, name, version):
    assert parse_agent(raw)[:2] == (name, version)
    assert parse_agent(raw).bot
    assert is_crawler(raw)


@given(strategies.user_agents())
def test_no_string_raises(raw):
    assert parse_agent(raw).device in ("desktop", "mobile", "tablet", "bot", "other")


@pytest.mark.parametrize(
    ("raw", "browser", "version"),
    [
        ("kim-4711-secretbot/1.0", "Other", ""),
        ("My Secret Name Spider/7", "Other", ""),
        ("KimSecretApp/1.0 CFNetwork/1 Darwin/1", "Other", ""),
        ("\x1b[2JEvilbot/1.0", "Other", ""),
        ("curl/471100099999", "curl", ""),
        ("Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)", "AhrefsBot", "7"),
    ],
)
def test_a_name_that_nobody_else_has_is_none(raw, browser, version):
    """Families are kept in clear: who writes an agent of their own must not find it there."""
    assert parse_agent(raw)[:2] == (browser, version)


def test_what_stands_after_512_characters_is_not_read():
    assert not parse_agent("x" * 512 + "Googlebot").bot


def test_without_the_fast_resolver_the_answers_are_the_same():
    script = (
        "import sys, warnings; warnings.simplefilter('error'); sys.modules['ua_parser_rs'] = None\n"
        "import importlib.util as u; real = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'ua_parser_rs' else real(name, *rest)\n"
        "from consent_mw.log.user_agents import parse_agent\n"
        "for raw in eval(sys.stdin.read()): print(tuple(parse_agent(raw)))"
    )
    sample = [raw for raw, _ in PEOPLE] + BOTS[:5]
    done = subprocess.run(
        [sys.executable, "-c", script], input=ascii(sample), capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [str(tuple(parse_agent(raw))) for raw in sample]


def test_every_example_of_the_list_of_bots_is_labelled():
    listed: Any = import_module("crawleruseragents")  # it has no types
    examples = [agent for crawler in listed.CRAWLER_USER_AGENTS_DATA for agent in crawler["instances"]]
    assert len(examples) > 2_000
    assert [agent for agent in examples if not parse_agent(agent).bot] == []


def test_a_flood_of_distinct_and_long_agents_fills_no_memory():
    for number in range(6_000):  # what is remembered is full after 4,096
        parse_agent(f"Mozilla/5.0 {number} " + "x" * 8_000)
        is_crawler(f"Mozilla/5.0 {number} " + "x" * 8_000)
    tracemalloc.start()
    for number in range(6_000, 8_000):
        parse_agent(f"Mozilla/5.0 {number} " + "x" * 8_000)
        is_crawler(f"Mozilla/5.0 {number} " + "x" * 8_000)
    gc.collect()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Two thousand of 8 kB are 16 MB; those that are remembered are capped at 512 characters, and take others' places.
    assert kept < 6_000_000
