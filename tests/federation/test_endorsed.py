"""Agreements and policies that need people: nothing is signed and no node starts until enough approved just that."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from compliance.audit.log import read_entries
from compliance.audit.store import AuditStore
from federation.approvals_cli import app as people_app
from inbond.approvals import sign_approval
from inbond.endorsed import ACCEPTED, check_policies, policies_digest
from inbond.errors import ConfigError, Refused
from inbond.node import Node, utc_now
from parties.agreement_cli import app as agreement_app
from policies.errors import InvalidInput
from policies.identity import Standing
from tests.bad_input.homes import CONSORTIUM, certified_home
from tests.parties.test_agreement_cli import LASTING
from tests.support.authority import TestAuthority

AGREEMENTS = "\n[approval.agreements]\npeople = 2\n"
POLICIES = "\n[approval.policies]\npeople = 2\nhours = 1\n"
FORBID = (
    '@id("no-night")\n@reason("x")\n@article("x")\n@remedy("x")\nforbid (principal, action, resource) when { false };\n'
)


@pytest.fixture
def authority() -> TestAuthority:
    return TestAuthority(CONSORTIUM)


@pytest.fixture
def party(authority: TestAuthority, tmp_path: Path) -> Path:
    """Party m1, whose agreements two officers must approve."""
    home = certified_home(authority, "party", "m1", tmp_path / "m1")
    _ask(home, AGREEMENTS)
    (tmp_path / "terms.yaml").write_text(LASTING)
    return home


def _ask(home: Path, rule: str) -> None:
    with (home / "inbond.toml").open("a") as file:
        file.write(rule)


def _approval(authority: TestAuthority, thing: Any, what: str, file: Path, name: str = "olga", **changes: Any) -> Path:
    office = changes.pop("office", "officer")
    signer = authority.node(f"user/{name}", standing=Standing("shop", office)).signer
    said: dict[str, Any] = {"job": thing, "plan": what, "decision": "approve", "now": utc_now(), **changes}
    file.write_text(sign_approval(signer, **said))
    return file


def _run(app: Any, *arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def _propose(party: Path, out: Path, *files: Path) -> Result:
    options = [text for file in files for text in ("--approval", file)]
    return _run(agreement_app, "propose", party.parent / "terms.yaml", "--out", out, *options, "--home", party)


def _digest(party: Path) -> str:
    from policies.agreement import load_agreement

    return load_agreement((party.parent / "terms.yaml").read_text(), "terms").digest()


def test_an_agreement_is_signed_once_two_officers_approved_these_terms(
    party: Path, authority: TestAuthority, tmp_path: Path
) -> None:
    what = _digest(party)
    olga = _approval(authority, "agreement", what, tmp_path / "olga")
    omar = _approval(authority, "agreement", what, tmp_path / "omar", "omar")
    none = _propose(party, tmp_path / "a.json")
    assert isinstance(none.exception, Refused)
    assert "2 officers must approve" in str(none.exception)
    for few in ((olga,), (olga, olga)):
        assert "1 more officer must approve" in str(_propose(party, tmp_path / "a.json", *few).exception)
    assert not (tmp_path / "a.json").exists()
    assert _propose(party, tmp_path / "a.json", olga, omar).exit_code == 0


@pytest.mark.parametrize(
    ("thing", "changes"),
    [
        ("policies", {}),
        ("agreement", {"plan": "ab" * 32}),
        ("agreement", {"office": "researcher"}),
        ("agreement", {"decision": "refuse"}),
        ("agreement", {"now": utc_now() - timedelta(hours=80)}),
    ],
    ids=["another thing", "other terms", "no officer", "a refusal", "too old"],
)
def test_an_approval_that_does_not_fit_does_not_count(
    party: Path, authority: TestAuthority, tmp_path: Path, thing: str, changes: dict[str, Any]
) -> None:
    what = _digest(party)
    good = _approval(authority, "agreement", what, tmp_path / "olga")
    bad = _approval(authority, thing, what, tmp_path / "omar", "omar", **changes)
    assert "1 more officer must approve" in str(_propose(party, tmp_path / "a.json", good, bad).exception)


def test_a_stranger_does_not_count(party: Path, authority: TestAuthority, tmp_path: Path) -> None:
    good = _approval(authority, "agreement", _digest(party), tmp_path / "olga")
    bad = _approval(TestAuthority(CONSORTIUM), "agreement", _digest(party), tmp_path / "omar", "omar")
    assert "1 more officer" in str(_propose(party, tmp_path / "a.json", good, bad).exception)


def test_a_node_runs_under_policies_that_were_accepted_and_no_others(
    party: Path, authority: TestAuthority, tmp_path: Path
) -> None:
    def checked() -> None:
        node = Node.open(party)
        try:
            check_policies(node, utc_now())
        finally:
            node.close()

    _ask(party, POLICIES)
    with pytest.raises(Refused, match="nobody has accepted these policies"):
        checked()
    refused = _propose(party, party.parent / "a.json")
    assert "nobody has accepted these policies" in str(refused.exception), "nor is a command decided by others"
    (party / "policies").mkdir(exist_ok=True)
    (party / "policies" / "night.cedar").write_text(FORBID)
    what = policies_digest({"night.cedar": FORBID})
    files = [_approval(authority, "policies", what, tmp_path / name, name) for name in ("olga", "omar")]
    options = [text for file in files for text in ("--approval", file)]
    assert "2 officers must approve" in str(_run(people_app, "accept-policies", "--home", party).exception)
    done = _run(people_app, "accept-policies", *options, "--home", party, "--json")
    assert [one.rsplit("/", 1)[-1] for one in json.loads(done.stdout)["approved_by"]] == ["olga", "omar"]
    checked()
    entries = read_entries(store := AuditStore.read_only(party / "audit.db"), 0, store.count())
    assert any(entry.data.get("event") == "policies accepted" for _, entry in entries)
    store.close()
    (party / "policies" / "night.cedar").write_text(FORBID.replace("false", "true"))
    with pytest.raises(Refused, match="nobody has accepted these policies"):
        checked()
    (party / "policies" / "night.cedar").unlink()
    with pytest.raises(Refused, match="nobody has accepted these policies"):
        checked()
    (party / "policies" / ACCEPTED).unlink()
    with pytest.raises(Refused, match="nobody has accepted these policies"):
        checked()


def test_a_person_signs_what_the_file_says(authority: TestAuthority, tmp_path: Path) -> None:
    olga = certified_home(authority, "user", "olga", tmp_path / "olga")
    (tmp_path / "terms.yaml").write_text(LASTING)
    out = tmp_path / "approval"
    asked = _run(people_app, "approve-file", tmp_path / "terms.yaml", "--out", out, "--home", olga)
    assert isinstance(asked.exception, ConfigError), "nobody is there to ask"
    assert not out.exists()
    done = _run(people_app, "approve-file", tmp_path / "terms.yaml", "--out", out, "--yes", "--home", olga, "--json")
    assert json.loads(done.stdout)["digest"] == _digest(tmp_path / "m1")
    assert out.read_text().count(".") == 2
    again = _run(people_app, "approve-file", tmp_path / "terms.yaml", "--out", out, "--yes", "--home", olga)
    assert "there is such a file already" in str(again.exception)
    (tmp_path / "cedar").mkdir()
    (tmp_path / "cedar" / "night.cedar").write_text(FORBID)
    done = _run(
        people_app, "approve-file", tmp_path / "cedar", "--out", tmp_path / "b", "--yes", "--home", olga, "--json"
    )
    assert json.loads(done.stdout)["digest"] == policies_digest({"night.cedar": FORBID})


def test_a_rule_that_no_node_could_meet_is_refused(party: Path) -> None:
    text = (party / "inbond.toml").read_text()
    (party / "inbond.toml").write_text(text.replace("people = 2\n", "people = 2\nother_organisation = true\n"))
    with pytest.raises(ConfigError, match="leave `other_organisation` out"):
        Node.open(party)


@pytest.mark.parametrize("text", ["5", "- a", "agreement", "", "\u00e4: ["])
def test_what_is_no_agreement_is_one_clear_error(authority: TestAuthority, tmp_path: Path, text: str) -> None:
    olga = certified_home(authority, "user", "olga", tmp_path / "olga")
    (tmp_path / "terms.yaml").write_text(text)
    told = ("--out", tmp_path / "approval", "--yes", "--home", olga)
    found = _run(people_app, "approve-file", tmp_path / "terms.yaml", *told)
    assert isinstance(found.exception, InvalidInput)
    assert not (tmp_path / "approval").exists()
