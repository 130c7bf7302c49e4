"""A result's file is exactly the result, in the kind that the ending says, or it is not written at all."""

import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load

from federation.client import TrainedModel
from inbond.errors import ConfigError, InbondError
from inbond.result_files import check_out, write_answer, write_model
from policies.query.finishing import ValueType
from tests.inbond.test_answers import made

TYPES = {"country": ValueType("text"), "n": ValueType("number", 0), "total": ValueType("number", 2)}
HISTOGRAM = {"sizes": ValueType("map", 0, "number")}
ROWS = ({"country": "DE", "n": 12, "total": Decimal("10.50")}, {"country": "FR", "n": 7, "total": None})
ANSWER = made(*ROWS, **TYPES)
MODEL = TrainedModel("ab" * 16, np.arange(3, dtype=np.float32), {}, b"")


def test_csv_leaves_empty_what_is_suppressed(tmp_path: Path) -> None:
    write_answer(ANSWER, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "country,n,total\nDE,12,10.50\nFR,7,\n"


def test_json_has_null_for_what_is_suppressed_and_decimals_as_text(tmp_path: Path) -> None:
    write_answer(ANSWER, tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text()) == [
        {"country": "DE", "n": 12, "total": "10.50"},
        {"country": "FR", "n": 7, "total": None},
    ]


def test_parquet_keeps_types_and_nulls(tmp_path: Path) -> None:
    write_answer(ANSWER, tmp_path / "a.parquet")
    found = pq.read_table(tmp_path / "a.parquet")
    assert found.to_pylist() == list(ROWS)
    assert found.schema.field("total").type == pa.decimal128(38, 2)


def test_an_answer_without_rows_is_a_file_with_its_columns(tmp_path: Path) -> None:
    for ending in ("csv", "json", "parquet"):
        write_answer(made(**TYPES), tmp_path / f"a.{ending}")
    assert (tmp_path / "a.csv").read_text() == "country,n,total\n"
    assert json.loads((tmp_path / "a.json").read_text()) == []
    assert pq.read_table(tmp_path / "a.parquet").schema.equals(ANSWER.to_arrow().schema)


def test_a_histogram_is_json_text_in_csv_an_object_in_json_and_a_map_in_parquet(tmp_path: Path) -> None:
    answer = made({"sizes": {1: 20, 5: 30}}, {"sizes": None}, **HISTOGRAM)
    for ending in ("csv", "json", "parquet"):
        write_answer(answer, tmp_path / f"a.{ending}")
    assert (tmp_path / "a.csv").read_text() == 'sizes\n"{""1"": 20, ""5"": 30}"\n""\n'
    assert json.loads((tmp_path / "a.json").read_text()) == [{"sizes": {"1": 20, "5": 30}}, {"sizes": None}]
    assert pq.read_table(tmp_path / "a.parquet").to_pylist() == [{"sizes": [(1, 20), (5, 30)]}, {"sizes": None}]


def test_a_model_is_written_as_safetensors_also_a_plain_one(tmp_path: Path) -> None:
    write_model(MODEL.file(), tmp_path / "m.safetensors")
    np.testing.assert_array_equal(load((tmp_path / "m.safetensors").read_bytes())["parameters"], [0, 1, 2])


@pytest.mark.parametrize(("name", "kind"), [("m.csv", "train"), ("a.safetensors", "query"), ("x", ""), ("x.CSV", "")])
def test_an_ending_that_does_not_fit_the_result_is_refused_and_nothing_written(
    tmp_path: Path, name: str, kind: str
) -> None:
    with pytest.raises(ConfigError, match="no way to write"):
        check_out(tmp_path / name, kind)
    with pytest.raises(ConfigError, match="no way to write"):
        write_model(b"", tmp_path / name) if kind == "train" else write_answer(ANSWER, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_there_is_replaced_only_by_force(tmp_path: Path) -> None:
    out = tmp_path / "a.csv"
    out.write_text("mine")
    with pytest.raises(ConfigError, match=r"a\.csv: is there already; another name, or --force to replace it"):
        write_answer(ANSWER, out)
    assert out.read_text() == "mine"
    write_answer(ANSWER, out, force=True)
    assert out.read_text().startswith("country")


def test_a_folder_of_that_name_is_not_replaced_even_by_force(tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(ConfigError, match="is there already; another name"):
        check_out(tmp_path / "a.csv", force=True)


def test_a_result_that_cannot_be_written_leaves_neither_half_a_file_nor_a_scratch(tmp_path: Path) -> None:
    out = tmp_path / "a.parquet"
    out.write_text("mine")
    with pytest.raises(InbondError, match="does not fit int64"):
        write_answer(made({"n": 2**63}, n=ValueType("number", 0)), out, force=True)
    assert out.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [out]


def test_only_its_user_may_read_a_result(tmp_path: Path) -> None:
    write_answer(ANSWER, tmp_path / "a.json")
    assert (tmp_path / "a.json").stat().st_mode & 0o077 == 0
