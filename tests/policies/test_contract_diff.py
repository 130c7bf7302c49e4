"""Each change of a contract is found, and is said to permit more, less, or something else."""

import json
from typing import Any

import pytest

from policies.contract import read_published
from policies.contract_diff import changes
from tests.policies.samples import contract

COLUMNS = contract().model_dump(mode="json", by_alias=True)["columns"]
KEY = {"as": "text", "counterparts": {"p*": ["group counts"]}}
JOINED = {"type": "text", "class": "pseudonymous", "category": "order_ref", "uses": ["join"], "key": KEY}


def _columns(**changed: Any) -> dict[str, Any]:
    return {"columns": {name: one for name, one in (COLUMNS | changed).items() if one is not None}}


def _key(**changed: Any) -> dict[str, Any]:
    return _columns(customer=JOINED | {"key": KEY | changed})


def _found(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one.key, one.effect) for one in changes(contract(**old), contract(**new))]


NOISED = {"budget": {"epsilon": 4.0}, "max_rows_per_subject": 1}
CASES: list[tuple[dict[str, Any], dict[str, Any], list[tuple[str, str]]]] = [
    ({}, {"minimum_group": 4}, [("minimum_group", "more")]),
    ({}, {"minimum_parties": 2}, [("minimum_parties", "more")]),
    ({}, {"allow_plain": True}, [("allow_plain", "more")]),
    ({}, {"expires": "2037-01-01"}, [("expires", "more")]),
    ({}, {"purposes": ["dpv:Marketing"]}, [("purposes", "less"), ("purposes", "more")]),
    ({}, {"recipients": {"countries": ["DE", "FR", "NO", "US"]}}, [("recipients.countries", "more")]),
    ({}, {"recipients": {"countries": ["NO", "DE", "FR"]}}, [("recipients.countries", "other")]),
    ({}, {"recipients": {"countries": ["DE", "FR", "NO"], "ids": ["rosa"]}},
     [("recipients.ids", "less"), ("recipients.ids", "more")]),
    ({}, _columns(extra=COLUMNS["weight"]), [("columns.extra", "more")]),
    ({}, _columns(amount=COLUMNS["amount"] | {"uses": ["aggregate"]}), [("columns.amount.uses", "less")] * 2),
    ({}, _columns(amount=COLUMNS["amount"] | {"class": "public"}), [("columns.amount.class", "more")]),
    ({}, _columns(amount=COLUMNS["amount"] | {"bounds": [0, 9]}), [("columns.amount.bounds", "other")]),
    ({}, _columns(country=COLUMNS["country"] | {"domain": ["DE", "FR"]}), [("columns.country.domain", "less")]),
    (_key(), _key(counterparts={"p*": ["group counts", "intersection members"]}),
     [("columns.customer.key.counterparts.p*", "more")]),
    (_key(), _key(counterparts={"p*": ["group counts"], "m*": []}), [("columns.customer.key.counterparts.m*", "more")]),
    (_key(), _key(rows_per_key=2), [("columns.customer.key.rows_per_key", "more")]),
    ({}, {"budget": {"epsilon": 1.0}}, [("budget", "more")]),
    ({"budget": {"epsilon": 1.0}}, {"budget": {"epsilon": 2.0}}, [("budget.epsilon", "more")]),
    ({"budget": {"epsilon": 1.0}}, {"budget": {"epsilon": 1.0, "population": "b2"}}, [("budget.population", "other")]),
    (NOISED | {"noise": {"mode": "required", "epsilon": 1.0}}, NOISED | {"noise": {"mode": "required", "epsilon": 2.0}},
     [("noise.epsilon", "more")]),
    (NOISED | {"noise": {"mode": "required", "epsilon": 1.0}}, NOISED,
     [("noise.mode", "more"), ("noise.epsilon", "other")]),
    ({"approval": {"people": 1}}, {}, [("approval", "more")]),
    ({"approval": {"people": 2}}, {"approval": {"people": 1}}, [("approval.people", "more")]),
    ({"approval": {"other_organisation": True}}, {"approval": {}}, [("approval.other_organisation", "more")]),
    ({}, {"agreement": "required"}, [("agreement", "less")]),
    ({}, {"audit": {"values_to": ["ada"]}}, [("audit", "more")]),
    ({"audit": {"values_to": ["ada"]}}, {"audit": {"values_to": ["ada", "bob"], "blocks": 9}},
     [("audit.values_to", "more"), ("audit.blocks", "more")]),
    ({}, {"views": {"masks": [{"column": "seen", "form": "month"}]}}, [("views", "less")]),
    ({"views": {"masks": [{"column": "seen", "form": "month"}]}},
     {"views": {"masks": [{"column": "seen", "form": "year"}]}}, [("views.masks", "other")]),
    ({"law": None}, {}, [("law", "more")]),
    ({}, {"law": {"organisation": "payment", "personal": True, "subjects": 100, "residence": ["DE"],
                  "recipients": {"*": {"recipient_kind": "merchant"}}}}, [("law.organisation", "other")]),
    ({}, {"version": 2}, [("version", "other")]),
    ({}, {"source": {"kind": "csv", "path": "orders.csv"}}, [("source.kind", "other"), ("source.path", "other")]),
]  # fmt: skip
OPPOSITE = {"more": "less", "less": "more", "other": "other"}


@pytest.mark.parametrize(("old", "new", "wanted"), CASES, ids=range(len(CASES)))
def test_a_change_is_named_with_what_it_does_and_its_undoing_does_the_opposite(
    old: dict[str, Any], new: dict[str, Any], wanted: list[tuple[str, str]]
) -> None:
    assert _found(old, new) == wanted
    assert sorted(_found(new, old)) == sorted((key, OPPOSITE[effect]) for key, effect in wanted)


def test_every_key_of_a_contract_is_compared() -> None:
    told = contract().model_dump(mode="json", by_alias=True)
    other: dict[str, Any] = {"dataset": "other", "controller": "other", "schema_name": "other/1", "jurisdiction": "FR"}
    other |= {"max_rows_per_subject": 7, "published_rows": 7}
    assert {key for key, _ in _found({}, other)} == set(other)
    covered = {key.split(".")[0] for _, _, wanted in CASES for key, _ in wanted} | set(other)
    assert covered == set(told)


def test_a_contract_is_the_same_as_what_is_published_of_it() -> None:
    published = read_published(json.dumps(contract().published()), "orders.json")
    assert changes(contract(), contract()) == ()
    assert changes(contract(), published) == changes(published, contract()) == ()
