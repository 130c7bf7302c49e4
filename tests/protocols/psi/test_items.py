"""Items: what meets and what does not, no value read twice in two ways, and buckets that hold."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import MisuseError
from protocols.psi.items import (
    NORMALISATIONS,
    Value,
    bucket_capacity,
    bucket_of,
    digests,
    distinct,
    encode,
    encode_rows,
    split,
)

KEY = bytes(range(32))


def one(value: Value, kind: str) -> bytes | None:
    found: bytes | None = encode([value], kind)[0].as_py()
    return found


def one_by_one(value: Value, kind: str) -> bytes | None:
    """By the written-out normal form of one value, not a column's."""
    normal = NORMALISATIONS[kind]("" if value is None else str(value)).encode()
    parts = [*map(str.encode, kind.split("/")), normal]
    return b"".join(len(part).to_bytes(2, "big") + part for part in parts) if normal else None


def test_the_encoding_is_kind_version_and_value_each_with_its_length() -> None:
    assert one(" Ann@Example.COM ", "email/1") == b"\0\5email\0\1" + b"1" + b"\0\x0fann@example.com"


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("text/1", ["Ａ ﬁne", "  A fine\t", "A\u00a0fine"]),
        ("email/1", ["Ann@Example.com", " ann@EXAMPLE.com\n", "ａｎｎ@example.com"]),
        ("phone/1", ["+44 20 7946 0958", "+44 (0)20-7946-0958", "+44.20.7946.0958", "＋442079460958"]),
        ("order-id/1", ["ab-17é", "AB-17É", " Ab-17e\u0301 "]),
        ("card-token/1", ["tok_9aZ", " tok_9aZ "]),
        ("integer/1", [17, "17", " +17", "0017", np.int64(17)]),
    ],
)
def test_values_that_mean_the_same_meet(kind: str, values: list[Value]) -> None:
    items = encode(values, kind).to_pylist()
    assert items[0] is not None
    assert len(set(items)) == 1


@pytest.mark.parametrize(
    ("kind", "left", "right"),
    [
        ("text/1", "a", "A"),
        ("text/1", "a b", "ab"),
        ("email/1", "ann@example.com", "an.n@example.com"),
        ("card-token/1", "tok_9aZ", "tok_9az"),
        ("integer/1", -17, 17),
    ],
)
def test_values_that_differ_do_not_meet(kind: str, left: Value, right: Value) -> None:
    assert one(left, kind) != one(right, kind)


@pytest.mark.parametrize(
    ("kind", "value"),
    [(kind, value) for kind in NORMALISATIONS for value in (None, "", " \t", "\ud800", "x" * 5000)]
    + [
        ("email/1", "ann"),
        ("email/1", "ann@"),
        ("email/1", "a nn@example.com"),
        ("email/1", "a@b@c"),
        ("phone/1", "020 7946 0958"),
        ("phone/1", "+0207946"),
        ("phone/1", "+1234567890123456"),
        ("phone/1", "+44 20 CALL ME"),
        ("card-token/1", "tok 9"),
        ("card-token/1", "tök"),
        ("integer/1", "1.0"),
        ("integer/1", "१७"),
        ("integer/1", "9" * 65),
    ],
)
def test_what_is_no_value_of_its_kind_gives_no_item(kind: str, value: Value) -> None:
    assert one(value, kind) is None


@given(
    st.lists(st.text(st.characters(max_codepoint=300), max_size=6), max_size=5), st.sampled_from(sorted(NORMALISATIONS))
)
def test_a_whole_column_has_the_items_of_its_values(values: list[str], kind: str) -> None:
    assert encode(values, kind).to_pylist() == [one_by_one(value, kind) for value in values]


@given(
    st.lists(st.none() | st.text("+0123456789 -./()\t@aZ_\x1c\u00e9\uff0b\u00a0", max_size=14), min_size=1, max_size=6),
    st.sampled_from(sorted(NORMALISATIONS)),
)
def test_so_has_a_column_of_an_engine_in_pieces(values: list[str | None], kind: str) -> None:
    column = pa.chunked_array([pa.array(values, pa.string()), pa.array(values[:1], pa.string())])
    assert encode(column, kind).to_pylist() == [one_by_one(value, kind) for value in [*values, values[0]]]


@pytest.mark.parametrize("kind", [pa.int16(), pa.uint64()])
def test_whole_numbers_of_an_engine_are_read_as_their_text(kind: pa.DataType) -> None:
    expected = encode(["7", None, "0"], "integer/1")
    assert encode(pa.array([7, None, 0], kind), "integer/1") == expected
    assert encode(pa.chunked_array([], kind), "integer/1").to_pylist() == []


