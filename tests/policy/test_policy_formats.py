"""A policy in other forms: as a graph in the terms of the Data Privacy Vocabulary, and as files of the command."""

from __future__ import annotations

import csv
import io
import json
import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rdflib import RDF, Graph, Literal, URIRef
from rdflib.namespace import XSD
from tests.support.policies import POLICY
from tests.support.repository import ROOT
from tests.support.site_pages import DECLARATION, get, site
from tests.support.smallest_policy import SMALLEST
from tests.support.whole_policy import CLOUD, MEMBERS, SECTION

from consent_mw.cli import main
from consent_mw.crypto.keyring import MemoryKeyring
from consent_mw.crypto.sealer import Sealer
from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.exports.dpv import policy_graph
from consent_mw.policy.loader import load, loads
from consent_mw.policy.model import Policy
from consent_mw.retention.proofs import Proofs
from consent_mw.site.policy_file import policy_file
from consent_mw.site.processing_record import processing_record, record_gaps, record_sheet
from consent_mw.stores.memory import MemoryStore

# rdflib 7 reads JSON-LD with a class of its own that it has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")

EXAMPLES = sorted((ROOT / "examples" / "policies").glob("*.toml"))
TABLE = tomllib.loads((ROOT / "tests" / "support" / "dpv_terms.toml").read_text("utf-8"))
DPV, GDPR = TABLE["namespaces"]["dpv"], TABLE["namespaces"]["eu-gdpr"]
HERE = "https://mysite.example/consent/policy.jsonld"
#: Everything that none of the examples declares.
REST = """
[[joint_controllers]]
name = "Partner"
responsible = "The archive"
[[contacts]]
role = "representative"
name = "R"
email = "r@r.example"
[[recipients]]
name = "R"
purpose = "ads"
items = "x"
retention = "2 weeks"
country = "SG"
transfer = { countries = ["SG"], basis = "adequacy" }
[purposes.work]
held_by = "application"
subjects = "employees"
basis = "vital_interests"
retention = "30 minutes"
[purposes.law]
basis = "legal_obligation"
law = "Act 1"
retention = "1 day"
archive = { retention = "5 years", law = "Act 2" }
"""


def terms(kind: str) -> set[str]:
    return {
        TABLE["namespaces"][module.get("vocabulary", "dpv")] + term
        for module in TABLE["module"]
        for term in module.get(kind, ())
    }


def graph(policy: Policy) -> Graph:
    return Graph().parse(data=json.dumps(policy_graph(policy)), format="json-ld", publicID=HERE)


def ours(*nodes: object) -> set[str]:
    return {str(node) for node in nodes if isinstance(node, URIRef) and str(node).startswith("https://w3id.org/")}


@pytest.mark.parametrize(
    "policy",
    [*map(load, EXAMPLES), loads(POLICY), loads(SMALLEST + MEMBERS + CLOUD + SECTION + REST)],
    ids=lambda policy: str(policy.controller.name.read("en")[0]),
)
def test_each_term_of_the_vocabulary_is_published_and_stands_in_its_place(policy: Policy) -> None:
    triples = list(graph(policy))
    assert len(triples) > 50
    assert ours(*(predicate for _, predicate, _ in triples)) <= terms("property")
    assert ours(*(end for subject, _, value in triples for end in (subject, value))) <= terms("class")
    # A key that the context does not know is lost without a word, and so is a value of no type.
    assert not [value for _, _, value in triples if isinstance(value, Literal) and value.value is None]


def test_every_node_that_is_named_is_told() -> None:
    triples = list(graph(loads(SMALLEST + MEMBERS + CLOUD + SECTION + REST)))
    named = {value for _, _, value in triples if isinstance(value, URIRef) and str(value).startswith(f"{HERE}#")}
    assert {str(node).partition("#")[2] for node in named} >= {
        "controller",
        "purpose-ads",
        "processor-1",
        "recipient-1",
    }
    assert named <= {subject for subject, _, _ in triples}


