"""A horizontal joint query at a party: aggregates over the tables of all owners together.

Who learns what: the parties learn the joint counts of every group (noised where noise is asked), because somebody
has to see that a group is large enough before its values are released, and the researcher must not see it first. The
researcher learns counts and sums of the groups that are large enough. Nobody learns one party's values.

Noise is drawn once, at the count step, and charged before anything leaves: the counts that the parties see and the
counts that are released are the same noised ones.
"""

import math

import numpy as np
from flwr.app import RecordDict

from inbond.joint_query import Table, planned_query, release_spec
from parties.job_context import JobContext
from parties.secure_job import SecureJob
from policies.plan import PlanNoise
from protocols.noise import NoiseSpec
from protocols.params import SHARED_2048
from protocols.secure_sum import SumSpec


def noise_for(noise: PlanNoise, families: int, maximum: int, rows_per_subject: int) -> NoiseSpec:
    """The noise of one slot: the query's loss is split evenly over `families` of slots (basic composition).

    A subject adds at most `rows_per_subject` rows, each to one slot of a family and one group, at most `maximum` in
    size: that is the L1 sensitivity of the family's cells, and an upper bound of the L2 one.
    """
    sensitivity = maximum * rows_per_subject
    if noise.mechanism == "gaussian":
        return NoiseSpec.gaussian(sensitivity, noise.epsilon / families, noise.delta / families)
    return NoiseSpec.laplace(sensitivity, noise.epsilon / families)


class QueryJob(SecureJob):
    """The query steps: count, release."""

    def __init__(self, context: JobContext) -> None:
        super().__init__(context)
        self._query = planned_query(context.order.spec, context.plan, context.contracts)
        self._shape, self._counts = self._query.shape, list(self._query.counts)
        self.steps |= {"query.count": self._count, "query.release": self._release}

    def count_spec(self) -> SumSpec:
        """The sum of all group counts, under the parties' own key."""
        exact, agreed = self._shape[0] * len(self._counts), self._query.agreed()
        return self.session.spec("count", 0, reals=0, exact=exact, clip=1.0, params=SHARED_2048.name, context=agreed)

    def _count(self, round_: int, content: RecordDict) -> RecordDict:
        del round_
        self.confirm(content)
        kept = self.context.vault.get("table")
        if kept is None:
            kept = self._own_table().tobytes()
            self.context.vault.put("table", kept)
        table = np.frombuffer(kept, np.int64).reshape(self._shape)
        counts = np.ascontiguousarray(table[:, self._counts]).reshape(-1)
        return self.contribution(self.shared_key, self.count_spec(), counts)

    def _own_table(self) -> Table:
        """This party's table of group values; noised, and charged first, where the plan says so."""
        table = self._query.table(self.context.run_fragment(self.context, self._query.sides[0].fragment))
        noise = self.context.plan.noise
        if self._query.noised:
            self.context.charge(self.context, "release", noise.epsilon, noise.delta)
            for index in range(self._shape[1]):
                table[:, index] = self._slot_noise(index).add(np.ascontiguousarray(table[:, index]))
        self.context.note(groups=self._shape[0], epsilon=noise.epsilon if self._query.noised else 0)
        return table

    def _slot_noise(self, index: int) -> NoiseSpec:
        """Several tables of one owner are joined: a subject's rows in each may meet those in every other."""
        rows = math.prod(one.max_rows_per_subject for one in self.context.contracts.values())
        largest = self._query.slots[index].largest
        assert largest is not None  # noqa: S101 - a query for noise refuses a sum without bounds
        return noise_for(self.context.plan.noise, self._query.families, max(1, largest), rows)

    def _release(self, round_: int, content: RecordDict) -> RecordDict:
        del round_
        counts = self.shared_key.open(self.count_spec(), content).exact.reshape(self._shape[0], -1)
        joint = np.zeros(self._shape, np.int64)
        joint[:, self._counts] = counts
        hidden = self._query.suppressed(joint, self.context.plan.minimum_group)
        kept = self.context.vault.get("table")
        assert kept is not None  # noqa: S101 - the count sum could not have been opened without it
        table = np.where(hidden, 0, np.frombuffer(kept, np.int64).reshape(self._shape))
        spec = release_spec(self._query, self.context.job, self.context.plan, self.roster, hidden)
        reply = self.contribution(self.owners_key, spec, np.ascontiguousarray(table).reshape(-1))
        reply["receipt"] = self.receipt(spec=spec.digest().hex())
        self.context.note(released_groups=int((~hidden).any(axis=1).sum()))
        return reply
