"""Which columns could be left out of a job together: a lever that only the job itself knows.

One field's columns at a time, and all columns that make the same fact true: where two tell of health, it is no help to
leave out one. A training reads what its recipe reads, so nothing can be left out of it. Learns plans and contracts, no
data.
"""

from policies.contract import PublishedContract
from policies.law.catalogue import Catalogue
from policies.law.columns import raised_by_class
from policies.law.transfers import columns_used
from policies.plan import Plan


def ways_to_leave_out(plan: Plan, contract: PublishedContract, catalogue: Catalogue) -> dict[str, frozenset[str]]:
    """Sets of columns of the contract's table that the plan reads, by how a person would say it, smallest first."""
    if plan.kind == "train":
        return {}
    alike: dict[str, set[str]] = {}
    for name, column in columns_used(plan, contract).items():
        if column.category is None:
            continue
        raised = {**catalogue.category(column.category).raises, **raised_by_class(column, catalogue)}
        for key in (f"field {column.category}", *raised):
            alike.setdefault(key, set()).add(name)
    sets = sorted({frozenset(names) for names in alike.values()}, key=lambda names: (len(names), sorted(names)))
    return {_said(sorted(names)): names for names in sets}


def _said(names: list[str]) -> str:
    return f"leaving out {', '.join(f'`{name}`' for name in names)}"
