"""An answer as a table of any kind: the same types whatever the rows hold, and no cent lost on the way."""

import sys
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from federation.planner import make_plan
from inbond.answers import Answer, as_json, as_text
from inbond.errors import ConfigError, InbondError
from policies.query.finishing import ValueType
from tests.policies.samples import contract, order

PLAN = make_plan(order(), {name: {"orders": contract()} for name in ("p1", "p2", "p3")}, coordinator_country="DE")
COLUMNS = {
    "country": ValueType("text"),
    "n": ValueType("number", 0),
    "total": ValueType("number", 2),
    "mean": ValueType("number", None),
    "many": ValueType("bool"),
    "by_amount": ValueType("map", 2, "number"),
    "nothing": ValueType(None),
}
SCHEMA = pa.schema(
    {
        "country": pa.string(),
        "n": pa.int64(),
        "total": pa.decimal128(38, 2),
        "mean": pa.float64(),
        "many": pa.bool_(),
        "by_amount": pa.map_(pa.decimal128(38, 2), pa.int64()),
        "nothing": pa.null(),
    }
)
LARGE = Decimal("90071992547409930000.01")  # a float would have it 2**53 times too coarse
FULL: dict[str, Any] = {
    "country": "DE",
    "n": 2**62,
    "total": LARGE,
    "mean": 1.5,
    "many": True,
    "by_amount": {Decimal("0.50"): 12},
    "nothing": None,
}
EMPTY: dict[str, Any] = dict.fromkeys(COLUMNS)


def made(*rows: dict[str, Any], **columns: ValueType) -> Answer:
    types = columns or COLUMNS
    return Answer("ab" * 16, tuple(types), list(rows), 1, PLAN, tuple(types.values()))


@pytest.mark.parametrize("rows", [(), (EMPTY,), (FULL,), (EMPTY, FULL), (FULL, EMPTY)])
def test_the_table_has_the_same_types_whatever_the_rows_hold(rows: tuple[dict[str, Any], ...]) -> None:
    table = made(*rows).to_arrow()
    assert table.schema.equals(SCHEMA)
    assert table.num_rows == len(rows)


def test_values_arrive_exactly() -> None:
    ((row),) = made(FULL).to_arrow().to_pylist()
    assert row == {**FULL, "by_amount": [(Decimal("0.50"), 12)]}


def test_kinds_of_numbers_that_meet_in_one_column_are_of_its_type() -> None:
    table = made(
        {"a": 1, "b": Decimal("1.5"), "c": Decimal("3")},
        {"a": Decimal("2.5"), "b": 2, "c": 4},
        {"a": Decimal("3.500"), "b": 0.25, "c": None},
        a=ValueType("number", 2),
        b=ValueType("number", None),
        c=ValueType("number", 0),
    ).to_arrow()
    assert table.column("a").to_pylist() == [Decimal("1.00"), Decimal("2.50"), Decimal("3.50")]
    assert table.column("b").to_pylist() == [1.5, 2.0, 0.25]
    assert table.column("c").to_pylist() == [3, 4, None]


@pytest.mark.parametrize(
    ("value", "of", "told"),
    [
        (2**63, ValueType("number", 0), "`x` has a number that does not fit int64"),
        (Decimal(10) ** 37, ValueType("number", 2), r"`x` has a number that does not fit decimal128\(38, 2\)"),
        (Decimal("0." + "1" * 45), ValueType("number", 45), "`x` has a number that does not fit decimal128"),
    ],
)
def test_a_number_that_its_column_cannot_hold_is_told_and_not_rounded(value: Any, of: ValueType, told: str) -> None:
    with pytest.raises(InbondError, match=told):
        made({"x": value}, x=of).to_arrow()


def test_pandas_keeps_types_nulls_and_cents() -> None:
    frame = made(FULL, EMPTY).to_pandas()
    assert list(frame.columns) == list(COLUMNS)
    assert frame["total"][0] == LARGE
    assert frame["n"][0] == 2**62, "a null beside it makes no float of it"
    assert frame["n"].isna().tolist() == [False, True]


def test_polars_keeps_types_nulls_and_cents() -> None:
    frame = made(FULL, EMPTY).to_polars()
    assert frame.columns == list(COLUMNS)
    assert frame["total"].to_list() == [LARGE, None]
    assert frame["n"].to_list() == [2**62, None]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_library_that_is_not_there_is_named_with_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError) as told:
        getattr(made(FULL), f"to_{library}")()
    assert str(told.value) == f"answer: {library} is not installed; pip install inbond[notebook]"


@pytest.mark.parametrize(
    ("value", "json", "text"),
    [
        (None, None, ""),
        (3, 3, "3"),
        (Decimal("10.50"), "10.50", "10.50"),
        (0.25, 0.25, "0.25"),
        (True, True, "true"),
        ("a b", "a b", "a b"),
        ({Decimal("0.50"): 12}, {"0.50": 12}, '{"0.50": 12}'),
        ({"DE": 1, "Österreich": 2}, {"DE": 1, "Österreich": 2}, '{"DE": 1, "Österreich": 2}'),
        ({False: 1, True: 2}, {"false": 1, "true": 2}, '{"false": 1, "true": 2}'),
    ],
)
def test_a_value_as_json_and_as_text(value: Any, json: Any, text: str) -> None:
    assert as_json(value) == json
    assert as_text(value) == text
