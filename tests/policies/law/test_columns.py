"""What a job's columns are before the law under the contract's masks: cut, they are what the catalogue says."""

from typing import Any

import pytest

from policies.errors import InvalidInput
from policies.law.columns import column_facts
from policies.law.law import Law, load_law
from policies.views import NOTHING, Cut
from tests.policies.samples import contract

PAN = {"type": "text", "class": "personal", "category": "pan", "uses": ["filter"]}
COLUMNS: dict[str, Any] = {
    "card": PAN,
    "other": PAN,
    "mail": {"type": "text", "class": "personal", "category": "email"},
    "ill": {"type": "bool", "class": "sensitive", "category": "health_item"},
    "items": {"type": "int", "class": "operational"},
}
SIX, SEVEN, FOUR = (Cut(form="prefix", size=size) for size in (6, 7, 4))


@pytest.fixture(scope="module")
def law() -> Law:
    return load_law()


def found(
    law: Law, names: tuple[str, ...], masks: dict[str, Cut], **said: Any
) -> tuple[tuple[str, ...], dict[str, Any], str]:
    """The fields, the facts, and the card number's form as the law then has it."""
    held = contract(columns=COLUMNS).columns
    fields, facts = column_facts({name: held[name] for name in names}, masks, said, law.catalogue)
    base = {
        "src": "DE", "dst": "FR", "as_of": "2026-06-01", "exporter_kind": "payment", "recipient_kind": "merchant",
        "purpose": "joint_query", "n_subjects": 1,
    }  # fmt: skip
    return fields, facts, law.catalogue.sheet({**base, "categories": fields, **said, **facts})["pan_form"]


@pytest.mark.parametrize(
    ("names", "masks", "said", "form"),
    [
        (("card",), {}, {}, "clear"),
        (("card",), {"card": SIX}, {}, "truncated"),
        (("card",), {"card": FOUR}, {}, "truncated"),
        (("card",), {"card": SEVEN}, {}, "clear"),
        (("card",), {"card": SIX}, {"pan_form": "clear"}, "truncated"),
        (("card",), {"card": SIX}, {"pan_form": "hash_unkeyed"}, "hash_unkeyed"),
        (("card",), {"card": SIX}, {"pan_form": "hmac"}, "hmac"),
        (("card",), {"other": SIX}, {}, "clear"),
        (("card", "other"), {"card": SIX}, {}, "clear"),
        (("card", "other"), {"card": SIX, "other": FOUR}, {}, "truncated"),
        (("card", "other"), {"card": SIX, "other": NOTHING}, {}, "truncated"),
        (("card", "other"), {"card": NOTHING, "other": NOTHING}, {}, "none"),
        (("items",), {}, {}, "none"),
    ],
)
def test_a_card_number_is_truncated_where_every_column_of_them_shows_six_digits_at_most(
    law: Law, names: tuple[str, ...], masks: dict[str, Cut], said: dict[str, Any], form: str
) -> None:
    assert found(law, names, masks, **said)[2] == form


def test_a_column_that_is_shown_as_nothing_does_not_leave_nor_does_what_its_class_says(law: Law) -> None:
    every = tuple(COLUMNS)
    fields, facts, _ = found(law, every, {})
    assert fields == ("email", "health_item", "pan")
    assert facts["gdpr_special"]
    fields, facts, _ = found(law, every, {"ill": NOTHING, "mail": NOTHING, "card": NOTHING})
    assert (fields, facts) == (("pan",), {}), "there is another card number"


def test_a_field_that_nobody_knows_is_refused_and_not_left_out(law: Law) -> None:
    held = contract(columns={"a": {"type": "text", "class": "personal", "category": "shoe_size"}}).columns
    with pytest.raises(InvalidInput, match="shoe_size"):
        column_facts(held, {}, {}, law.catalogue)
