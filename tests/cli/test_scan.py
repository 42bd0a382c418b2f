"""`consent-mw scan` against real sites: what they set is proposed, and what is proposed can be pasted."""

from __future__ import annotations

import datetime
import json
import socket
import ssl
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from tests.support.policies import POLICY
from tests.support.serving import served

from consent_mw import ConsentMiddleware
from consent_mw.cli import main
from consent_mw.cli.proposal import names_of_families, proposed, purposes_of
from consent_mw.policy.durations import rounded
from consent_mw.policy.loader import load, loads

HOUR = 3600
DAY = 24 * HOUR


def page(*links: str, more: str = "") -> HTMLResponse:
    return HTMLResponse("<!doctype html><title>t</title>" + "".join(f'<a href="{link}">x</a>' for link in links) + more)


async def home(request: Request) -> Response:
    response = page(
        "/shop?page=1#top", "old", "//other.example/away", "mailto:a@b.c", "/paper.pdf", "http://[", "/hidden"
    )
    response.set_cookie("sessionid", "secret-value", max_age=14 * DAY)
    response.set_cookie("_ga_ABC123", "GA1", max_age=400 * DAY, domain=".example.com")
    response.set_cookie("_ga", "GA1", max_age=390 * DAY, domain=".example.com")
    response.delete_cookie("gone")
    return response


async def shop(request: Request) -> Response:
    response = page("/", "/missing", *(f"/shop?page={number}" for number in range(9)), more=EMBEDS)
    response.set_cookie("basket", "1", expires=datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=2))
    response.set_cookie("cell_17", "1", path="/shop")
    response.set_cookie("cell_18", "1", path="/shop")
    response.raw_headers.append((b"set-cookie", b'od"d name=1'))
    return response


EMBEDS = """<script src="https://cdn.example/a.js"></script><iframe data-src="https://video.example/1"></iframe>
<script src="/own.js"></script><base href="/deep/"><a href="er">x</a>"""


async def old(request: Request) -> Response:
    response = RedirectResponse("/shop")
    response.set_cookie("moved", "1", max_age=60)
    return response


async def hidden(request: Request) -> Response:
    response = page()
    response.set_cookie("hidden", "1")
    return response


async def robots(request: Request) -> Response:
    return PlainTextResponse("User-agent: *\nDisallow: /hidden\n")


async def picture(request: Request) -> Response:
    return Response(b"", media_type="image/png")


async def around(request: Request) -> Response:
    return RedirectResponse("/around")


async def away(request: Request) -> Response:
    return RedirectResponse("https://other.example/")


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    pages = (shop, old, hidden, picture, around, away)
    routes = [Route("/", home), Route("/robots.txt", robots), *(Route(f"/{page.__name__}", page) for page in pages)]
    with served(Starlette(routes=routes)) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture
def policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["init", str(tmp_path)]) == 0
    capsys.readouterr()
    return tmp_path / "policy.toml"


