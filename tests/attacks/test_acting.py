"""Attacks on commands at a node's own folder: nobody acts under another's name or beyond the role; each try is one line
that says why, and changes nothing but the evidence log.
"""

import hashlib
import json
import shutil
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from compliance.audit.entry import EntryType
from compliance.errors import ComplianceError
from federation.approvals_cli import app as people_app
from federation.ca_cli import app as ca_app
from inbond.act_token import ACT_TYPE, AskedAct, sign_act
from inbond.cli import EXIT_INPUT, EXIT_REFUSED, exit_code
from inbond.config import AddressSection
from inbond.credentials import Credentials
from inbond.enrolment import offline_accept, offline_request
from inbond.errors import ConfigError, InbondError, Refused
from inbond.keystore import KeyStore, Unlock
from inbond.member_cli import make_node
from inbond.node import Node, utc_now
from parties.agreement_cli import app as agreement_app
from parties.answers_cli import app as answers_app
from parties.contract_cli import app as contract_app
from parties.record_cli import app as record_app
from parties.subject_cli import app as subject_app
from policies.envelope import Signer, verify
from policies.errors import InvalidPolicy
from policies.identity import SpiffeId, load_certificate
from tests.bad_input.homes import CONSORTIUM, certified_home, furnish
from tests.inbond.test_acting import contents
from tests.parties.test_record_cli import written
from tests.support.authority import TestAuthority

BY_NAME = Path(__file__).parents[2] / "examples" / "policies" / "by-name.cedar"
DOCS = Path(__file__).parents[2] / "docs" / "roles.md"
OURS = '\n[people]\norganisation = "shop"\n'


@pytest.fixture
def authority() -> TestAuthority:
    return TestAuthority(CONSORTIUM)


@pytest.fixture
def node(authority: TestAuthority, tmp_path: Path) -> Path:
    """Party m1 of shop, where what is an officer's to do is done by name."""
    home = certified_home(authority, "party", "m1", tmp_path / "m1")
    with (home / "inbond.toml").open("a") as file:
        file.write(OURS)
    (home / "policies").mkdir()
    shutil.copy(BY_NAME, home / "policies")
    furnish(home)
    return home


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return written(tmp_path / "record.json", exporter="m1")


@pytest.fixture
def olga(authority: TestAuthority, tmp_path: Path) -> Path:
    return person(authority, tmp_path, "olga")


def person(authority: TestAuthority, folder: Path, name: str, office: str = "officer", **changes: Any) -> Path:
    told = {"organisation": "shop", "office": office, **changes}
    return certified_home(authority, "user", name, folder / name, **told)


def run(app: Any, home: Path, *arguments: object, by: Path | None = None) -> Result:
    name = ("--as", by) if by is not None else ()
    return CliRunner().invoke(app, [*map(str, (*arguments, *name)), "--home", str(home)])


def entries(home: Path) -> list[Any]:
    opened = Node.open(home)
    assert opened.audit is not None
    found = [entry for _, entry in opened.audit.entries()]
    opened.close()
    return found


def add(home: Path, record: Path, by: Path | None = None) -> Result:
    return run(record_app, home, "add", record, by=by)


def unchanged(home: Path) -> dict[str, str]:
    return {name: found for name, found in contents(home).items() if not name.startswith("audit.db")}


def refused(home: Path, told: str, found: Result, before: dict[str, str], *, code: int = EXIT_REFUSED) -> None:
    """One line says why; nothing but the log changed, and the log has the refusal."""
    error = found.exception
    assert isinstance(error, InbondError), (found.output, error)
    assert exit_code(error) == code
    assert told in str(error)
    assert "\n" not in str(error)
    assert found.stdout == ""
    assert unchanged(home) == before
    assert entries(home)[-1].type is EntryType.REFUSAL


