"""What a researcher's commands write: exactly the result, in the kind that the ending says, or nothing."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load

from federation.cli import _check_out, _show_result, find_job
from federation.client import Answer, TrainedModel
from federation.planner import make_plan
from inbond.errors import ConfigError, InbondError
from tests.policies.samples import contract, order

PLAN = make_plan(order(), {name: {"orders": contract()} for name in ("p1", "p2", "p3")}, coordinator_country="DE")
ROWS = [{"country": "DE", "n": 12, "total": Decimal("10.50")}, {"country": "FR", "n": 7, "total": None}]
ANSWER = Answer("ab" * 16, ("country", "n", "total"), ROWS, 1, PLAN)


@pytest.mark.parametrize("ending", [".csv", ".json", ".parquet"])
def test_an_answer_is_written_as_its_ending_says(tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"answer{ending}"
    _show_result(ANSWER, out, json=True)
    if ending == ".parquet":
        assert pq.read_table(out).to_pylist() == ROWS
    elif ending == ".json":
        assert json.loads(out.read_text())[0] == {"country": "DE", "n": 12, "total": "10.50"}
    else:
        assert out.read_text() == "country,n,total\nDE,12,10.50\nFR,7,\n"


def test_a_model_is_written_as_safetensors_also_a_plain_one(tmp_path: Path) -> None:
    model = TrainedModel("ab" * 16, np.arange(3, dtype=np.float32), {}, b"")
    _show_result(model, tmp_path / "m.safetensors", json=True)
    np.testing.assert_array_equal(load((tmp_path / "m.safetensors").read_bytes())["parameters"], [0, 1, 2])


@pytest.mark.parametrize(("name", "kind"), [("m.csv", "train"), ("a.safetensors", "query"), ("x", ""), ("x.CSV", "")])
def test_an_ending_that_does_not_fit_the_result_is_refused_and_nothing_written(
    tmp_path: Path, name: str, kind: str
) -> None:
    with pytest.raises(ConfigError, match="no way to write"):
        _check_out(tmp_path / name, kind)
    assert not list(tmp_path.iterdir())


def test_suppressed_groups_are_told_to_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    _show_result(ANSWER, None, json=False)
    said = capsys.readouterr().out
    assert "1 groups of fewer than 5 rows are not shown" in said
    assert "10.50" in said


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
