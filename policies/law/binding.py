"""What obligations of permitted transfers do to the columns of a table: masked, or left out of the job.

The party's own connector carries it out, for the whole job and beside the contract's masks: of two on one column the
stricter holds. Everybody who reads the verdict learns which columns are shown how, and by which obligation. A job that
could not be answered so is refused with the rule and what to leave out. Learns plans and contracts, no data.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from policies.contract import Column, PublishedContract, Use
from policies.law.judging import Judged
from policies.law.law import Law
from policies.law.tables import Binding
from policies.law.transfers import columns_used
from policies.plan import Plan
from policies.request import Reason
from policies.views import NOTHING, Cut, fitting, stricter

Path = Callable[[str, str], str]
"""From a dataset and a column to the parts of the statement that read it, in words; empty where there is none."""
MATCHED = {Use.GROUP: ("grouped by", "group by another column"), Use.JOIN: ("joined by", "join by another key")}
"""Uses that compare a column's own values, which a mask does not keep, and what to do instead."""


@dataclass(frozen=True)
class Bound:
    """How the law shows a column, and the obligations that ask for it."""

    cut: Cut
    by: tuple[str, ...]


def bound_columns(found: Iterable[Judged], contract: PublishedContract) -> dict[str, Bound]:
    """The columns of the contract's table that obligations of its permitted transfers bind, used or not."""
    duties = _duties(found, contract.dataset)
    bound: dict[str, Bound] = {}
    for name, column in contract.columns.items():
        cuts = {code: _cut(one, column) for code, one in duties.items() if column.category in one.categories}
        if cuts:
            bound[name] = Bound(reduce(stricter, cuts.values()), tuple(cuts))
    return bound


def _duties(found: Iterable[Judged], dataset: str) -> dict[str, Binding]:
    """By its code, what each obligation of a permitted transfer of the table binds."""
    permitted = (one.decision for one in found if one.decision.permitted and one.transfer.dataset == dataset)
    return {duty.code: duty.binds for one in permitted for duty in one.obligations if duty.binds is not None}


def _cut(binds: Binding, column: Column) -> Cut:
    """What may be seen of a column: nothing, where its type has no such form."""
    return fitting(binds.cut, column.type)


def unanswerable(
    law: Law, found: Sequence[Judged], plan: Plan, contract: PublishedContract, masks: Mapping[str, Cut], path: Path
) -> Iterator[Reason]:
    """Why the plan cannot be carried out with its columns bound: a reason for each column and obligation.

    A column that no job may read is read, one that is masked is grouped or joined by, or a training needs one of which
    nothing is shown. What the contract's own `masks` show as nothing is not read.
    """
    duties, dataset = _duties(found, contract.dataset), contract.dataset
    read = {name: column for name, column in columns_used(plan, contract).items() if not _hidden(masks.get(name))}
    for name, column in read.items():
        for code, binds in duties.items():
            if column.category not in binds.categories:
                continue
            parts = path(dataset, name)
            against = _against(plan, dataset, name, column, binds, f"leave out {parts or f'`{name}`'}")
            if against is not None:
                rules, articles = _brought(law, found, dataset, code)
                about = f"column `{name}` of `{dataset}`" + (f", read by {parts}" if parts else "")
                yield Reason(f"{', '.join(rules)}: {code}", against[0], "; ".join(articles), against[1], about)


def _hidden(cut: Cut | None) -> bool:
    return cut is not None and cut.form == NOTHING.form


def _against(plan: Plan, dataset: str, name: str, column: Column, binds: Binding, leave: str) -> tuple[str, str] | None:
    """Why a column that is so bound cannot be used as planned, and what would do instead; None where it can."""
    another = "train with a recipe that does not read it" if plan.kind == "train" else leave
    if binds.drop is not None:
        return "the law lets no job read this column", another
    if plan.kind == "train":
        hidden = _hidden(_cut(binds, column))
        return ("the law shows nothing of a column that the recipe needs", another) if hidden else None
    uses = {use.use for use in plan.columns if (use.dataset, use.column) == (dataset, name)}
    for use, (done, instead) in MATCHED.items():
        if use in uses:
            return f"the law masks this column, and a masked column cannot be {done}", f"{instead}, or {another}"
    return None


def _brought(law: Law, found: Iterable[Judged], dataset: str, code: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The rules that bring the obligation to transfers of the table, and their articles."""
    both = [law.bringing(one.decision, code) for one in found if one.transfer.dataset == dataset]
    rules, articles = (dict.fromkeys(word for one in both for word in one[at]) for at in (0, 1))
    return tuple(rules), tuple(articles)