def test_an_officer_acts_by_name_and_the_log_proves_it(
    node: Path, olga: Path, record: Path, authority: TestAuthority
) -> None:
    before = unchanged(node)
    refused(node, "here people do this by name [by-name]", add(node, record), before)
    assert add(node, record, by=olga).exit_code == 0
    decision, act = entries(node)[-2:]
    assert (decision.type, decision.subject) == (EntryType.DECISION, "spiffe://acme.example/user/olga")
    told = {name: decision.data[name] for name in ("act", "role", "organisation", "effect", "policies")}
    assert told == {
        "act": "record add",
        "role": "officer",
        "organisation": "shop",
        "effect": "permit",
        "policies": ["permit-act"],
    }
    assert act.data["event"] == "record added"
    signed = verify(decision.data["signed"], typ=ACT_TYPE, trust=authority.trust, now=utc_now())
    assert signed.payload["arguments"] == decision.data["arguments"]
    assert signed.payload["aud"] == ["spiffe://acme.example/party/m1"]


def test_the_variable_names_a_person_as_the_option_does(
    node: Path, olga: Path, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INBOND_AS", str(olga))
    assert add(node, record).exit_code == 0
    assert entries(node)[-2].subject == "spiffe://acme.example/user/olga"


def test_without_policies_of_its_own_a_node_leaves_everything_to_its_keeper(node: Path, record: Path) -> None:
    (node / "policies" / BY_NAME.name).unlink()
    assert add(node, record).exit_code == 0
    decision = entries(node)[-2]
    assert (decision.subject, decision.data["role"]) == ("spiffe://acme.example/party/m1", "keeper")
    assert decision.data["signed"] is None


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        ("otto", {"office": "operator"}, "act-officer"),
        ("ada", {"office": "auditor"}, "act-officer"),
        ("rosa", {"office": "researcher"}, "act-officer"),
        ("nina", {"organisation": "", "office": ""}, "act-organisation"),
        ("eve", {"organisation": "bank"}, "act-organisation"),
        ("old", {"age": timedelta(hours=20), "lifetime": timedelta(hours=1)}, "certificate expired"),
    ],
)
def test_whose_role_organisation_or_dates_do_not_allow_it_is_refused(
    node: Path, record: Path, authority: TestAuthority, tmp_path: Path, name: str, changes: dict[str, Any], told: str
) -> None:
    before = unchanged(node)
    refused(node, told, add(node, record, by=person(authority, tmp_path, name, **changes)), before)


