"""Two masks on one column: what holds shows no more than either, whatever the value."""

from itertools import product
from typing import Any

import pytest
from pydantic import ValidationError

from policies.views import FORMS_OF_TYPE, MAX_SIZE, NOTHING, Cut, fitting, stacked, stricter

NUMBERS = [NOTHING, *(Cut(form="round", size=size) for size in (1, 4, 6, 10, 15))]
TEXTS = [NOTHING, *(Cut(form="prefix", size=size) for size in (1, 3, 6))]
TIMES = [NOTHING, *(Cut(form=form) for form in FORMS_OF_TYPE["datetime"][1:])]
LENGTH = {"year": 4, "month": 7, "day": 10}


def shown(value: Any, cut: Cut) -> Any:
    """What is seen of a value, as docs/views.md says it."""
    match cut.form:
        case "nothing":
            return None
        case "round":
            return int(value / (cut.size or 1)) * (cut.size or 1)
        case "prefix":
            return value[: cut.size]
    return value[: LENGTH[cut.form]]


def tells_no_more(values: list[Any], cut: Cut, than: Cut) -> bool:
    """Whether two values that look the same under `than` always do so under `cut`."""
    alike: dict[Any, set[Any]] = {}
    for value in values:
        alike.setdefault(shown(value, than), set()).add(shown(value, cut))
    return all(len(seen) == 1 for seen in alike.values())


@pytest.mark.parametrize(
    ("cuts", "values"),
    [
        (NUMBERS, list(range(-70, 70))),
        (TEXTS, ["", "4", "4111", "411111", "4111112222", "41111133", "5111112222", "4222"]),
        (TIMES, ["".join(parts) for parts in product(("2025", "2026"), *[("-01", "-02")] * 2, ("T03", "T04"))]),
    ],
    ids=["numbers", "texts", "times"],
)  # fmt: skip
def test_the_stricter_of_two_cuts_shows_no_more_than_either_and_orders_do_not_matter(
    cuts: list[Cut], values: list[Any]
) -> None:
    for one, other in product(cuts, repeat=2):
        both = stricter(one, other)
        assert tells_no_more(values, both, one), (one, other)
        assert tells_no_more(values, both, other), (one, other)
        assert both == stricter(other, one)
        assert one.within(other) == (both == one)
        if tells_no_more(values, one, other):
            assert both == one, "no stricter than it must be"


def test_forms_that_do_not_go_together_and_sizes_that_grow_too_large_leave_nothing() -> None:
    assert stricter(Cut(form="day"), Cut(form="round", size=2)) == NOTHING
    assert stricter(Cut(form="round", size=MAX_SIZE), Cut(form="round", size=7)) == NOTHING


@pytest.mark.parametrize("kind", FORMS_OF_TYPE)
def test_a_form_that_a_type_does_not_have_leaves_nothing(kind: str) -> None:
    assert fitting(NOTHING, kind) == NOTHING
    assert (fitting(Cut(form="prefix", size=6), kind) == NOTHING) == (kind != "text")


def test_masks_are_stacked_column_by_column() -> None:
    six, four = Cut(form="prefix", size=6), Cut(form="prefix", size=4)
    assert stacked({"a": six, "b": four}, {"a": four, "b": six, "c": NOTHING}) == {"a": four, "b": four, "c": NOTHING}


@pytest.mark.parametrize("cut", [{"form": "prefix"}, {"form": "year", "size": 2}, {"form": "blur"}])
def test_what_is_no_cut_is_refused(cut: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Cut.model_validate(cut)
