"""An entry has one spelling, RFC 8785, and carries no people."""

import json
from datetime import datetime
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from compliance.audit.entry import MAX_ENTRY_BYTES, Entry, EntryType, commitment, fitting
from compliance.errors import InvalidEntry
from tests.compliance.audit_fixtures import NOON, entry

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="@"), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abcAZ09_.:/-", min_size=1, max_size=6), inner, max_size=3)
    ),
    max_leaves=10,
)


def with_data(data: Any) -> Entry:
    return Entry(EntryType.STEP, NOON, "spiffe://acme.example/party/a", None, "step:1", data)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text("abcAZ09_.:/-", min_size=1, max_size=6), VALUES, max_size=4))
def test_the_bytes_are_those_of_an_independent_canonicaliser_and_read_back(data: dict[str, Any]) -> None:
    made = with_data(data)
    blob = made.to_bytes()
    assert blob == rfc8785.dumps(json.loads(blob))
    assert Entry.from_bytes(blob) == made


def test_the_whole_of_an_entry() -> None:
    assert entry(5).to_bytes() == (
        b'{"data":{"articles":["GDPR 46(2)(c)"],"effect":"permit"},"job":"job-1",'
        b'"node":"spiffe://acme.example/party/warehouse","subject":"plan:5",'
        b'"time":"2026-03-01T12:00:05.000000Z","type":"decision"}'
    )


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ({"epsilon": 0.5}, "float"),
        ({"count": 2**53}, "int"),
        ({"raw": b"bytes"}, "bytes"),
        ({"näme": 1}, "name"),
        ({"a b": 1}, "name"),
        ({1: 1}, "name"),
        ([], "not an object"),
        ({"a": [[[[[[[[[[1]]]]]]]]]]}, "nested"),
    ],
)
def test_data_without_one_exact_spelling_is_refused(data: Any, what: str) -> None:
    with pytest.raises(InvalidEntry, match=what):
        with_data(data)


def test_an_entry_as_long_as_allowed_is_written_and_one_byte_more_is_refused() -> None:
    room = MAX_ENTRY_BYTES - len(with_data({"x": ""}).to_bytes())
    assert len(with_data({"x": "y" * room}).to_bytes()) == MAX_ENTRY_BYTES
    with pytest.raises(InvalidEntry, match="65536 bytes"):
        with_data({"x": "y" * (room + 1)}).to_bytes()


@pytest.mark.parametrize("data", [{"who": "ana.perez@shop.example"}, {"list": ["x", "to: a@b.co now"]}])
def test_mail_addresses_are_refused(data: dict[str, Any]) -> None:
    with pytest.raises(InvalidEntry, match="mail address"):
        with_data(data).to_bytes()


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(InvalidEntry, match="surrogate"):
        with_data({"x": "\ud800"}).to_bytes()


@pytest.mark.parametrize("subject", ["", "Ana Perez", "a@b", "x" * 257, 'quote"', "new\nline", "trailing\n"])
def test_subjects_are_identifiers(subject: str) -> None:
    with pytest.raises(InvalidEntry, match="identifier"):
        Entry(EntryType.JOB, NOON, "node", None, subject)


def test_times_have_a_zone_and_types_are_of_the_closed_set() -> None:
    with pytest.raises(InvalidEntry, match="zone"):
        Entry(EntryType.JOB, datetime(2026, 1, 1), "node", None, "x")  # noqa: DTZ001 - the naive time is the point
    with pytest.raises(InvalidEntry, match="one of decision, admission"):
        Entry("gossip", NOON, "node", None, "x")  # type: ignore[arg-type]  # a caller without type checks


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"job"', '"jpb"'),
        lambda text: text.replace(",", ", ", 1),
        lambda text: text.replace("decision", "gossip"),
        lambda text: text.replace("Z", "+00:00"),
        lambda text: text.replace("12:00", "25:00"),
        lambda text: text.replace('"job-1"', "7"),
        lambda text: text.replace('"decision"', "[]"),
        lambda text: text[:-1] + ',"type":"decision"}',
        lambda text: "[" * 100_000,
        lambda text: "null",
        lambda text: "",
    ],
)
def test_bytes_that_are_not_exactly_an_entry_are_refused(change: Any) -> None:
    with pytest.raises(InvalidEntry):
        Entry.from_bytes(change(entry().to_bytes().decode()).encode())


def test_commitments_match_under_one_key_only() -> None:
    one, two = bytes(32), bytes([1]) * 32
    assert commitment(one, "ana") == commitment(one, "ana") != commitment(two, "ana")
    assert with_data({"subject": commitment(one, "ana")}).to_bytes()
    with pytest.raises(InvalidEntry, match="too short"):
        commitment(b"short", "ana")


def test_a_list_that_is_too_long_is_cut_counted_and_digested() -> None:
    lines: list[dict[str, object]] = [{"n": number, "text": "x" * 90} for number in range(50)]
    assert fitting(lines) == lines
    cut = fitting(lines, 1000)
    assert cut[:-1] == lines[: len(cut) - 1]
    assert cut[-1]["left_out"] == 50 - (len(cut) - 1)
    assert cut[-1]["digest"] != fitting(lines[:-1], 1000)[-1]["digest"]