def test_what_it_proposes_passes_the_check_when_pasted_into_the_policy_of_init(
    site: str, policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scan", site, "--policy", str(policy)]) == 0
    with policy.open("a") as file:
        file.write(capsys.readouterr().out)
    assert main(["check", str(policy)]) == 0
    assert {cookie.name for cookie in load(policy).cookies} >= {"basket", "moved", "_ga*", "cell_*", "sessionid"}
    assert main(["scan", site, "--policy", str(policy), "--json"]) == 0  # and there is nothing left to propose
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [cookie["name"] for cookie in report["cookies"]] == ['od"d name']


def test_each_cookie_is_told_with_what_its_line_says(site: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scan", site]) == 0
    out, err = capsys.readouterr()
    declared = {cookie["name"]: cookie for cookie in tomllib.loads(out)["cookies"]["declared"]}
    facts = {name: [cookie.get(key) for key in ("purpose", "expires", "domain", "path", "provider")]
             for name, cookie in declared.items()}  # fmt: skip
    assert facts == {
        "_ga*": ["analytics", "400 days", ".example.com", None, "Google"],
        "basket": ["functional", "2 hours", None, None, None],
        "cell_*": ["functional", "session", None, "/shop", None],
        "moved": ["functional", "1 minute", None, None, None],
        "sessionid": ["necessary", "14 days", None, None, None],
    }
    assert '# od"d name: a policy cannot declare this name' in out
    assert "# looks like Google Analytics" in out
    assert "# a script from cdn.example, pages: " in out
    assert "# a frame from video.example, pages: " in out
    assert "secret-value" not in out
    assert "what scripts set in the browser is not visible" in err
    assert "kept out of by robots.txt: 1;" in err


def test_it_visits_pages_of_one_origin_each_once_and_no_more_than_asked(
    site: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scan", site, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert sorted(report["pages"]) == sorted(
        site + path for path in ("", "shop", "shop?page=0", "shop?page=1", "shop?page=2", "old", "missing", "deep/er")
    )
    assert main(["scan", site, "--json", "--max-pages", "2"]) == 0
    few = json.loads(capsys.readouterr().out)
    assert len(few["pages"]) == 2
    assert any("raise --max-pages" in note for note in few["notes"])


def test_robots_are_kept_out_where_robots_txt_says_so_unless_told_otherwise(
    site: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scan", site + "hidden"]) == 1
    assert "robots.txt asks robots to stay away" in capsys.readouterr().err
    assert main(["scan", site + "hidden", "--ignore-robots"]) == 0
    assert 'name = "hidden"' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("url", "code", "message"),
    [
        ("www.example.com", 2, "write it as https://www.example.com/"),
        ("ftp://example.com/", 2, "write it as https://www.example.com/"),
        ("http://", 2, "write it as https://www.example.com/"),
        ("http://a:b/", 2, "cannot be read as an address"),
        ("{site}picture", 1, "is image/png and not a page"),
        ("{site}around", 1, "redirects without end"),
        ("{site}away", 1, "leads to https://other.example; scan that address"),
        ("https{tls}", 1, "no TLS there"),
        ("http://127.0.0.1:{closed}/", 1, "the connection was refused; is the site running"),
        ("http://no-such-host.invalid/", 1, "no such host"),
    ],
)
def test_what_cannot_be_visited_is_one_line_with_the_mend(
    url: str, code: int, message: str, site: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        closed = sock.getsockname()[1]
    assert main(["scan", url.format(site=site, tls=site.removeprefix("http"), closed=closed)]) == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err


def certificate(directory: Path) -> Path:
    """A certificate that nobody has signed but itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    )
    builder = builder.not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(1))
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = directory / "server.pem"
    file.write_bytes(pem + private)
    return file


def test_a_certificate_that_nobody_vouches_for_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path))

    def greet(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection, pytest.raises(OSError):  # noqa: PT011 - the client hangs up, with one of several errors
            context.wrap_socket(connection, server_side=True)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=greet, args=(server,))
        thread.start()
        assert main(["scan", f"https://localhost:{server.getsockname()[1]}/"]) == 1
        thread.join(60)
    assert "its certificate is not trusted" in capsys.readouterr().err


def test_the_command_draws_no_bar_where_nobody_looks(site: str, tmp_path: Path) -> None:
    program = [str(Path(sys.executable).with_name("consent-mw")), "scan", site, "--max-pages", "1"]
    done = subprocess.run(program, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0
    assert tomllib.loads(done.stdout)["cookies"]
    assert all(line.startswith("consent-mw: note: ") for line in done.stderr.splitlines())


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0, "1 minute"), (3599.2, "1 hour"), (5400, "90 minutes"), (90_000, "25 hours"), (30 * DAY, "30 days"),
     (365 * DAY, "1 year"), (730 * DAY, "2 years"), (400 * DAY - 1, "400 days"), (10**12, "99999 days")],
)  # fmt: skip
def test_a_duration_is_written_in_the_policy_s_words(seconds: float, written: str) -> None:
    assert rounded(seconds) == written


@pytest.mark.parametrize(
    ("names", "declared"),
    [
        (["cell_1"], ["cell_1"]),
        (["cell_1", "cell_22"], ["cell_*", "cell_*"]),
        (["id-0f3a9c7e21"], ["id-*"]),
        (["deadbeef", "12345678"], ["deadbeef", "12345678"]),
        (["session", "sessionC1", "sessionC2"], ["session", "sessionC*", "sessionC*"]),
        (["__Host-sessionid", "_hjSession_42"], ["__Host-sessionid", "_hj*"]),
    ],
)
def test_names_that_differ_in_an_id_are_declared_as_one_family(names: list[str], declared: list[str]) -> None:
    assert list(names_of_families(names).values()) == declared


def test_a_purpose_that_the_policy_lacks_is_not_proposed(policy: Path) -> None:
    text = (
        policy.read_text()
        .replace("[purposes.analytics]", "[purposes.counting]")
        .replace("log.analytics", "log.counting")
    )
    declared = loads(text.replace('purpose = "analytics"', 'purpose = "counting"'))
    proposal = proposed("_ga", purposes_of(declared))
    assert proposal.purpose == "functional"
    assert proposal.because == "looks like Google Analytics, analytics: which purpose?"


def test_our_own_pages_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    app = Starlette(routes=[Route("/", linking)])
    keys = ["the secret key of the tests"]
    with served(ConsentMiddleware(app, policy=policy, secret_keys=keys, report_only=True)) as port:
        assert main(["scan", f"http://127.0.0.1:{port}/", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [urlsplit(url).path for url in report["pages"]] == ["/"]
    assert [cookie["name"] for cookie in report["cookies"]] == ["theme"]


async def linking(request: Request) -> Response:
    response = page("/consent/", "/consent/policy", "/consent/cookies")
    response.set_cookie("theme", "dark")
    return response
