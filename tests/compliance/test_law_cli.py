"""`inbond law`: what the officer asks, what it prints, how it exits, and one line for whatever cannot be read."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from compliance.law_cli import DIFFERS, app
from policies.document import MAX_CHARACTERS
from policies.errors import InvalidInput, InvalidPolicy, PolicyError

FACTS = {
    "src": "DE",
    "dst": "US",
    "as_of": "2026-11-15",
    "exporter_kind": "merchant",
    "recipient_kind": "payment",
    "categories": ["order_history"],
    "purpose": "fraud_detection",
    "n_subjects": 50_000,
}
BARRED: dict[str, Any] = {"id": "S1", "title": "to a recipient without a tool", "facts": FACTS, "expected": "deny"}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


def written(folder: Path, *scenarios: dict[str, Any]) -> Path:
    path = folder / "scenarios.json"
    path.write_text(json.dumps(list(scenarios)))
    return path


def test_a_denial_is_told_with_rule_articles_class_and_what_would_be_lawful(tmp_path: Path) -> None:
    result = run("check", written(tmp_path, BARRED))
    assert result.exit_code == 0
    for told in (
        "S1  deny  PERSONAL  as expected",
        "G8",
        "GDPR 44",
        "a recipient in DE instead of US",
        "OBL_SCC_ANNEX",
    ):
        assert told in result.stdout
    assert "1 decided, 1 denied, 0 not as expected" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_json_has_the_decision_and_the_lawful_changes(tmp_path: Path) -> None:
    permitted = {"id": "S2", "facts": {**FACTS, "dst": "FR"}}
    found = json.loads(run("check", written(tmp_path, BARRED, permitted), "--json").stdout)
    barred, allowed = found["scenarios"]
    assert (barred["decision"], barred["rules"], barred["class"]) == ("deny", ["G8"], "PERSONAL")
    assert {change["decision"] for change in barred["lawful_changes"]} <= {"permit", "permit_with_obligations"}
    assert allowed["decision"] == "permit_with_obligations"
    assert [duty["code"] for duty in allowed["obligations"]] == ["OBL_ROPA", "OBL_ROLE_CONTRACT"]
    assert allowed["lawful_changes"] == []
    assert found["law"] == barred["digest"]


def test_a_change_that_rests_on_the_world_says_so(tmp_path: Path) -> None:
    (barred,) = json.loads(run("check", written(tmp_path, BARRED), "--json").stdout)["scenarios"]
    anonymous = next(change for change in barred["lawful_changes"] if change["class"] == "ANON")
    assert anonymous["only_if"] == ["disclosure tests are run on it and pass"]


def test_a_decision_that_is_not_the_expected_one_exits_5(tmp_path: Path) -> None:
    result = run("check", written(tmp_path, {**BARRED, "expected": "permit", "rules": ["G5"]}))
    assert result.exit_code == DIFFERS
    assert "decides deny, expected permit" in result.stdout
    assert "by G8, expected G5" in result.stdout


def test_the_day_can_be_another_one(tmp_path: Path) -> None:
    bound = written(tmp_path, {"id": "S3", "facts": {**FACTS, "dst": "BR"}})
    assert "permit_with_obligations" in run("check", bound).stdout
    assert "deny" in run("check", bound, "--as-of", "2026-01-20").stdout


def test_a_day_before_the_tables_denies_with_the_cause(tmp_path: Path) -> None:
    result = run("check", written(tmp_path, BARRED), "--as-of", "2019-01-01", "--no-changes")
    assert "the tables describe the law from" in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is empty"),
        (" \n", "the file is empty"),
        ("[]", "there is no scenario in it"),
        ("[{", "not readable as JSON"),
        ('[], "base": {}', "more than one list"),
        ("just a word", "is not a table"),
        (json.dumps([{**BARRED, "expcted": "deny"}]), "`scenarios.0.expcted` is not known"),
        (json.dumps([{**BARRED, "expected": "maybe"}]), "expected"),
        (json.dumps([{**BARRED, "facts": ["DE"]}]), "facts"),
        (json.dumps([{**BARRED, "title": "bell\a"}]), "control character"),
        (json.dumps([BARRED, BARRED]), "`S1` is there twice"),
        (json.dumps([{**BARRED, "facts": {**FACTS, "dst": "XX"}}]), "`dst` is 'XX'; a code of ISO 3166-1 alpha-2"),
        (json.dumps([{**BARRED, "facts": {**FACTS, "n_subjects": "many"}}]), "`n_subjects` is 'many'"),
        (json.dumps([{**BARRED, "facts": {**FACTS, "colour": "red"}}]), "fact `colour` is not known"),
        (json.dumps([{**BARRED, "facts": {"src": "DE"}}]), "is missing"),
        ("[" + " " * (MAX_CHARACTERS + 1) + "]", "too long"),
        ("[" + " " * (4 * MAX_CHARACTERS + 1) + "]", "too large"),
    ],
)
def test_what_cannot_be_read_is_one_line_with_what_and_where(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    error = run("check", path).exception
    assert isinstance(error, PolicyError)
    assert said in str(error)
    assert str(path) in error.where
    assert error.right
    assert "\n" not in str(error)


def test_bytes_that_are_no_text_and_a_file_that_is_not_there_are_refused(tmp_path: Path) -> None:
    (tmp_path / "junk").write_bytes(bytes(range(256)))
    assert isinstance(run("check", tmp_path / "junk").exception, InvalidInput)
    assert isinstance(run("check", tmp_path / "nothing").exception, FileNotFoundError)
    assert isinstance(run("check", written(tmp_path, BARRED), "--as-of", "tomorrow").exception, InvalidInput)
    assert isinstance(run("regimes", "--regimes", tmp_path / "nowhere").exception, InvalidPolicy)


def test_the_regimes_are_listed_with_the_version_of_their_data() -> None:
    result = run("regimes")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 11
    assert max(map(len, result.stdout.splitlines())) <= 80
    found = {one["regime"]: one for one in json.loads(run("regimes", "--json").stdout)["regimes"]}
    assert found["gdpr"]["since"] == "2021-06-27"
    assert found["gdpr"]["sources"] > 10
    assert len({one["version"] for one in found.values()}) == len(found)