def test_the_graph_says_on_which_ground_for_how_long_and_who_receives() -> None:
    rdf = graph(loads(SMALLEST + MEMBERS + CLOUD + REST))
    node = {name: URIRef(f"{HERE}#{name}") for name in ("purpose-ads", "purpose-members", "purpose-law", "transfer-2")}

    def below(start: str, *path: str) -> set[object]:
        reached: set[object] = {node[start]}
        for step in path:
            reached = {value for subject in reached for value in rdf.objects(subject, URIRef(step))}  # type: ignore[arg-type]  # rdflib gives wider types than it takes
        return reached

    basis = below("purpose-ads", f"{DPV}hasLegalBasis", str(RDF.type))
    assert basis == {URIRef(f"{DPV}Consent"), URIRef(f"{GDPR}A6-1-a")}
    lasts = below("purpose-law", f"{DPV}hasStorageCondition", f"{DPV}hasDuration", str(RDF.value))
    assert lasts == {Literal("P1D", datatype=XSD.duration), Literal("P5Y", datatype=XSD.duration)}
    until = below(
        "purpose-members", f"{DPV}hasStorageCondition", f"{DPV}hasDuration", "http://purl.org/dc/terms/description"
    )
    assert Literal("회원 탈퇴 시까지", lang="ko") in until
    assert below("purpose-ads", f"{DPV}hasDataProcessor") == {URIRef(f"{HERE}#processor-1")}
    assert below("transfer-2", f"{DPV}hasThirdCountry") == {URIRef(TABLE["namespaces"]["loc"] + "US")}
    assert below("transfer-2", f"{DPV}hasDataImporter") == {URIRef(f"{HERE}#processor-1")}


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("/consent/policy.jsonld", "*/*"),
        ("/consent/policy", "application/ld+json"),
        ("/consent/policy/3.jsonld", "text/html"),
    ],
)
def test_a_site_answers_with_the_graph(path: str, accept: str) -> None:
    answer = get(path, headers={"accept": accept})
    assert answer.header("content-type") == "application/ld+json"
    assert answer.header("vary") == "Accept, Accept-Language"
    assert json.loads(answer.body) == policy_graph(loads(DECLARATION))
    assert 'href="/consent/policy/3.jsonld"' in get("/consent/policy").body


def test_the_command_writes_what_a_site_answers(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(DECLARATION, "utf-8")
    written = {}
    for form in ("html", "markdown", "json", "json-ld"):
        assert main(["policy", str(file), "--format", form, "--language", "en"]) == 0
        written[form] = capfdbinary.readouterr().out.decode()
    english = {"accept-language": "en"}
    proofs = Proofs(MemoryStore(), Sealer(MemoryKeyring(), SiteKeys.random()), lambda: 0)
    page = get("/consent/policy.md", app=site(proofs=proofs), headers=english).body
    document = json.loads(get("/consent/policy.json", headers=english).body)
    missing = set(page.splitlines()) - set(written["markdown"].splitlines())
    assert [line for line in missing if "](</consent" not in line] == [], "what links to the site's pages aside"
    assert 'data-label="How long"' in written["html"], "its tables are read on a phone, too"
    assert {**json.loads(written["json"]), **document} == document
    assert json.loads(written["json-ld"]) == policy_graph(loads(DECLARATION))
    assert "<style>" in written["html"]
    assert 'rel="stylesheet"' not in written["html"]


def test_a_page_as_a_file_says_whether_it_holds_yet() -> None:
    policy = loads(POLICY)
    assert "not in force yet" in policy_file(policy, "en", "", datetime(2026, 11, 22, 14, 59, tzinfo=UTC))
    assert "not in force yet" not in policy_file(policy, "en", "", datetime(2026, 11, 22, 15, tzinfo=UTC))


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--language", "de"], 2, '"de": the policy speaks ko, en'),
        (["--format", "pdf"], 2, "is not one of"),
    ],
)
def test_what_the_command_cannot_write_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(POLICY, "utf-8")
    assert main(["policy", str(file), *arguments]) == code
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1


