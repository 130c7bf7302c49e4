"""Masks and row rules: to whom they apply, which fit a column, and how they are told."""

from typing import Any

import pytest
from pydantic import ValidationError

from policies.views import Asker, Mask, RowRule, Views
from tests.policies.samples import contract

ADS, FRAUD = "dpv:Marketing", "dpv:FraudPreventionAndDetection"


def test_a_rule_applies_where_purpose_role_and_organisation_match() -> None:
    mask = Mask(column="day", form="month", purposes=("dpv:M*",), organisations=("shop", "port-*"))
    assert mask.applies(Asker(ADS, "researcher", "port-de"))
    assert not mask.applies(Asker(FRAUD, "researcher", "port-de"))
    assert not mask.applies(Asker(ADS, "researcher", "bank"))
    assert not mask.applies(Asker(ADS)), "who is certified for nobody matches no organisation by name"
    assert Mask(column="day", form="year").applies(Asker(FRAUD))


def test_of_several_masks_on_a_column_the_first_that_applies_counts() -> None:
    views = Views(
        masks=(
            Mask(column="amount", form="nothing", purposes=(ADS,)),
            Mask(column="amount", form="round", size=10),
            Mask(column="day", form="month", roles=("auditor",)),
        ),
        rows=(RowRule(column="items", without=(7,), purposes=(ADS,)), RowRule(column="items", only=(1, 2))),
    )
    assert {name: one.form for name, one in views.masks_for(Asker(ADS, "researcher")).items()} == {"amount": "nothing"}
    assert views.masks_for(Asker(FRAUD, "auditor"))["amount"].size == 10
    assert "day" in views.masks_for(Asker(FRAUD, "auditor"))
    assert len(views.rows_for(Asker(ADS))) == 2
    assert [one.only for one in views.rows_for(Asker(FRAUD))] == [(1, 2)]


@pytest.mark.parametrize(
    ("views", "told"),
    [
        ({"masks": [{"column": "gone", "form": "nothing"}]}, "names no column"),
        ({"masks": [{"column": "weight", "form": "round", "size": 2}]}, "has no form round; give one of nothing"),
        ({"masks": [{"column": "seen", "form": "prefix", "size": 2}]}, "has no form prefix"),
        ({"masks": [{"column": "seen", "form": "day", "size": 2}]}, "`size` and form day do not fit"),
        ({"masks": [{"column": "amount", "form": "round"}]}, "`size` and form round do not fit"),
        ({"masks": [{"column": "country", "form": "nothing"}]}, "grouped or joined by and cannot be masked"),
        ({"rows": [{"column": "country", "only": [1]}]}, "write str values"),
        ({"rows": [{"column": "items", "only": ["1"]}]}, "write int values"),
        ({"rows": [{"column": "seen", "only": ["x"]}]}, "type int or text"),
        ({"rows": [{"column": "items", "only": [1], "without": [2]}]}, "has one list"),
        ({"rows": [{"column": "items"}]}, "has one list"),
    ],
)
def test_what_does_not_fit_is_refused(views: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        contract(views=views)


def test_rules_are_published_and_change_the_digest() -> None:
    views = {"masks": [{"column": "seen", "form": "month", "purposes": [ADS]}]}
    held = contract(views=views)
    assert held.published()["views"]["masks"][0]["form"] == "month"
    assert held.digest() != contract().digest()
    assert "views" not in contract().published()


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        (Mask(column="a", form="nothing"), "`a` is shown as nothing"),
        (Mask(column="a", form="prefix", size=3), "`a` is cut to its first 3 characters"),
        (Mask(column="a", form="round", size=50), "`a` is cut to multiples of 50"),
        (Mask(column="a", form="month"), "`a` is cut to its month"),
    ],
)
def test_a_mask_is_told_in_words(mask: Mask, told: str) -> None:
    assert mask.told == told
