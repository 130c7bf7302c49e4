"""Under which masks and row rules a job reads this party's tables: duties of the permit, told in its verdict.

Everybody who reads the verdict learns which columns are shown how, by the contract or by which obligation of the law.
"""

from collections.abc import Sequence
from dataclasses import replace

from parties.lawfulness import Lawful
from policies.contract import DataContract
from policies.law.binding import Bound
from policies.law.transfers import columns_used
from policies.plan import Plan
from policies.request import Decision, Obligation, ObligationKind
from policies.views import Asker, Cut, Views, stacked


def shown(decision: Decision, plan: Plan, own: Sequence[DataContract], asker: Asker, lawful: Lawful) -> Decision:
    """The permit with the masks and row rules under which the plan's columns are read; a refusal as it is."""
    if not decision.permitted:
        return decision
    duties: list[Obligation] = []
    for contract in own:
        views, bound = contract.views or Views(), lawful.bound.get(contract.dataset, {})
        masks = stacked(views.masks_for(asker), {name: one.cut for name, one in bound.items()})
        used = columns_used(plan, contract)
        duties += [_masked(name, mask, bound.get(name)) for name, mask in masks.items() if name in used]
        rules = views.rows_for(asker)
        duties += [Obligation(ObligationKind.ROWS, (("column", one.column), ("told", one.told))) for one in rules]
    return replace(decision, obligations=(*decision.obligations, *dict.fromkeys(duties)))


def _masked(column: str, mask: Cut, bound: Bound | None) -> Obligation:
    """The duty to show a column as `mask`, and by which of the law's obligations where it asks for that."""
    told = mask.told_of(column)
    if bound is None:
        return Obligation(ObligationKind.MASK, (("column", column), ("told", told)))
    by = ", ".join(bound.by)
    return Obligation(ObligationKind.MASK, (("column", column), ("told", f"{told}, by {by}"), ("by", by)))
