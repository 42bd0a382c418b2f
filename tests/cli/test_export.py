"""What leaves through `consent-mw export`: whole, for its purpose only, recorded, and harmless to whoever reads it."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.at_a_terminal import at_a_terminal
from tests.support.commands import Ran, refused, run
from tests.support.policies import POLICY
from tests.support.sites_of_commands import NOON, VISIT, Site

from consent_mw.audit import Audit
from consent_mw.cli.record_table import RecordTable
from consent_mw.exports import Format
from consent_mw.exports.combined import Combined
from consent_mw.exports.jsonl import JSONLines
from consent_mw.exports.spreadsheet import Spreadsheet
from consent_mw.policy.loader import loads
from consent_mw.policy.revisions import Revisions
from consent_mw.records import Record, Scalar
from consent_mw.system.escaping import as_json, hex_escaped, printable, readable, readable_path

BECAUSE = ("--reason", "a test")
PERSONAL = {"url.path": "/책", "client.address": "192.0.2.0"}


@pytest.fixture
def site(tmp_path: Path) -> Generator[Site]:
    site = Site(tmp_path / "consent-data")
    Revisions(site.places.revisions).keep(loads(POLICY), POLICY)
    yield site
    site.keyring.close()


def export(site: Site, form: str, *options: object) -> Ran:
    return run("export", "--directory", site.places.directory, "--format", form, *options)


def personal(site: Site, form: str, purpose: str, *options: object) -> list[str]:
    result = export(site, form, "--purpose", purpose, *BECAUSE, *options)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.splitlines()


def two_purposes(site: Site) -> None:
    """One exchange as the recorder keeps it: a record a purpose, each with its own fields."""
    site.append(
        site.record(NOON, clear=VISIT, url__path="/책", client__address="192.0.2.0"),
        site.record(NOON + 1_000, "visit", "analytics", VISIT, http__request__header__referer="https://from.example"),
        site.record(NOON + 2_000, "event", "analytics", VISIT | {"event.name": "search"}, event__results=12),
    )


# -- what for ------------------------------------------------------------------------------------------------------


def test_an_export_of_one_purpose_has_its_fields_and_no_others(site: Site) -> None:
    two_purposes(site)
    (line,) = personal(site, "jsonl", "necessary")
    assert json.loads(line).items() >= {"purpose": "necessary", **PERSONAL}.items()
    assert "from.example" not in line
    visit, event = (json.loads(line) for line in personal(site, "jsonl", "analytics"))
    assert visit["http.request.header.referer"] == "https://from.example"
    assert event["event.results"] == 12
    assert not PERSONAL.keys() & {*visit, *event}


@pytest.mark.parametrize("options", [(), ("--purpose", "necessary")], ids=["no purpose", "no reason"])
def test_without_purpose_and_reason_personal_fields_stay_sealed(site: Site, options: tuple[str, ...]) -> None:
    two_purposes(site)
    result = export(site, "jsonl", *options)
    assert result.returncode == 0
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert {row["sealed"] for row in rows} == {"sealed"}
    assert rows[0]["http.route"] == "/books/{id}"
    assert not any(PERSONAL.keys() & row.keys() for row in rows)
    assert "personal fields of" in result.stderr
    assert not site.places.audit.exists()
    assert "sealed" in run("log", "--directory", site.places.directory, *options).stdout


def test_a_reason_without_a_purpose_is_not_understood(site: Site) -> None:
    two_purposes(site)
    for command in (("log",), ("export", "--format", "csv")):
        line = refused(run(*command, "--directory", site.places.directory, *BECAUSE), 2)
        assert "a reason opens the personal fields of a purpose; add --purpose" in line


def test_a_period_has_its_beginning_and_not_its_end(site: Site) -> None:
    site.append(*(site.record(NOON + n * 1_000_000_000, clear=VISIT, url__path=f"/{n}") for n in range(5)))
    options = ("--since", "2026-11-23T21:00:01.123+09:00", "--until", "2026-11-23T12:00:03.123+00:00")
    lines = personal(site, "jsonl", "necessary", *options)
    assert [json.loads(line)["url.path"] for line in lines] == ["/1", "/2"]
    assert personal(site, "jsonl", "necessary", "--since", "2026-11-24") == []


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--purpose", "anlytics"), 1, 'the purpose "anlytics" is not known here; did you mean "analytics"?'),
        (("--purpose", "zzz"), 1, "known are: abuse, "),
        (("--since", "yesterday"), 2, '"yesterday" is not a time; write 2026-11-23 or'),
        (("--since", "2026-11-24", "--until", "2026-11-23"), 2, "--since is not before --until"),
        (("--format", "combined"), 2, "combined needs --purpose"),
        (("--format", "xml"), 2, "'xml' is not one of"),
        (("--output", "."), 1, "is already there; give another name"),
        (("--output", "missing/file"), 1, "cannot be written (No such file or directory)"),
        (("--store", "sqlite:///missing.sqlite3"), 1, "there is no log here"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_done_is_one_clear_line(site: Site, options: tuple[str, ...], code: int, message: str) -> None:
    site.append(site.record(NOON))
    assert message in refused(export(site, "jsonl", *options), code)


def test_what_could_not_be_opened_is_counted_and_its_clear_fields_stay(site: Site, tmp_path: Path) -> None:
    other = Site(tmp_path / "other")
    kept = site.record(NOON, clear=VISIT, url__path="/kept")
    foreign = [other.record(NOON + n, clear=VISIT, url__path="/foreign") for n in (1_000_000, 2_000_000)]
    spoilt = msgspec.structs.replace(site.record(NOON + 3_000_000, url__path="/a"), sealed=bytes(60))
    site.append(kept, *foreign, spoilt)
    other.keyring.close()
    result = export(site, "jsonl", "--purpose", "necessary", *BECAUSE)
    assert result.returncode == 1
    assert "of 2 records are missing: another keyring sealed them" in result.stderr
    assert "1 records are left out: somebody else wrote them, or changed them since" in result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row.get("url.path") for row in rows] == ["/kept", None, None]
    assert rows[1]["http.route"] == "/books/{id}"
    # What was destroyed is gone as it should be.
    site.keyring.destroy(20_780, "necessary")
    site.places.database.unlink()
    site.append(kept)
    result = export(site, "jsonl", "--purpose", "necessary", *BECAUSE)
    assert (result.returncode, json.loads(result.stdout)["sealed"]) == (0, "destroyed")


def test_the_audit_chain_counts_what_somebody_saw_and_not_what_stayed_closed(site: Site, tmp_path: Path) -> None:
    other = Site(tmp_path / "other")
    own = (site.record(NOON, clear=VISIT, url__path="/kept"), site.record(NOON + 5_000_000, clear=VISIT))
    foreign = (other.record(NOON + n, clear=VISIT, url__path="/foreign") for n in (1_000_000, 2_000_000))
    site.append(*own, *foreign)
    other.keyring.close()
    for command in ("log", "export --format jsonl"):
        run(*command.split(), "--directory", site.places.directory, "--purpose", "necessary", *BECAUSE)
    closed = [entry for entry in accesses(site) if "closes" in entry]
    assert [(entry["records"], entry["not_opened"]) for entry in closed] == [(1, 2), (1, 2)]


# -- its trace -----------------------------------------------------------------------------------------------------


def accesses(site: Site) -> list[dict[str, Any]]:
    shown = run("audit", "--directory", site.places.directory, "--json")
    assert shown.returncode == 0
    return [json.loads(line) for line in shown.stdout.splitlines()]


def test_who_read_when_what_and_why_is_recorded(site: Site) -> None:
    two_purposes(site)
    run("log", "--directory", site.places.directory, "--purpose", "necessary", "--reason", "ticket 7", "--as", "김")
    personal(site, "csv", "analytics", "--since", "2026-11-23T00:00+09:00")
    first, closed, second, closed_too = accesses(site)
    assert (
        first.items() >= {"n": 1, "command": "log", "purposes": ["necessary"], "reason": "ticket 7", "as": "김"}.items()
    )
    assert first["user"]
    assert first["host"]
    assert closed.items() >= {"closes": 1, "records": 1, "not_opened": 0, "ended": "whole"}.items()
    assert second.items() >= {"command": "export --format csv", "since": "2026-11-23T00:00:00+09:00"}.items()
    assert (closed_too["closes"], closed_too["records"]) == (3, 2)
    assert stat.S_IMODE(site.places.audit.stat().st_mode) == 0o600
    table = run("audit", "--directory", site.places.directory).stdout.splitlines()
    assert table[0].split() == ["n", "time", "who", "command", "purposes", "records", "reason"]
    assert len(table) == 3
    assert "김, " in table[1]
    assert re.search(r"necessary +1 +ticket 7", table[1])


def test_verify_names_the_broken_link_and_knows_an_anchor(site: Site) -> None:
    two_purposes(site)
    directory = ("--directory", site.places.directory)
    assert run("audit", "verify", *directory).stdout.startswith("0 entries hold; anchor 0:")
    for purpose in ("necessary", "analytics"):
        personal(site, "jsonl", purpose)
    whole = run("audit", "verify", *directory)
    assert whole.returncode == 0
    assert whole.stdout.startswith("4 entries hold; anchor 4:")
    anchor = whole.stdout.splitlines()[0].split()[-1]
    assert run("audit", "verify", *directory, "--anchor", anchor).returncode == 0
    text = site.places.audit.read_text()
    site.places.audit.write_text(text.replace('"purposes":["analytics"]', '"purposes":["marketing"]'))
    broken = run("audit", "verify", *directory)
    assert broken.returncode == 1
    assert broken.stderr.startswith(
        "consent-mw: the chain is broken at entry 3: it was changed; compare it with those of"
    )
    assert broken.stdout.startswith("2 entries hold; anchor 2:")
    result = run("audit", "verify", *directory, "--json")
    assert json.loads(result.stdout)["broken"] == "entry 3: it was changed"
    assert "is no anchor" in refused(run("audit", "verify", *directory, "--anchor", "x"))


def test_where_an_access_cannot_be_recorded_nothing_is_shown(site: Site) -> None:
    two_purposes(site)
    for command in (("log",), ("export", "--format", "jsonl")):
        words = (*command, "--directory", site.places.directory, "--purpose", "necessary", *BECAUSE)
        line = refused(run(*words, file_bytes=0))
        assert "the access cannot be recorded (File too large), so nothing is shown" in line


def test_a_reading_that_was_killed_is_recorded_all_the_same(site: Site) -> None:
    two_purposes(site)
    command = [sys.executable, "-m", "consent_mw", "log", "--follow", "--directory", str(site.places.directory)]
    command += ["--purpose", "necessary", *BECAUSE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        assert [row["command"] for row in accesses(site)] == ["log"]  # before the first of it is read
        process.send_signal(signal.SIGKILL)
    assert Audit(site.places.audit, site.places.audit_head).verify()[1:] == ("", "")
    assert "not told" in run("audit", "--directory", site.places.directory).stdout


@pytest.mark.parametrize(("answer", "shown"), [(b"ticket 9\n", True), (b"\n", False)], ids=["reason", "none"])
def test_at_a_terminal_the_reason_is_asked_for(site: Site, answer: bytes, shown: bool) -> None:
    two_purposes(site)
    seen = at_a_terminal(["log", "--directory", str(site.places.directory), "--purpose", "necessary"], answer)
    assert "Why do you read personal fields?" in seen
    assert ("/책" in seen) is shown
    assert [row.get("reason") for row in accesses(site)] == (["ticket 9", None] if shown else [])


# -- the file ------------------------------------------------------------------------------------------------------


def test_a_file_is_its_owners_and_only_a_terminal_sees_progress(site: Site, tmp_path: Path) -> None:
    two_purposes(site)
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    assert personal(site, "jsonl", "necessary", "--output", one) == []
    assert stat.S_IMODE(one.stat().st_mode) == 0o600
    line = ["--purpose", "necessary", *BECAUSE, "--output", str(two)]
    seen = at_a_terminal(["export", "--directory", str(site.places.directory), "--format", "jsonl", *line], b"")
    assert "exporting" in seen
    assert two.read_bytes() == one.read_bytes()
    assert json.loads(one.read_text())["url.path"] == "/책"


def test_a_file_that_could_not_be_finished_does_not_stay(site: Site, tmp_path: Path) -> None:
    site.append(*(site.record(NOON + n * 1_000, clear=VISIT, url__path="/" + "x" * 500) for n in range(1_500)))
    output = tmp_path / "out.jsonl"
    arguments = ("--directory", site.places.directory, "--purpose", "necessary", *BECAUSE, "--output", output)
    result = run("export", "--format", "jsonl", *arguments, file_bytes=200_000)
    assert "out.jsonl: cannot be written (File too large)" in refused(result)
    assert not output.exists()
    assert accesses(site)[-1]["ended"] == "stopped"


def test_many_records_are_written_page_by_page_each_once(site: Site) -> None:
    site.append(*(site.record(NOON + n * 1_000, clear=VISIT, url__path=f"/{n}") for n in range(2_500)))
    assert [json.loads(line)["url.path"] for line in personal(site, "jsonl", "necessary")] == [
        f"/{n}" for n in range(2_500)
    ]


def test_memory_does_not_follow_what_is_stored(site: Site) -> None:
    site.append(*(site.record(NOON + n * 1_000, clear=VISIT, url__path="/" + "x" * 1_000) for n in range(20_000)))
    program = (
        "import resource, sys; from consent_mw.cli import main\n"
        "code = main(sys.argv[1:]); peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(code, peak, file=sys.stderr)"
    )
    arguments = ["export", "--directory", str(site.places.directory), "--format", "jsonl", "--purpose", "necessary"]

    def peak(*options: str) -> int:
        command = [sys.executable, "-c", program, *arguments, *BECAUSE, *options]
        result = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True)
        code, kibibytes = result.stderr.split()
        assert code == "0"
        return int(kibibytes)

    # 25 MB of records: one page is a twentieth of them.
    assert peak() - peak("--until", "2026-11-23T12:00:00.124+00:00") < 12_000


# -- CSV -----------------------------------------------------------------------------------------------------------


def test_csv_has_a_column_for_each_declared_field_and_none_is_lost(site: Site) -> None:
    two_purposes(site)
    result = export(site, "csv", "--purpose", "analytics", *BECAUSE)
    visit, event = csv.DictReader(io.StringIO(result.stdout.removeprefix("\ufeff")))
    assert result.stdout.startswith("\ufeff")
    assert visit["http.request.header.referer"] == "https://from.example"
    assert event["event.results"] == "12"
    assert event["more"] == ""
    row = dict(
        csv.DictReader(io.StringIO(Spreadsheet().head()[1:] + Spreadsheet().line({"kind": "x", "odd": "a"}))).__next__()
    )
    assert json.loads(row["more"]) == {"odd": "a"}


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "＝1", "x;=1+1", "x| @a", '";=1',
            "=cmd|' /C calc'!A0"]  # fmt: skip


@pytest.mark.parametrize("text", FORMULAS, ids=repr)
def test_no_cell_is_a_formula_whatever_the_list_separator(text: str) -> None:
    line = Spreadsheet().line({"url.path": text, "odd": text})
    assert line.endswith("\r\n")
    for separator in ",;|":
        for row in csv.reader(io.StringIO(line), delimiter=separator):
            assert not any(re.match(r"\s*[=+\-@＝]", cell.strip('"')) for cell in row), (separator, row)


def test_a_number_stays_a_number_and_a_quote_is_doubled() -> None:
    line = Spreadsheet().line(
        {"http.response.status_code": 200, "http.server.request.duration": -0.5, "url.path": 'a"b,'}
    )
    assert ",200,-0.5," in line
    assert ',"a""b,",' in line


# -- Combined Log Format -------------------------------------------------------------------------------------------

COMBINED = re.compile(
    r"(?P<host>\S+) - - \[(?P<time>\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "
    r'"(?:-|[!-~]+ [!-~]+ HTTP/1\.1)" \d{3} (?:\d+|-) "(?P<referer>[ -~]*)" "(?P<agent>[ -~]*)"\n'
)


def combined(**fields: Scalar) -> str:
    named = {name.replace("__", "."): value for name, value in fields.items()}
    return Combined().line({"time": "2026-11-23T21:00:00.123+09:00", "kind": "visit", **VISIT, **named})


def test_combined_is_what_nginx_would_write() -> None:
    line = combined(
        client__address="203.0.113.0",
        url__path='/책 "a"',
        url__query="q=1&r=%20",
        http__response__body__size=5,
        http__request__header__referer="https://x.example/",
        user_agent__original='a"\\\x1b\ud800é',
    )
    assert line == (
        '203.0.113.0 - - [23/Nov/2026:21:00:00 +0900] "GET /%EC%B1%85%20\\x22a\\x22?q=1&r=%20 HTTP/1.1" 200 5 '
        '"https://x.example/" "a\\x22\\x5C\\x1B\\xED\\xA0\\x80\\xC3\\xA9"\n'
    )


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("/b/a%2Fb", "/b/a%2Fb"),
        ("/%00%0A%22%5C%25%7f", "/%00%0A%22%5C%25%7f"),
        ("/%EC%B1%85%20x", "/책%20x"),
        ("/%ec%b1%85", "/%ec%b1%85"),  # as few programs write it: shown as it came
        ("/%FF%EC%B1%85%EC", "/%FF책%EC"),
        ('/a"b;c=1', '/a"b;c=1'),
    ],
)
def test_a_path_is_kept_and_written_as_it_came(sent: str, shown: str) -> None:
    assert readable_path({"raw_path": sent.encode(), "path": "/what the server decoded"}) == shown
    line = combined(url__path=shown, url__query=sent)
    as_nginx_writes = sent.replace('"', "\\x22")
    assert f'"GET {as_nginx_writes}?{as_nginx_writes} HTTP/1.1"' in line


def test_bytes_beyond_ascii_are_written_as_nginx_writes_them() -> None:
    kept = readable_path({"raw_path": b"/\xff"}), readable(b"q=\xec\xb1\x85\xff")
    assert r'"GET /\xFF?q=\xEC\xB1\x85\xFF HTTP/1.1"' in combined(url__path=kept[0], url__query=kept[1])
    assert readable_path({"path": "/a/책 b"}) == "/a/책%20b"  # raw_path is optional


def test_the_longest_fields_make_a_line_that_is_cut_between_escapes() -> None:
    long = '"책 ' * 1_000
    line = combined(client__address="::" * 99, url__path=long, url__query=long, http__request__header__referer=long,
                    user_agent__original=long)  # fmt: skip
    assert len(line) <= 4_095
    assert COMBINED.fullmatch(line)
    assert not re.search(r"%(?![0-9A-F]{2})|\\(?!x[0-9A-F]{2})", line)


def test_what_was_not_kept_is_a_dash_and_families_stand_for_the_agent() -> None:
    assert combined().startswith('- - - [23/Nov/2026:21:00:00 +0900] "GET /books/{id} HTTP/1.1" 200 - "-" "-"')
    assert '"-" 499 - ' in combined(http__route=None, http__response__status_code=0)
    families = {"user_agent__name": "Chrome", "user_agent__version": "142", "user_agent__os__name": "Windows"}
    assert combined(**families, device__type="desktop").endswith('"Chrome/142 (Windows; desktop)"\n')
    assert Combined().line({"time": "2026-11-23T21:00:00+09:00", "kind": "event", "purpose": "analytics"}) == ""


def test_goaccess_reads_every_line_and_counts_them(site: Site, tmp_path: Path) -> None:
    assert shutil.which("goaccess"), "no goaccess: sudo apt-get install goaccess"
    hostile = [
        "/",
        "/a b",
        '/"',
        "/\\",
        "/\x1b[2J",
        "/\n- - -",
        "/\u202e\u2028",
        "/책",
        "/%00%22",
        "/" + "x" * 1_900,
        "",
    ]
    statuses = [200, 301, 404, 500, 499, 0, 101, 206]
    records: list[Record] = []
    for number in range(240):
        text = hostile[number % len(hostile)]
        clear = VISIT | {
            "http.response.status_code": statuses[number % len(statuses)],
            "http.response.body.size": number,
        }
        clear |= {"http.request.method": ("GET", "POST", "QUERY", "_OTHER")[number % 4]}
        if number % 5 == 0:
            clear |= {"user_agent.name": "Chrome", "user_agent.version": "142", "device.type": "desktop"}
        fields: dict[str, Scalar] = {} if number % 7 == 0 else {"url.path": text, "url.query": f"q={text}"}
        fields |= {"client.address": ("192.0.2.0", "2001:db8::", None, "9f86d081884c7d65")[number % 3 % 4]}
        fields |= {"user_agent.original": text or None, "http.request.header.referer": f"https://x.example{text}"}
        sealed = {name.replace(".", "__"): value for name, value in fields.items()}
        records.append(site.record(NOON + number * 1_000_000_000, "visit", "necessary", clear, **sealed))
    site.append(*records)
    lines = personal(site, "combined", "necessary")
    log, report = tmp_path / "access.log", tmp_path / "report.json"
    log.write_text("\n".join(lines) + "\n")
    subprocess.run(
        ["goaccess", log, "--no-global-config", "--log-format=COMBINED", "--no-ip-validation", "--no-progress",
         "-o", report],
        check=True, capture_output=True,
    )  # fmt: skip
    general = json.loads(report.read_text())["general"]
    assert (general["total_requests"], general["valid_requests"], general["failed_requests"]) == (240, 240, 0)


# -- whatever was sent, in every output ------------------------------------------------------------------------------

HOSTILE = st.text(
    st.one_of(
        st.sampled_from("\x00\x07\x08\x1b\x7f\x85\x9b\r\n\t\u2028\u2029\u200e\u202a\u202e\u2066\u2069\ufeff\ud800\udfff\U000e0041"),
        st.sampled_from('"\\,;|=+-@\'[](){}<>%& '),
        st.characters(codec=None),
    ),
    max_size=40,
)  # fmt: skip
#: Every field that a visitor or an application fills.
NAMES = ["url.path", "url.query", "user_agent.original", "http.request.header.referer", "http.route", "client.address",
         "http.request.method", "error.type", "event.name", "event.q", "abuse.reason", "user_agent.name", "cookie.name",
         "receipt", "cookies"]  # fmt: skip
ROWS = st.dictionaries(st.sampled_from(NAMES) | HOSTILE, HOSTILE | st.lists(HOSTILE, max_size=2), max_size=8)


def row(fields: dict[str, object], kind: str = "visit") -> dict[str, object]:
    head: dict[str, object] = {"time": "2026-11-23T21:00:00.123+09:00", "kind": kind, "purpose": "p", "id": "i"}
    return {**fields, **head, "http.response.status_code": 200}


@pytest.mark.parametrize("form", [JSONLines(), Spreadsheet(["event.q"]), Combined()], ids=["jsonl", "csv", "combined"])
@settings(max_examples=150, deadline=None)
@given(fields=ROWS)
def test_a_record_is_one_line_that_steers_nothing(form: Format, fields: dict[str, object]) -> None:
    line = form.line(row(fields))
    body = line.removesuffix("\n").removesuffix("\r")
    assert body.isprintable(), ascii(body)
    assert body.encode()
    if isinstance(form, JSONLines):
        assert json.loads(body) == row(fields)
    elif isinstance(form, Spreadsheet):
        (cells,) = csv.reader([body])
        assert len(cells) == len(next(csv.reader([form.head()])))
        assert not any(re.match(r"\s*[=+\-@]", cell) for cell in cells)
    else:
        assert COMBINED.fullmatch(line)
        assert len(line) <= 4_095


@settings(max_examples=100, deadline=None)
@given(fields=ROWS)
def test_a_record_is_one_row_of_the_table(fields: dict[str, object]) -> None:
    from rich.console import Console

    out = io.StringIO()
    RecordTable(Console(file=out, width=2_000, force_terminal=False)).print([row(fields)])
    shown = out.getvalue().splitlines()
    assert len(shown) == 2
    assert all(line.isprintable() for line in shown)


@given(text=HOSTILE)
def test_escaped_text_is_printable_and_plain_text_is_itself(text: str) -> None:
    assert printable(text).isprintable()
    assert json.loads(as_json(text)) == text
    assert as_json([text]).isprintable()
    assert re.fullmatch(r"(?:[ !#-\[\]-~]|\\x[0-9A-F]{2})*", hex_escaped(text))


@given(text=st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='"\\')))
def test_text_without_danger_is_left_as_it_is(text: str) -> None:
    assert printable(text) == hex_escaped(text) == text


def test_a_hostile_reason_steers_no_terminal(site: Site) -> None:
    two_purposes(site)
    hostile = "\x1b[2J\u202e\n=cmd"
    personal(site, "jsonl", "necessary", "--as", hostile, "--reason", hostile)
    for options in ((), ("--json",)):
        shown = run("audit", "--directory", site.places.directory, *options).stdout
        assert all(line.isprintable() for line in shown.splitlines())
        assert len(shown.splitlines()) == 2
    assert accesses(site)[0]["reason"] == hostile
