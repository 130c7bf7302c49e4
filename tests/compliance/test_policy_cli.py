"""`inbond policy`: every regime against its own cases, and one set of regimes against another. No Python is added."""

import json
import shutil
from datetime import date
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from compliance.law_cli import DIFFERS
from compliance.past import FILE, PastTransfers
from compliance.policy_cli import app
from policies.errors import InvalidPolicy
from policies.law.regime import packaged
from tests.policies.law.vietnam import vietnam


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture
def regimes(tmp_path: Path) -> Path:
    """A copy of the built-in set to change."""
    shutil.copytree(str(packaged()), tmp_path / "regimes", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "regimes"


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), "utf-8")


def test_every_built_in_case_passes_and_every_rule_is_reached() -> None:
    result = run("test")
    assert result.exit_code == 0, result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    found = json.loads(run("test", "--json").stdout)["regimes"]
    assert len(found) == 10
    assert all(one["cases"] and not one["failed"] and not one["rules_not_reached"] for one in found)


def test_a_regime_is_added_by_a_folder_alone(tmp_path: Path) -> None:
    result = run("test", "--regimes", vietnam(tmp_path), "--json")
    assert result.exit_code == 0, result.stdout
    found = {one["regime"]: one for one in json.loads(result.stdout)["regimes"]}
    assert found["vietnam"] == {"regime": "vietnam", "cases": 3, "failed": [], "rules_not_reached": []}
    assert len(found) == 11


def test_a_case_that_is_decided_otherwise_is_told_and_exits_5(tmp_path: Path) -> None:
    replace(vietnam(tmp_path) / "vietnam" / "rules.cedar", "!resource.tools", "resource.tools")
    result = run("test", "--regimes", tmp_path)
    assert result.exit_code == DIFFERS
    said = " ".join(result.stdout.split())
    assert "V-bare" in said
    assert "V-filed decides deny" in said or "decides deny, expected permit_with_obligations" in said


def test_the_same_set_differs_in_nothing() -> None:
    found = json.loads(run("diff", "built-in", "built-in", "--json").stdout)
    assert found["changed"] == []
    assert found["old"] == found["new"]


def test_a_changed_table_is_told_case_by_case(regimes: Path) -> None:
    replace(
        regimes / "gdpr" / "facts.yaml", "  - {places: [BR], since: 2026-01-27", "  - {places: [BR], since: 2027-01-27"
    )
    result = run("diff", "built-in", regimes)
    assert result.exit_code == 0
    said = " ".join(result.stdout.split())
    assert "R10 German merchant gives consignee rows to a Brazilian warehouse" in said
    assert "decides deny instead of permit_with_obligations" in said
    assert "rules G8 instead of G5" in said
    assert "obligations -OBL_ROPA, -OBL_ROLE_CONTRACT, -OBL_TRANSFER_NOTICE" in said
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_a_new_duty_is_a_difference_though_the_decision_stays(regimes: Path) -> None:
    replace(regimes / "pdpa" / "rules.cedar", '@duties("OBL_SG_ASSESS")', '@duties("OBL_SG_ASSESS, OBL_COUNSEL")')
    found = json.loads(run("diff", "built-in", regimes, "--json").stdout)["changed"]
    assert [one["id"] for one in found] == ["R34"]
    assert found[0]["differences"] == ["obligations +OBL_COUNSEL"]


def test_a_new_regime_changes_only_what_concerns_it(tmp_path: Path) -> None:
    found = json.loads(run("diff", "built-in", vietnam(tmp_path), "--json").stdout)["changed"]
    assert {one["id"] for one in found} == {"V-home", "V-filed", "V-bare"}
    assert all(
        "no regime covers" in one["old"]["causes"][0] or "vn_dossier" in one["old"]["causes"][0] for one in found
    )


def test_cases_may_be_somebodys_own(regimes: Path, tmp_path: Path) -> None:
    replace(
        regimes / "gdpr" / "facts.yaml", "  - {places: [GB], since: 2021-06-28", "  - {places: [GB], since: 2031-06-28"
    )
    facts = {
        "src": "DE", "dst": "GB", "as_of": "2026-11-15", "exporter_kind": "merchant", "recipient_kind": "merchant",
        "categories": ["email"], "purpose": "delivery", "n_subjects": 1,
    }  # fmt: skip
    (tmp_path / "mine.json").write_text(json.dumps([{"id": "mine", "facts": facts}]))
    found = json.loads(run("diff", "built-in", regimes, "--cases", tmp_path / "mine.json", "--json").stdout)
    assert (found["cases"], [one["id"] for one in found["changed"]]) == (1, ["mine"])


def test_past_transfers_of_a_party_are_asked_too(regimes: Path, tmp_path: Path) -> None:
    replace(
        regimes / "gdpr" / "facts.yaml", "  - {places: [GB], since: 2021-06-28", "  - {places: [GB], since: 2031-06-28"
    )
    facts = {
        "src": "DE", "dst": "GB", "as_of": date(2026, 11, 15), "exporter_kind": "merchant",
        "recipient_kind": "merchant", "categories": ("email",), "purpose": "delivery", "n_subjects": 1,
    }  # fmt: skip
    none = json.loads(run("diff", "built-in", regimes, "--home", tmp_path, "--json").stdout)
    assert (none["past"], none["past_changed"]) == (0, [])
    with PastTransfers.open(tmp_path / FILE, lambda *_: None) as store:
        said = [("rows to p2 in GB", facts), ("rows to p3 in GB", facts), ("rows to p4 in DE", {**facts, "dst": "DE"})]
        store.keep("job-0123456789abcdef", said)
        store.keep("job-0123456789abcdef", said)
    found = json.loads(run("diff", "built-in", regimes, "--home", tmp_path, "--json").stdout)
    assert found["past"] == 2, "equal facts of a job once"
    (one,) = found["past_changed"]
    assert (one["id"], one["title"]) == ("job-01234567/1", "rows to p2 in GB")
    assert "rules G8 instead of G5" in one["differences"]
    assert "1 of 2 past transfers" in run("diff", "built-in", regimes, "--home", tmp_path).stdout
    assert isinstance(run("diff", "built-in", regimes, "--home", tmp_path / "gone").exception, InvalidPolicy)


@pytest.mark.parametrize("folder", ["nowhere", "empty"])
def test_a_folder_that_holds_no_regime_is_refused(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    for arguments in (("test", "--regimes", tmp_path / folder), ("diff", "built-in", tmp_path / folder)):
        error = run(*arguments).exception
        assert isinstance(error, InvalidPolicy)
        assert str(tmp_path / folder) in str(error)


def test_a_set_that_cannot_be_loaded_is_refused_with_the_cause(regimes: Path) -> None:
    replace(regimes / "appi" / "rules.cedar", "forbid (", "forbid ((")
    error = run("test", "--regimes", regimes).exception
    assert isinstance(error, InvalidPolicy)
    assert "appi/rules.cedar: not readable as Cedar" in str(error)