def test_a_variable_makes_nobody_one_of_the_nodes_own(
    node: Path, record: Path, authority: TestAuthority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    eve, before = person(authority, tmp_path, "eve", organisation="bank"), unchanged(node)
    monkeypatch.setenv("INBOND_PEOPLE_ORGANISATION", "bank")
    refused(node, "act-organisation", add(node, record, by=eve), before)


@pytest.mark.parametrize("what", ["name", "serial"])
def test_who_is_on_the_deny_list_that_the_node_has_is_refused(
    node: Path, olga: Path, record: Path, authority: TestAuthority, what: str
) -> None:
    mine = Credentials.load(node / "certs")
    signing = Node.open(olga, audit=False).signer().chain[0]
    if what == "name":
        authority.revoke(path="user/olga")
    else:
        authority.revoke(serial=load_certificate(signing).serial_number)
    mine.with_denied(authority.denied).save(node / "certs")
    before = unchanged(node)
    refused(node, "revoked by deny list", add(node, record, by=olga), before)
    assert Credentials.load(olga / "certs").trust.denied.version == 0, "the person's own older list does not help"


def test_a_strangers_authority_makes_nobody(node: Path, record: Path, tmp_path: Path) -> None:
    olga, before = person(TestAuthority(CONSORTIUM), tmp_path, "olga"), unchanged(node)
    refused(node, "does not chain", add(node, record, by=olga), before)


def test_certificates_without_their_key_make_nobody(
    node: Path, olga: Path, record: Path, authority: TestAuthority, tmp_path: Path
) -> None:
    eve = person(authority, tmp_path, "eve", organisation="bank")
    shutil.rmtree(eve / "certs")
    shutil.copytree(olga / "certs", eve / "certs")
    before = unchanged(node)
    refused(node, "another signing key is certified", add(node, record, by=eve), before, code=EXIT_INPUT)


def test_a_node_is_no_person(node: Path, record: Path, authority: TestAuthority, tmp_path: Path) -> None:
    p1, before = certified_home(authority, "party", "p1", tmp_path / "p1"), unchanged(node)
    refused(node, "this is a party's node", add(node, record, by=p1), before, code=EXIT_INPUT)
    text = (p1 / "inbond.toml").read_text()
    (p1 / "inbond.toml").write_text(text.replace('role = "party"', 'role = "user"'))
    refused(node, "is no person", add(node, record, by=p1), before)


@pytest.mark.parametrize("changes", [{"command": "record expire"}, {"nonce": "0" * 32}, {"node": "/party/p1"}, {}])
def test_a_signature_that_was_given_before_is_not_taken_again(
    node: Path, olga: Path, record: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    """Even where somebody can put an earlier signature in the place of a fresh one."""
    assert add(node, record, by=olga).exit_code == 0
    kept, before = entries(node)[-2].data["signed"], unchanged(node)

    def replayed(signer: Signer, asked: AskedAct, now: datetime) -> str:
        if not changes:
            return str(kept)
        fields: dict[str, Any] = {
            name: SpiffeId(CONSORTIUM, text) if name == "node" else text for name, text in changes.items()
        }
        return sign_act(signer, replace(asked, **fields), now)

    monkeypatch.setattr("inbond.acting.sign_act", replayed)
    told = "for somebody else" if "node" in changes else "signed for another"
    refused(node, told, add(node, record, by=olga), before)


def test_other_commands_are_refused_as_well(
    node: Path, authority: TestAuthority, tmp_path: Path, olga: Path, record: Path
) -> None:
    otto, ada = person(authority, tmp_path, "otto", "operator"), person(authority, tmp_path, "ada", "auditor")
    (tmp_path / "terms.yaml").write_text("never read")
    out, before = tmp_path / "out", unchanged(node)
    contract = node / "contracts" / "orders.yaml"
    for app, arguments, by, rule in (
        (subject_app, ("erase", "ann"), None, "by-name"),
        (subject_app, ("show", "ann"), None, "by-name"),
        (subject_app, ("show", "ann"), otto, "act-looking"),
        (subject_app, ("withdraw", "ann"), ada, "act-officer"),
        (answers_app, ("show", "4be1"), otto, "act-looking"),
        (agreement_app, ("sign", tmp_path / "terms.yaml", "--out", out), otto, "act-officer"),
        (agreement_app, ("propose", tmp_path / "terms.yaml", "--out", out), ada, "act-either"),
        (contract_app, ("sign", contract), olga, "act-operator"),
        (people_app, ("accept-policies",), otto, "act-officer"),
    ):
        refused(node, f"[{rule}]", run(app, node, *arguments, by=by), before)
    assert not out.exists()
    assert run(answers_app, node, "list", by=ada).exit_code == 0
    assert run(contract_app, node, "sign", contract, by=otto).exit_code == 0


def test_the_log_names_nobody_whose_id_was_an_argument(node: Path, olga: Path, tmp_path: Path) -> None:
    (tmp_path / "ids").write_text("ann-4711\n")
    assert run(subject_app, node, "erase", "ann-4711", by=olga).exit_code == 0
    assert run(subject_app, node, "object", "--ids", tmp_path / "ids", by=olga).exit_code == 0
    told = json.dumps([entry.data for entry in entries(node)])
    for text in ("ann-4711", str(tmp_path), *(hashlib.sha256(b"ann-4711" + end).hexdigest() for end in (b"", b"\n"))):
        assert text not in told


def test_the_commitment_is_the_same_for_the_same_and_another_for_anything_else(
    node: Path, olga: Path, tmp_path: Path
) -> None:
    (tmp_path / "ids").write_text("ann\n")
    for arguments in (("ann",), ("ann",), ("bob",), ("--ids", tmp_path / "ids")):
        assert run(subject_app, node, "object", *arguments, by=olga).exit_code == 0
    (tmp_path / "ids").write_text("bob\n")
    assert run(subject_app, node, "object", "--ids", tmp_path / "ids", by=olga).exit_code == 0
    told = [entry.data["arguments"] for entry in entries(node) if "act" in entry.data]
    assert told[0] == told[1]
    assert len(set(told)) == 4


def test_policies_that_cannot_be_read_or_evaluated_permit_nothing(node: Path, olga: Path, record: Path) -> None:
    bad = '@id("b") @reason("r") @remedy("m") forbid (principal, action == Action::"act", resource) when { %s };'
    own = node / "policies" / "own.cedar"
    own.write_text(bad % "9223372036854775807 + 1 == 0")
    before = unchanged(node)
    refused(node, "the policies could not be evaluated", add(node, record, by=olga), before)
    own.write_text("permit all")
    before = unchanged(node)
    assert isinstance(add(node, record, by=olga).exception, InvalidPolicy)
    assert unchanged(node) == before


def test_what_cannot_be_logged_is_not_done(node: Path, olga: Path, record: Path) -> None:
    (node / "audit.db").write_bytes(b"no log")
    before = unchanged(node)
    assert isinstance(add(node, record, by=olga).exception, ComplianceError)
    assert unchanged(node) == before


def test_a_policy_taken_away_lets_nobody_act_where_people_accept_policies(
    node: Path, olga: Path, record: Path, tmp_path: Path
) -> None:
    with (node / "inbond.toml").open("a") as file:
        file.write("\n[approval.policies]\npeople = 1\n")
    given = tmp_path / "given"
    done = run(people_app, olga, "approve-file", node / "policies", "--out", given, "--yes")
    assert done.exit_code == 0
    assert run(people_app, node, "accept-policies", "--approval", given, by=olga).exit_code == 0
    assert add(node, record, by=olga).exit_code == 0
    (node / "policies" / BY_NAME.name).unlink()
    before = unchanged(node)
    refused(node, "nobody has accepted these policies", add(node, record), before)


def test_the_docs_show_the_example_that_is_tested() -> None:
    example = BY_NAME.read_text()
    assert example[example.index("@id") :].strip() in DOCS.read_text()


def test_at_the_authority_people_act_by_name_too(tmp_path: Path) -> None:
    home = tmp_path / "ca"
    assert run(ca_app, home, "init", CONSORTIUM).exit_code == 0
    people = {
        name: _signed(home, tmp_path, name, office) for name, office in (("otto", "operator"), ("olga", "officer"))
    }
    eve = _signed(home, tmp_path, "eve", "operator", "bank")
    assert isinstance(run(ca_app, home, "invite", "party/p1", by=people["otto"]).exception, Refused), (
        "nobody's home yet"
    )
    (home / "inbond.toml").write_text(OURS)
    forbid = '@id("f") @reason("r") @remedy("m") forbid (principal, action == Action::"act", resource) when { %s };'
    (home / "policies").mkdir()
    (home / "policies" / "own.cedar").write_text(forbid % 'principal.role == "keeper"')
    for by, rule in ((None, "[f]"), (people["olga"], "[act-operator]"), (eve, "[act-organisation]")):
        found = run(ca_app, home, "invite", "party/p1", by=by)
        assert isinstance(found.exception, Refused)
        assert rule in str(found.exception)
    assert run(ca_app, home, "invite", "party/p1", by=people["otto"]).exit_code == 0
    assert run(ca_app, home, "revoke", "user/otto", "--reason", "left", by=people["olga"]).exit_code == 0
    found = run(ca_app, home, "invite", "party/p2", by=people["otto"])
    assert "revoked by deny list 1" in str(found.exception), "the authority knows at once"
    (home / "inbond.toml").write_text("people = 3\n")
    assert isinstance(run(ca_app, home, "invite", "party/p2", by=people["olga"]).exception, ConfigError)


def _signed(ca: Path, folder: Path, name: str, office: str, organisation: str = "shop") -> Path:
    """A person's folder, certified by the authority in `ca` from a file."""
    home = folder / name
    config = make_node("user", name, CONSORTIUM, "DE", home, AddressSection(authority="", coordinator="", listen=""))
    keystore = KeyStore.open(home / "keys", Unlock.from_setting(config.keys.unlock, home, {}))
    who = SpiffeId(CONSORTIUM, f"/user/{name}")
    (folder / "csr").write_text(offline_request(who, keystore))
    said = ("--organisation", organisation, "--role", office, "--out", folder / "reply", "--json")
    done = run(ca_app, ca, "sign", folder / "csr", f"user/{name}", *said)
    assert done.exit_code == 0, (done.output, done.exception)
    fingerprint = json.loads(done.stdout)["fingerprint"]
    offline_accept((folder / "reply").read_text(), who, keystore, home / "certs", fingerprint=fingerprint)
    return home