# -- the record of processing activities ----------------------------------------------------------------------------


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_the_record_has_a_row_for_each_purpose_with_all_that_article_30_asks_for(file: Path) -> None:
    policy = load(file)
    assert record_gaps(policy) == []
    for language in policy.languages:
        record: Any = processing_record(policy, language)
        assert [activity["name"] for activity in record["activities"]] == list(policy.purposes)
        for row, purpose in zip(record["activities"], policy.purposes.values(), strict=True):
            assert row["purpose"] == purpose.description.read(language)[0]
            assert all(row[key] for key in ("subjects", "retention", "security")), row["name"]
            working = [processor for processor in policy.processors if purpose.name in processor.purposes]
            received = [recipient for recipient in policy.recipients if recipient.purpose == purpose.name]
            names = [*(receiver.name for receiver in received), *(receiver.name for receiver in working)]
            for said, name in zip(row["recipients"][: len(received)] + row["processors"], names, strict=True):
                assert said.startswith(name.read(language)[0])


@pytest.mark.parametrize(
    ("language", "words"), [("de", "im Browser: b"), ("ja", "ブラウザ内： b"), ("en", "browser: b")]
)
def test_the_record_is_in_one_language_as_a_whole(language: str, words: str) -> None:
    kept = '[[browser]]\nname = "b"\nkind = "local_storage"\npurpose = "necessary"\ndescription = "x"\n'
    text = SMALLEST.replace('["en", "ko"]', f'["{language}"]') + kept
    assert words in record_sheet(loads(text), language)


def test_what_article_30_asks_for_and_nobody_declared_is_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(SMALLEST + MEMBERS, "utf-8")
    assert main(["policy", str(file), "--format", "record-json"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["gaps"] == ["controller.address", "purposes.members.subjects", "sections"]
    assert "purposes.members.subjects: article 30(1) asks for the categories of data subjects (c)" in output.err


def test_no_cell_of_the_sheet_is_a_formula_and_korean_is_read_as_korean() -> None:
    bad = '"=HYPERLINK(0)"'
    text = SMALLEST + MEMBERS.replace('"E-mail"', bad).replace('"Telephone"', '"x;@SUM(1)"')
    text += CLOUD.replace('"Hosting"', bad).replace('"Cloud Inc."', '"+1 Cloud"')
    sheet = record_sheet(loads(text), "ko")
    assert sheet.startswith("\ufeff")
    assert sheet.count("\r\n") == len(loads(text).purposes) + 1
    heading, *rows = csv.reader(io.StringIO(sheet.removeprefix("\ufeff")))
    assert not any(re.search("[A-Za-z]{2}", cell.replace("DPO", "")) for cell in heading), "every heading is translated"
    cells = [cell for row in rows for cell in row]
    assert any("=HYPERLINK" in cell for cell in cells)
    assert not [cell for cell in cells if re.search(r"(^|[;|])\s*[=+\-@]", cell)]
    assert {len(row) for row in rows} == {len(heading)}


def test_the_record_of_a_revision_says_for_how_long_each_law_holds_what() -> None:
    record: Any = processing_record(loads(SMALLEST + MEMBERS + CLOUD + REST), "en")
    by_name = {activity["name"]: activity for activity in record["activities"]}
    assert by_name["members"]["retention"] == ["until you close your account", "Contracts, 5 years, Act 6"]
    assert by_name["law"]["retention"] == ["1 day", "5 years, Act 2"]
    assert by_name["members"]["transfers"] == ["Cloud Inc., United States, standard contractual clauses"]
    assert by_name["law"]["legal_basis"] == "legal obligation, Act 1"
    assert record["joint_controllers"] == ["Partner, The archive"]
    assert record["representatives"] == ["R, r@r.example"]
