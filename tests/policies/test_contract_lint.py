"""What is wrong or unwise in a contract is found before it is published, each with its key and what would mend it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from policies.contract import load_contract
from policies.contract_facts import unknown_to_law
from policies.contract_lint import Finding, findings
from policies.law.law import load_law
from tests.policies.samples import NOW, contract

LAW = load_law()
EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "contracts").glob("*.yaml"))
STATED: dict[str, Any] = {
    "organisation": "merchant",
    "subjects": 100,
    "residence": ["DE"],
    "recipients": {"*": {"recipient_kind": "merchant"}},
}


def _found(**changes: Any) -> list[tuple[str, str]]:
    """(level, key) of every finding on the sample contract, whose groups by `customer` are made large enough."""
    return [(one.level, one.key) for one in _all(**changes)]


def _all(**changes: Any) -> tuple[Finding, ...]:
    return findings(contract(**({"minimum_group": 20} | changes)), LAW, NOW)


def _law(**changes: Any) -> dict[str, Any]:
    return {"law": STATED | changes}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_contracts_of_the_examples_are_clean(path: Path) -> None:
    assert findings(load_contract(path.read_text("utf-8"), path.name), LAW, datetime(2026, 12, 1, tzinfo=UTC)) == ()


def test_a_sound_contract_has_no_finding() -> None:
    assert _found() == []


@pytest.mark.parametrize(
    ("changes", "key", "what", "right"),
    [
        (_law(facts={"lawfull_basis": "consent"}), "law.facts.lawfull_basis", "not known", "`lawful_basis`"),
        (_law(facts={"lawful_basis": "because"}), "law.facts.lawful_basis", "'because'", "one of none, consent"),
        (_law(facts={"lawful_basis": True}), "law.facts.lawful_basis", "'True'", "one of none, consent"),
        (_law(recipients={"p*": {"recipient_kind": "bank"}}), "law.recipients.p*.recipient_kind", "'bank'", "payment"),
        (
            _law(purposes={"dpv:FraudPreventionAndDetection": {"zzz": 1}}),
            "law.purposes.dpv:FraudPreventionAndDetection.zzz",
            "not known",
            "docs/contracts.md",
        ),
        (_law(residence=["DE", "XX"]), "law.residence.1", "'XX'", "ISO 3166-1"),
        ({"jurisdiction": "XX"}, "jurisdiction", "'XX'", "ISO 3166-1"),
        ({"recipients": {"countries": ["DE", "QQ"]}}, "recipients.countries.1", "'QQ'", "ISO 3166-1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_the_law_does_not_know_is_an_error_with_its_key(
    changes: dict[str, Any], key: str, what: str, right: str
) -> None:
    (fault,) = unknown_to_law(contract(**changes), LAW.catalogue)
    assert fault.key == key
    assert what in fault.what
    assert right in fault.right
    assert _found(**changes) == [("error", key)]


def test_an_unknown_category_is_an_error_with_the_one_that_was_meant() -> None:
    columns = contract().model_dump(mode="json", by_alias=True)["columns"]
    columns["customer"]["category"] = "order_reff"
    (found,) = _all(columns=columns)
    assert (found.level, found.key, found.right) == ("error", "columns.customer.category", "did you mean `order_ref`?")


@pytest.mark.parametrize(
    ("expires", "found"),
    [
        ("2026-06-01", [("error", "expires")]),
        ("2026-06-20", [("warning", "expires")]),
        ("2026-07-01T12:00:00Z", [("warning", "expires")]),
        ("2026-07-01T12:00:01Z", []),
    ],
)
def test_a_contract_that_ended_or_ends_within_30_days_is_told(expires: str, found: list[tuple[str, str]]) -> None:
    assert _found(expires=expires) == found


def test_people_in_small_groups_are_told_and_things_are_not() -> None:
    assert _found(minimum_group=19) == [("warning", "columns.customer.uses")]
    columns = contract().model_dump(mode="json", by_alias=True)["columns"]
    columns["customer"] |= {"uses": ["filter"]}
    assert _found(minimum_group=5, columns=columns) == []


def test_plain_contributions_about_people_are_told() -> None:
    assert _found(allow_plain=True) == [("warning", "allow_plain")]


@pytest.mark.parametrize(("pattern", "told"), [("*", True), ("**", True), ("p*", False)])
def test_a_key_that_shows_members_to_everybody_is_told(pattern: str, told: bool) -> None:
    columns = contract().model_dump(mode="json", by_alias=True)["columns"]
    key = {"as": "text", "counterparts": {pattern: ["intersection members"], "m*": ["group counts"]}}
    columns["customer"] |= {"uses": ["join"], "key": key}
    wanted = [("warning", f"columns.customer.key.counterparts.{pattern}")] if told else []
    assert _found(columns=columns) == wanted


@pytest.mark.parametrize(("pattern", "told"), [("*", True), ("ada", False), ("a*", False)])
def test_values_that_every_auditor_may_see_are_told(pattern: str, told: bool) -> None:
    wanted = [("warning", "audit.values_to")] if told else []
    assert _found(audit={"values_to": [pattern]}) == wanted


def test_noise_that_no_budget_covers_is_told() -> None:
    noise = {"noise": {"mode": "required", "epsilon": 2.0}, "max_rows_per_subject": 1}
    assert _found(**noise, budget={"epsilon": 1.0}) == [("warning", "noise.epsilon")]
    assert _found(**noise, budget={"epsilon": 2.0}) == []


def test_a_purpose_that_no_basis_covers_is_told_with_the_rule_and_another_one_is_not() -> None:
    bare = {"facts": {"lawful_basis": "none"}, "purposes": {"dpv:Marketing": {"lawful_basis": "consent"}}}
    (found,) = _all(purposes=["dpv:Marketing", "dpv:FraudPreventionAndDetection"], **_law(**bare))
    assert (found.level, found.key) == ("warning", "purposes")
    assert "no basis covers dpv:FraudPreventionAndDetection" in found.what
    assert "there is no lawful basis [G1]" in found.what


def test_a_contract_that_says_of_nobody_what_they_are_is_told() -> None:
    (found,) = _all(**_law(recipients={}))
    assert "fact `recipient_kind` is missing" in found.what


def test_facts_for_a_purpose_that_the_contract_does_not_have_are_told() -> None:
    stated = _law(purposes={"dpv:Marketing": {"lawful_basis": "consent"}})
    assert _found(**stated) == [("warning", "law.purposes.dpv:Marketing")]


def test_a_table_without_law_is_told_to_take_part_in_nothing() -> None:
    assert _found(law=None) == [("warning", "law")]


def test_a_record_that_a_party_can_bring_is_taken_for_granted_and_consent_is_not() -> None:
    """China asks for an impact assessment, which is a record, and for a legal basis, which the contract states."""
    chinese = {"jurisdiction": "CN", "recipients": {"countries": ["CN"]}}
    agreed = _law(residence=["CN"], facts={"lawful_basis": "consent", "separate_consent": True})
    assert _found(**chinese, **agreed) == []
    (found,) = _all(**chinese, **_law(residence=["CN"], facts={"lawful_basis": "none"}))
    assert (found.key, "[C" in found.what) == ("purposes", True)


def test_a_country_without_a_regime_is_told() -> None:
    (found,) = _all(jurisdiction="IN", recipients={"countries": ["IN"]}, **_law(residence=["IN"]))
    assert (found.key, "no regime covers data that leave IN" in found.what) == ("purposes", True)


@pytest.mark.parametrize(
    ("mask", "clean"),
    [
        (None, False),
        ({"form": "prefix", "size": 7}, False),
        ({"form": "prefix", "size": 6}, True),
        ({"form": "nothing"}, True),
        ({"form": "nothing", "organisations": ["bank"]}, False),
    ],
)
def test_card_numbers_are_lawful_as_far_as_the_contract_masks_them_for_everybody(
    mask: dict[str, Any] | None, clean: bool
) -> None:
    card = {"type": "text", "class": "personal", "category": "pan", "uses": ["filter"]}
    views = {"masks": [{"column": "card", **mask}]} if mask else None
    found = _found(columns={"card": card}, views=views)
    assert found == ([] if clean else [("warning", "purposes")])
