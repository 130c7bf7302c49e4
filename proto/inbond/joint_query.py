"""What parties and researcher must agree on in a joint query: the compiled query, and the sum that is released.

Each of them compiles the order's SQL against the contracts that the plan binds; who holds which table is the plan's.
"""

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from inbond.roster import Roster
from policies.contract import PublishedContract
from policies.errors import InvalidInput
from policies.job import JobSpec
from policies.plan import Plan
from policies.query.compiled import Compiled
from policies.query.compiling import compile_query
from policies.query.reading import parse
from policies.query.scope import Offer
from protocols.params import PUBLIC_4096
from protocols.secure_sum import SumSpec

Table = NDArray[np.int64]


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
    groups, slots = query.shape
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
        exact=groups * slots,
        params=PUBLIC_4096.name,
        context=hashlib.sha256(query.agreed() + hidden.tobytes()).digest(),
    )
