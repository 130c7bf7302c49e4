"""What the columns that a job reads make true before the law: their fields, and what a mask leaves of those.

A column that is shown as nothing does not leave. One that is cut makes true what the catalogue says of its field when
`masked`, unless another column shows more. Learns contracts and the catalogue, no data.
"""

from collections.abc import Mapping
from typing import Any

from policies.contract import Column
from policies.law.catalogue import Catalogue
from policies.law.tables import Category
from policies.views import Cut

Masks = Mapping[str, Cut]


def column_facts(
    columns: Mapping[str, Column], masks: Masks, said: Mapping[str, Any], catalogue: Catalogue
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The fields of `columns` as they are shown under `masks`, and the facts that classes and cuts make true.

    What the controller has `said` of a fact stands, unless it is what the field is when it is not masked. Raises
    InvalidInput for a field that the catalogue does not have.
    """
    shown = {name: column for name, column in columns.items() if name not in masks or masks[name].form != "nothing"}
    fields = {
        name: catalogue.category(column.category) for name, column in shown.items() if column.category is not None
    }
    facts = {
        fact: value for column in shown.values() for fact, value in raised_by_class(column, catalogue).items()
    } | _of_cuts(fields, masks, said)
    return tuple(sorted({column.category for column in shown.values() if column.category is not None})), facts


def raised_by_class(column: Column, catalogue: Catalogue) -> Mapping[str, Any]:
    """The facts that a column's class makes true."""
    known = catalogue.common.classes.get(column.data_class)
    return known.raises if known is not None else {}


def _of_cuts(fields: Mapping[str, Category], masks: Masks, said: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of fields that every column which speaks of them shows cut alike."""
    whole: dict[str, set[Any]] = {}
    left: dict[str, set[Any]] = {}
    for name, field in fields.items():
        cut = _left_of(field, masks.get(name))
        for fact, value in field.raises.items():
            whole.setdefault(fact, set()).add(value)
            left.setdefault(fact, set()).add(cut.get(fact, value))
    return {
        fact: next(iter(values))
        for fact, values in left.items()
        if len(values) == 1 and values != whole[fact] and (fact not in said or said[fact] in whole[fact])
    }


def _left_of(field: Category, mask: Cut | None) -> Mapping[str, Any]:
    """The facts of a field that are otherwise under its mask."""
    return next((row.raises for row in field.masked if mask is not None and mask.within(row)), {})
