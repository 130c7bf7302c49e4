"""What a contract may state before the law, and what it may not."""

from typing import Any

import pytest
from pydantic import ValidationError

from policies.contract import DataContract
from policies.law_terms import LawTerms
from tests.policies.samples import contract

GOOD: dict[str, Any] = {"organisation": "merchant", "subjects": 10, "residence": ["DE"]}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"subjects": 0}, "`personal` and `subjects` do not fit"),
        ({"personal": False}, "`personal` and `subjects` do not fit"),
        ({"facts": {"tia": "ok"}}, "`tia` is not stated; it is proved by a record"),
        ({"purposes": {"dpv:Marketing": {"anon_test": "pass"}}}, "`anon_test` is not stated"),
        ({"recipients": {"*": {"dst": "DE"}}}, "`dst` is not stated; it follows from the plan"),
        ({"facts": {"dp": True}}, "`dp` is not stated"),
        ({"residence": ["Germany"]}, "pattern"),
        ({"organisation": "bank"}, "'warehouse', 'payment' or 'merchant'"),
    ],
)
def test_what_cannot_be_stated_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        LawTerms.model_validate({**GOOD, **changes})


@pytest.mark.parametrize(
    ("column", "law", "told"),
    [
        ({"class": "personal"}, GOOD, "nobody says what `customer` holds of people; add a `category`"),
        (
            {"class": "personal", "category": "email"},
            {"organisation": "merchant", "personal": False},
            "`customer` is about people and `law` says that nothing is",
        ),
        ({"class": "public"}, {**GOOD, "subject": "buyer"}, r"`law: subject` names no column"),
    ],
)
def test_columns_and_law_must_agree(column: dict[str, Any], law: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        contract(columns={"customer": {"type": "text", **column}}, law=law)


def test_a_contract_without_law_keeps_the_digest_it_always_had() -> None:
    bare = contract(law=None, columns={"a": {"type": "int", "class": "public"}})
    assert not {"law", "approval"} & set(bare.published())
    assert "category" not in bare.published()["columns"]["a"]
    with_law = contract(law=GOOD, columns={"a": {"type": "int", "class": "public", "category": "stock_level"}})
    assert with_law.digest() != bare.digest()
    again = DataContract.model_validate({**with_law.published(), "source": {"kind": "csv", "path": "x"}})
    assert again.digest() == with_law.digest()