@pytest.mark.parametrize("column", [pa.array([True]), pa.array([1.5]), pa.array([b"x"])])
def test_an_engines_columns_of_other_types_are_refused(column: pa.Array) -> None:
    with pytest.raises(MisuseError, match="key column holds"):
        encode(column, "text/1")


@given(st.lists(st.integers(-(10**70), 10**70), max_size=5))
def test_integers_are_read_as_their_text(values: list[int]) -> None:
    assert encode(values, "integer/1") == encode(list(map(str, values)), "integer/1")


def test_kinds_never_meet() -> None:
    assert len({one("17", kind) for kind in ("text/1", "order-id/1", "card-token/1", "integer/1")}) == 4


@given(st.sampled_from(list(NORMALISATIONS)), st.text(max_size=30))
def test_a_normal_form_is_its_own_normal_form(kind: str, text: str) -> None:
    normal = NORMALISATIONS[kind](text)
    assert NORMALISATIONS[kind](normal) == normal


@pytest.mark.parametrize("value", [1.5, True, np.bool_(False), b"bytes", float("nan")])
def test_columns_of_other_types_are_refused(value: object) -> None:
    with pytest.raises(MisuseError, match=type(value).__name__):
        encode(["a", value], "text/1")


def test_an_unknown_normalisation_is_refused_with_the_known_ones() -> None:
    with pytest.raises(MisuseError, match=r"email/1"):
        encode([], "email/2")


def test_rows_of_several_columns_are_read_in_one_way_only() -> None:
    rows = encode_rows([["a", "ab", None, "a"], ["bc", "c", "c", " "]], ["text/1", "text/1"]).to_pylist()
    assert rows[0] != rows[1]
    assert rows[0] is not None
    assert rows[2] is rows[3] is None
    assert encode_rows([["a"], ["bc"]], ["text/1", "order-id/1"])[0].as_py() not in rows


@pytest.mark.parametrize(("columns", "kinds"), [([], []), ([["a"]], []), ([["a"], []], ["text/1", "text/1"])])
def test_columns_that_do_not_fit_are_refused(columns: list[list[Value]], kinds: list[str]) -> None:
    with pytest.raises(MisuseError):
        encode_rows(columns, kinds)


def test_distinct_items_and_where_each_row_went() -> None:
    items, rows = distinct([b"x", None, b"y", b"x"])
    assert items.to_pylist() == [b"x", b"y"]
    assert rows.tolist() == [0, -1, 1, 0]
    assert distinct([]).rows.shape == (0,)


def test_digests_depend_on_the_key_and_the_item() -> None:
    first = digests([b"x", b"y", b"x"], KEY)
    assert first.shape == (3, 16)
    assert (first[0] == first[2]).all()
    assert (first[0] != first[1]).any()
    assert (digests([b"x"], KEY[::-1])[0] != first[0]).any()
    with pytest.raises(MisuseError):
        digests([], bytes(8))


@pytest.mark.parametrize(("count", "buckets"), [(1, 1), (1, 9), (500, 1), (500, 7), (20_000, 16)])
def test_buckets_hold_every_item_once_within_capacity(count: int, buckets: int) -> None:
    hashed = digests([str(i).encode() for i in range(count)], KEY)
    capacity = bucket_capacity(count, buckets)
    parts = split(hashed, buckets, capacity)
    assert len(parts) == buckets
    assert max(map(len, parts)) <= capacity <= count
    assert sorted(np.concatenate(parts).tolist()) == list(range(count))
    assert all((bucket_of(hashed[part], buckets) == i).all() for i, part in enumerate(parts))


def test_equal_items_meet_in_one_bucket_on_both_sides() -> None:
    left, right = digests([b"x", b"y"], KEY), digests([b"y", b"z", b"x"], KEY)
    assert bucket_of(left, 1000)[0] == bucket_of(right, 1000)[2]


def test_the_capacity_bounds_the_exact_tail() -> None:
    """Against the binomial distribution summed term by term: the smallest safe capacity is close below ours."""
    from fractions import Fraction
    from math import comb

    count, buckets = 400, 8
    share = Fraction(1, buckets)

    def overflow(capacity: int) -> Fraction:
        terms = (comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(capacity + 1, count + 1))
        return buckets * sum(terms, Fraction(0))

    capacity = bucket_capacity(count, buckets)
    assert overflow(capacity) <= Fraction(1, 2**40)
    assert overflow(capacity - 6) > Fraction(1, 2**40)


def test_capacity_costs_little_for_large_buckets() -> None:
    assert bucket_capacity(10_000_000, 64) < 1.03 * 10_000_000 / 64


def test_an_overflow_is_refused() -> None:
    with pytest.raises(MisuseError, match="overflows"):
        split(digests([b"x", b"y"], KEY), 1, 1)
    for count, buckets in ((0, 1), (1, 0)):
        with pytest.raises(MisuseError):
            bucket_capacity(count, buckets)
