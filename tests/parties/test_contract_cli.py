"""`inbond contract`: contracts are checked and compared offline, signed by their party, and verified by any member."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from compliance.audit.log import read_entries
from compliance.audit.store import AuditStore
from compliance.law_cli import DIFFERS
from inbond.cli import EXIT_INPUT, exit_code
from parties.contract_cli import app
from policies.contract import load_contract
from tests.bad_input.homes import CONSORTIUM, certified_home
from tests.policies.samples import CONTRACT
from tests.support.authority import TestAuthority

SOUND = CONTRACT.replace("minimum_group: 5", "minimum_group: 20").replace("2036-01-31", "2036-12-31")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


def answer(code: int, *arguments: object) -> Any:
    found = run(*arguments, "--json")
    assert found.exit_code == code, (found.output, found.exception)
    return json.loads(found.stdout)


def refused(found: Result, told: str) -> None:
    assert isinstance(found.exception, Exception), found.output
    assert exit_code(found.exception) == EXIT_INPUT
    assert told in str(found.exception)
    assert "\n" not in str(found.exception)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "orders.yaml"
    path.write_text(SOUND)
    return path


def changed(file: Path, old: str, new: str, name: str = "new.yaml") -> Path:
    text = file.read_text()
    assert old in text
    path = file.with_name(name)
    path.write_text(text.replace(old, new))
    return path


# lint


def test_a_clean_contract_exits_0_and_a_published_one_is_read_too(file: Path) -> None:
    published = file.with_name("published.json")
    published.write_text(json.dumps(load_contract(SOUND, "orders.yaml").published()))
    assert answer(0, "lint", file, published) == []
    assert "2 checked, 0 findings" in run("lint", file, published).stdout


def test_every_finding_has_file_line_key_and_remedy_and_ends_with_5(file: Path) -> None:
    bad = changed(file, "recipient_kind: merchant", "recipient_kind: grocer")
    misspelt = changed(file, "minimum_group", "minimum_grup", "misspelt.yaml")
    first, second = answer(DIFFERS, "lint", bad, misspelt, file)
    assert first["where"] == f"{bad}:24"
    assert (first["level"], first["key"]) == ("error", "law.recipients.*.recipient_kind")
    assert "merchant" in first["right"]
    assert (second["where"], second["level"]) == (f"{misspelt}:18", "error")
    assert second["right"] == "did you mean `minimum_group`?"
    shown = run("lint", bad, misspelt, file)
    assert shown.exit_code == DIFFERS
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert "3 checked, 2 findings" in shown.stdout


def test_the_day_decides_whether_a_contract_has_ended(file: Path) -> None:
    assert answer(0, "lint", file, "--as-of", "2036-11-30") == []
    assert [one["level"] for one in answer(DIFFERS, "lint", file, "--as-of", "2036-12-15")] == ["warning"]
    assert [one["level"] for one in answer(DIFFERS, "lint", file, "--as-of", "2036-12-31")] == ["error"]


def test_what_cannot_be_read_is_one_line_and_exit_2(file: Path, tmp_path: Path) -> None:
    refused(run("lint", tmp_path / "none.yaml"), "none.yaml: cannot be read")
    refused(run("lint", file, "--as-of", "someday"), "--as-of: 'someday' is no date")
    refused(run("lint", file, "--regimes", tmp_path / "none"), "there is no such folder")
    refused(run("diff", file, tmp_path / "none.yaml"), "none.yaml: cannot be read")
    (tmp_path / "junk.yaml").write_bytes(b"\xff\xfe")
    refused(run("lint", tmp_path / "junk.yaml"), "is not text")
    refused(run("diff", file, changed(file, "minimum_group", "minimum_grup")), "did you mean `minimum_group`")


# diff


def test_what_changed_is_told_with_what_it_permits(file: Path) -> None:
    new = changed(file, "minimum_group: 20\n", "minimum_group: 30\nallow_plain: true\n")
    found = answer(DIFFERS, "diff", file, new)
    assert found == {
        "permits": {"more": 1, "less": 1, "other": 0},
        "changes": [
            {"key": "minimum_group", "old": 20, "new": 30, "permits": "less"},
            {"key": "allow_plain", "old": False, "new": True, "permits": "more"},
        ],
    }
    shown = run("diff", file, new)
    assert shown.exit_code == DIFFERS
    assert max(map(len, shown.stdout.splitlines())) <= 80


def test_contracts_that_are_the_same_exit_0(file: Path) -> None:
    assert answer(0, "diff", file, changed(file, "version: 1", "version:   1"))["changes"] == []
    assert run("diff", file, file).stdout == "the contracts are the same\n"


# sign and verify


@pytest.fixture
def authority() -> TestAuthority:
    return TestAuthority(CONSORTIUM)


@pytest.fixture
def p1(authority: TestAuthority, tmp_path: Path) -> Path:
    return certified_home(authority, "party", "p1", tmp_path / "p1", country="DE")


@pytest.fixture
def rosa(authority: TestAuthority, tmp_path: Path) -> Path:
    return certified_home(authority, "user", "rosa", tmp_path / "rosa")


def test_a_signed_contract_is_verified_by_a_member_who_never_met_the_party(file: Path, p1: Path, rosa: Path) -> None:
    told = answer(0, "sign", file, "--home", p1)
    signature = file.with_name("orders.yaml.jws")
    assert told["signature"] == str(signature)
    assert told["jws"] == signature.read_text().strip()
    assert told["jws"].split(".")[1] == "", "detached: the contract is not in it"
    found = answer(0, "verify", file, signature, "--home", rosa)
    assert (found["verified"], found["signer"]) == (True, "spiffe://acme.example/party/p1")
    assert (found["attested"], found["contract"]) == ("DE", load_contract(SOUND, "orders.yaml").digest())
    assert found["signed"]
    store = AuditStore.read_only(p1 / "audit.db")
    entries = [entry for _, entry in read_entries(store, 0, store.count())]
    store.close()
    assert (entries[-1].data["event"], entries[-1].data["contract"]) == ("contract signed", found["contract"])


def test_what_is_published_can_be_verified_without_the_owners_file(file: Path, p1: Path, rosa: Path) -> None:
    signature = file.with_name("signature")
    answer(0, "sign", file, "--home", p1, "--out", signature)
    published = file.with_name("published.json")
    published.write_text(json.dumps(load_contract(SOUND, "orders.yaml").published()))
    assert answer(0, "verify", published, signature, "--home", rosa)["verified"]
    moved = changed(file, "path: orders.parquet", "path: elsewhere.parquet")
    assert answer(0, "verify", moved, signature, "--home", rosa)["verified"], "where the table is, is not signed"


def test_an_altered_contract_has_no_signature(file: Path, p1: Path, rosa: Path) -> None:
    answer(0, "sign", file, "--home", p1)
    signature = file.with_name("orders.yaml.jws")
    altered = changed(file, "minimum_group: 20", "minimum_group: 2")
    found = answer(DIFFERS, "verify", altered, signature, "--home", rosa)
    assert (found["verified"], "signature does not verify" in found["reason"]) == (False, True)
    assert run("verify", altered, signature, "--home", rosa).exit_code == DIFFERS


@pytest.mark.parametrize("junk", ["", "a.b.c", "..", "a..b", "{}", "e30..AAAA"])
def test_a_file_that_is_no_signature_proves_nothing(file: Path, rosa: Path, junk: str) -> None:
    signature = file.with_name("junk.jws")
    signature.write_text(junk)
    assert not answer(DIFFERS, "verify", file, signature, "--home", rosa)["verified"]


def test_a_signature_of_another_consortium_or_of_a_revoked_party_proves_nothing(
    file: Path, authority: TestAuthority, p1: Path, tmp_path: Path
) -> None:
    answer(0, "sign", file, "--home", p1)
    signature = file.with_name("orders.yaml.jws")
    stranger = certified_home(TestAuthority(CONSORTIUM), "user", "eve", tmp_path / "eve")
    assert "does not chain" in answer(DIFFERS, "verify", file, signature, "--home", stranger)["reason"]
    authority.revoke(path="party/p1")
    later = certified_home(authority, "user", "max", tmp_path / "max")
    assert "revoked" in answer(DIFFERS, "verify", file, signature, "--home", later)["reason"]


def test_only_a_party_signs_and_only_for_the_country_that_is_attested(
    file: Path, authority: TestAuthority, rosa: Path, tmp_path: Path
) -> None:
    refused(run("sign", file, "--home", rosa), "this is a user's node")
    abroad = certified_home(authority, "party", "p2", tmp_path / "p2", country="FR")
    refused(run("sign", file, "--home", abroad), "jurisdiction DE, and the authority attests FR")
    assert not file.with_name("orders.yaml.jws").exists()


def test_a_signature_by_a_party_elsewhere_proves_nothing(file: Path, authority: TestAuthority, rosa: Path) -> None:
    """A party whose own node lies for it: the reader checks the attested country again."""
    from inbond.node import utc_now
    from policies.contract_signature import sign_contract
    from policies.identity import Standing

    liar = authority.node("party/p3", standing=Standing(country="CN"))
    signature = file.with_name("liar.jws")
    signature.write_text(sign_contract(load_contract(SOUND, "orders.yaml"), liar.signer, utc_now()))
    found = answer(DIFFERS, "verify", file, signature, "--home", rosa)
    assert "the authority attests CN" in found["reason"]
