"""What parties and researcher must agree on in a joint query: the compiled query, and the sum that is released.

Each of them compiles the order's SQL against the contracts that the plan binds; who holds which table is the plan's.
"""

import hashlib
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from inbond.roster import Roster
from policies.contract import PublishedContract
from policies.errors import InvalidInput
from policies.job import JobSpec
from policies.plan import JoinPlan, Plan
from policies.query.compiled import Compiled
from policies.query.compiling import compile_query
from policies.query.reading import parse
from policies.query.scope import Offer
from protocols.join.shares import open_table
from protocols.join.terms import MODULI
from protocols.params import PUBLIC_4096
from protocols.secure_sum import SumSpec

Table = NDArray[np.int64]
Hidden = NDArray[np.bool_]


def moduli_of(join: JoinPlan | None) -> tuple[int, ...]:
    """What the parties' shares of a joined table are reduced by; none for one side, whose numbers are as they are."""
    return MODULI[: 2 if join.wide else 1] if join is not None else ()


def table_shape(query: Compiled, join: JoinPlan | None) -> tuple[int, int, int]:
    """Shape of what a party adds to the joint table: (moduli or 1, groups, slots)."""
    return max(1, len(moduli_of(join))), *query.shape


def joint_numbers(query: Compiled, join: JoinPlan | None, totals: Table) -> Table:
    """(groups, columns) of the joint table from the parties' sums (moduli or 1, groups, columns), flat or not.

    Raises PeerViolation for shares that add up to no number of the table.
    """
    moduli, groups = moduli_of(join), query.shape[0]
    parts = totals.reshape(max(1, len(moduli)), groups, -1)
    return open_table(parts.astype(np.uint64), moduli) if moduli else parts[0]


def planned_query(spec: JobSpec, plan: Plan, contracts: Mapping[str, PublishedContract]) -> Compiled:
    """The query of a job over the tables of its plan; `contracts` gives one of each dataset. Raises InvalidInput."""
    if spec.sql is None:
        raise InvalidInput("the job has no SQL", where=f"job: {spec.name}", right="a job of kind query")
    owners: dict[str, list[str]] = {}
    for participant in plan.participants:
        for table in participant.tables:
            owners.setdefault(table.dataset, []).append(participant.name)
    catalogue = {name: Offer(contracts[name], tuple(held)) for name, held in owners.items() if name in contracts}
    query = parse(spec.sql, "job: sql", spec.parameters)
    return compile_query(query, catalogue, noised=plan.noise.mechanism != "none")


def release_spec(query: Compiled, job: str, plan: Plan, roster: Roster, hidden: NDArray[np.bool_]) -> SumSpec:
    """The sum that is released under the researcher's key, bound to which cells are `hidden`."""
    return SumSpec(
        job=job,
        plan_digest=bytes.fromhex(plan.digest()),
        step="release",
        round=0,
        attempt=0,
        parties=roster.names,
        keys=dict(roster.keys),
        reals=0,
        clip=1.0,
        exact=math.prod(table_shape(query, plan.join)),
        params=PUBLIC_4096.name,
        context=hashlib.sha256(query.agreed() + hidden.tobytes()).digest(),
    )
