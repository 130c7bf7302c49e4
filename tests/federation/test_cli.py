"""What a researcher's commands show and send: the result for a person or as JSON, and a query as it was asked."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from federation.cli import _show_result, find_job, queries
from federation.client import Researcher, step_count
from inbond.errors import ConfigError, InbondError
from inbond.v1 import control_pb2 as wire
from policies.canonical import canonical
from policies.query.finishing import ValueType
from tests.inbond.test_answers import PLAN, made

TYPES = {"country": ValueType("text"), "n": ValueType("number", 0), "total": ValueType("number", 2)}
ROWS = ({"country": "DE", "n": 12, "total": Decimal("10.50")}, {"country": "FR", "n": 7, "total": None})
ANSWER = made(*ROWS, **TYPES)
SQL = "SELECT COUNT(*) FROM orders WHERE items > $low"


def test_a_person_sees_a_dash_for_what_is_suppressed_and_how_many_groups_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _show_result(ANSWER, None, force=False, json=False)
    said = capsys.readouterr().out
    assert "1 groups of fewer than 5 rows are not shown" in said
    assert "10.50" in said
    assert said.splitlines()[2].split() == ["FR", "7", "-"]


def test_json_on_the_screen_has_decimals_as_text_and_histograms_as_objects(capsys: pytest.CaptureFixture[str]) -> None:
    types = {"sizes": ValueType("map", 2, "number"), "total": ValueType("number", 2)}
    answer = made({"sizes": {Decimal("0.50"): 12}, "total": Decimal("1.10")}, **types)
    _show_result(answer, None, force=False, json=True)
    said = json.loads(capsys.readouterr().out)
    assert said["rows"] == [{"sizes": {"0.50": 12}, "total": "1.10"}]
    assert said["columns"] == ["sizes", "total"]


def test_a_result_is_written_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _show_result(ANSWER, tmp_path / "a.csv", force=False, json=False)
    assert (tmp_path / "a.csv").read_text().startswith("country,n,total")
    assert "10.50" in capsys.readouterr().out


def test_a_bar_is_as_long_as_the_jobs_plan_has_steps() -> None:
    assert step_count(wire.JobView()) is None
    assert step_count(wire.JobView(plan=canonical(PLAN.payload()).decode())) == 3


class Known:
    """A researcher with three jobs."""

    def jobs(self) -> list[Any]:
        return [type("View", (), {"job": job})() for job in ("abc1", "abc2", "def1")]


@pytest.mark.parametrize(("prefix", "told"), [("abc", "2 jobs starts with abc"), ("x", "no job of yours")])
def test_an_id_that_names_no_single_job_is_told(prefix: str, told: str) -> None:
    researcher: Any = Known()
    with pytest.raises(InbondError, match=told.split(" starts", maxsplit=1)[0]):
        find_job(researcher, prefix)
    assert find_job(researcher, "d") == "def1"


class Asked(Exception):
    """The query got as far as its job."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The SQL and the fields of the job that a command makes; nothing is dialled."""
    found: dict[str, Any] = {}

    class Listening:
        def __enter__(self) -> "Listening":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def query_spec(self, sql: str, **fields: Any) -> None:
            found.update(fields, sql=sql)
            raise Asked

    monkeypatch.setattr(Researcher, "open", lambda _home: Listening())
    return found


def run(*options: str) -> BaseException | None:
    """`inbond query` with these options; what it ended with."""
    return CliRunner().invoke(queries, ["query", SQL, "--purpose", "dpv:X", *options]).exception


def test_a_query_is_sent_as_it_was_asked(asked: dict[str, Any]) -> None:
    options = "--param low=2 --matching hidden --parties p1,p2 --minimum-parties 3 --epsilon 0.5 --protect encrypted"
    assert isinstance(run(*options.split()), Asked)
    assert asked == {
        "sql": SQL,
        "purpose": "dpv:X",
        "parameters": {"low": 2},
        "matching": "hidden",
        "parties": ["p1", "p2"],
        "minimum_parties": 3,
        "protection": "encrypted",
        "privacy": {"mechanism": "laplace", "epsilon": 0.5, "delta": 0.0},
    }


def test_without_options_nothing_is_asked_that_the_contracts_do_not(asked: dict[str, Any]) -> None:
    assert isinstance(run(), Asked)
    defaults = {"parameters": {}, "matching": "auto", "minimum_parties": 2, "protection": "encrypted"}
    assert asked == {"sql": SQL, "purpose": "dpv:X", **defaults}


def test_a_file_that_is_there_stops_the_query_before_it_is_asked(asked: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("mine")
    ended = run("--out", str(tmp_path / "a.csv"))
    assert isinstance(ended, ConfigError)
    assert "is there already" in str(ended)
    assert asked == {}
    assert isinstance(run("--out", str(tmp_path / "a.csv"), "--force"), Asked)
