"""Contracts and documents: what is read, and how a fault is told."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.approval_rule import ApprovalRule
from policies.audit_terms import AuditTerms
from policies.canonical import canonical, digest
from policies.contract import (
    Budget,
    Column,
    DataContract,
    JoinKey,
    NoiseRule,
    Recipients,
    Source,
    load_contract,
    read_published,
)
from policies.document import Value, read_document
from policies.errors import InvalidInput
from policies.law_terms import LawTerms
from tests.policies.samples import CONTRACT, contract


def test_a_contract_is_read_as_written_and_norway_is_not_a_boolean() -> None:
    read = load_contract(CONTRACT, "orders.yaml")
    assert read.columns["country"].domain == ("DE", "FR", "NO")
    assert read.recipients.countries[-1] == "NO"
    assert read.columns["paid"].domain == (True, False)
    assert read.expires == datetime(2036, 1, 31, tzinfo=UTC)
    assert read.columns["amount"].integer_bounds() == (0, 50_000)


def test_the_digest_does_not_depend_on_where_the_table_is_or_on_the_order_of_keys() -> None:
    moved = CONTRACT.replace("orders.parquet", "elsewhere.parquet")
    swapped = CONTRACT.replace("dataset: orders\nversion: 1\n", "version: 1\ndataset: orders\n")
    digests = {load_contract(text, "c").digest() for text in (CONTRACT, moved, swapped)}
    assert len(digests) == 1
    assert contract(minimum_group=6).digest() not in digests


def test_a_published_contract_has_the_digest_of_the_original_and_no_source() -> None:
    own = load_contract(CONTRACT, "orders.yaml")
    text = canonical(own.published()).decode()
    assert "parquet" not in text
    assert read_published(text, "hub").digest() == own.digest()
    with pytest.raises(InvalidInput, match="`source` is not known"):
        read_published(text[:-1] + ',"source":{"kind":"csv","path":"x"}}', "hub")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "version: 1",
            "versoin: 1",
            "orders.yaml:2: `versoin` is not known (and 1 more); did you mean `version`?",
        ),
        ("dataset: orders\n", "", "orders.yaml: `dataset` is missing; add `dataset`"),
        ("jurisdiction: DE", "jurisdiction: Germany", "orders.yaml:4: `jurisdiction` is 'Germany'"),
        ("class: public", "class: secret", "orders.yaml:8: `columns.country.class` is 'secret'"),
        (", domain: [DE, FR, NO]", "", "use `group` needs the allowed values; add `domain"),
        ("bounds: [0, 500.00]", "bounds: [5, 1]", "bounds are not in order; write"),
        ("uses: [group, filter]", "uses: [grp]", "columns.country.uses"),
        ("domain: [1, 2]", "domain: [1, x]", "domain value 'x' is not of type int"),
        ("domain: [1, 2]", "domain: [1, 1]", "names a value twice"),
        ("2026-01-02]", "2026-02-30]", "is not of type date"),
        ("kind: parquet,", "kind: duckdb,", "goes with kind duckdb"),
        ("dpv:Fraud", "Fraud", "`purposes.0` is"),
        ("expires: 2036-01-31", "expires: 2036-01-31T00:00:00", "the time has no zone"),
        ("minimum_parties: 3", "minimum_parties: 1", "orders.yaml:19: `minimum_parties` is 1"),
        (
            "minimum_group: 5",
            "minimum_group: 5\nminimum_group: 6",
            "orders.yaml:19: key `minimum_group` is given",
        ),
        ("minimum_group: 5", "noise: {mode: required, epsilon: 1}", "required noise"),
        ("dataset: orders", "dataset: &a orders", "anchors and aliases"),
        ("dataset: orders", "dataset: [orders", "not readable as YAML"),
        ("items: {", "Amount: {", "differ only in case"),
        ("minimum_group: 5", "agreement: wanted", "orders.yaml:18: `agreement`: neither a word nor a rule; write `req"),
        ("minimum_group: 5", "agreement: false", "orders.yaml:18: `agreement`: neither a word nor a rule; write `req"),
        ("minimum_group: 5", "agreement: {recipients: []}", "`agreement.recipients` is []"),
        ("minimum_group: 5", "agreement: {for: [rosa]}", "`agreement.for` is not known; the keys are recipients"),
    ],
)
def test_a_fault_names_file_line_key_and_remedy(old: str, new: str, told: str) -> None:
    assert old in CONTRACT
    with pytest.raises(InvalidInput) as caught:
        load_contract(CONTRACT.replace(old, new, 1), "orders.yaml")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "x", "{", "a: b: c", "? [a]\n: b", "\x00", "[" * 5000, "- " * 2000, '{"a":' * 5000),
        *("a: " + "9" * 5000, "a" * 300_000, '{"a": NaN}', '{"a": 1, "a": 2}', "!!python/object:os.system x"),
    ],
)
def test_hostile_text_is_one_clear_error(text: str) -> None:
    with pytest.raises(InvalidInput):
        load_contract(text, "x.yaml")


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read_document(text, "x")
    except InvalidInput:
        return


def test_noise_is_given_in_one_word_or_with_its_epsilon() -> None:
    assert contract(noise="none").noise.mode == "none"
    full = contract(noise={"mode": "required", "epsilon": 1.0}, budget={"epsilon": 5}, max_rows_per_subject=3)
    assert full.noise.epsilon == 1.0
    with pytest.raises(ValueError, match="go together"):
        contract(noise="required")


def test_an_agreement_is_asked_for_in_one_word_or_for_some_readers_and_is_published() -> None:
    everybody, some = contract(agreement="required"), contract(agreement={"recipients": ["rosa"]})
    assert everybody.agreement is not None
    assert some.agreement is not None
    rosa, bo = "spiffe://acme.example/user/rosa", "spiffe://acme.example/user/bo"
    assert [need.asks(who) for need in (everybody.agreement, some.agreement) for who in (rosa, bo)] == [
        *(True, True),
        *(True, False),
    ]
    assert everybody.digest() == contract(agreement={"recipients": ["*"]}).digest()
    assert len({one.digest() for one in (everybody, some, contract())}) == 3
    assert read_published(canonical(some.published()).decode(), "hub").digest() == some.digest()


def test_a_contract_that_asks_for_no_agreement_has_the_digest_it_always_had() -> None:
    assert contract().digest() == "680b6fc49a4e022b1b67145aaf8e782c9598e55ecb2e10fec7463ed7c75e5698"


@pytest.mark.parametrize(
    ("patterns", "identity", "named"),
    [
        (["*"], "spiffe://acme.example/user/rosa", True),
        (["rosa"], "spiffe://acme.example/user/rosa", True),
        (["ros"], "spiffe://acme.example/user/rosa", False),
        (["spiffe://acme.example/user/*"], "spiffe://acme.example/user/rosa", True),
        (["spiffe://acme.example/*"], "spiffe://acme.example/user/rosa", False),
        (["spiffe://acme.example/party/*"], "spiffe://acme.example/user/rosa", False),
    ],
)
def test_recipients_are_matched_segment_by_segment(patterns: list[str], identity: str, named: bool) -> None:
    recipients = contract(recipients={"countries": ["DE"], "ids": patterns}).recipients
    assert recipients.names(identity) is named


def test_a_contract_expires_at_its_instant() -> None:
    read = load_contract(CONTRACT, "c")
    assert not read.expired(datetime(2036, 1, 30, 23, 59, tzinfo=UTC))
    assert read.expired(datetime(2036, 1, 31, tzinfo=UTC))


def test_canonical_json_is_the_example_of_rfc_8785() -> None:
    value = {"numbers": [333333333.33333329, 1e30, 4.50, 2e-3], "literals": [None, True, False]}
    assert canonical(value) == b'{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002]}'
    assert digest({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


@pytest.mark.parametrize("value", [float("nan"), 2**53, {1: 2}, object()])
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput):
        canonical(value)


def test_a_contract_survives_its_own_json() -> None:
    own = load_contract(CONTRACT, "c")
    assert DataContract.model_validate_json(own.model_dump_json(by_alias=True)) == own


@pytest.mark.parametrize(
    "model", [DataContract, Source, Column, JoinKey, Recipients, NoiseRule, Budget, ApprovalRule, AuditTerms, LawTerms]
)
def test_the_page_on_contracts_names_every_key(model: type[Value]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "contracts.md").read_text("utf-8")
    keys = {field.alias or name for name, field in model.model_fields.items()} - {"mode"}  # written in one word
    assert {key for key in keys if f"`{key}`" not in page and f"{key}:" not in page} == set()
