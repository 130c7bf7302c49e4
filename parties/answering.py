"""A horizontal joint query at a party: SELECT groups, COUNT, SUM, AVG over tables of the same kind.

Who learns what: the parties learn the joint counts of every group (noised where noise is asked), because somebody
has to see that a group is large enough before its values are released, and the researcher must not see it first. The
researcher learns counts and sums of the groups that are large enough. Nobody learns one party's values.

Noise is drawn once, at the count step, and charged before anything leaves: the counts that the parties see and the
counts that are released are the same noised ones.
"""

import numpy as np
from flwr.app import RecordDict
from numpy.typing import NDArray

from inbond.joint_query import QueryLayout
from inbond.records import vector
from parties.job_context import JobContext
from parties.secure_job import SecureJob
from policies.plan import PlanNoise
from protocols.noise import NoiseSpec
from protocols.params import SHARED_2048
from protocols.secure_sum import SumSpec

Table = NDArray[np.int64]  # groups x columns


def noise_for(noise: PlanNoise, columns: int, maximum: int, rows_per_subject: int) -> NoiseSpec:
    """The noise of one column: the query's loss is split evenly over `columns` (basic composition).

    A subject adds at most `rows_per_subject` rows, each at most `maximum` in size, over all groups together: that
    is the L1 sensitivity of the column's vector of groups, and an upper bound of the L2 one.
    """
    sensitivity = maximum * rows_per_subject
    if noise.mechanism == "gaussian":
        return NoiseSpec.gaussian(sensitivity, noise.epsilon / columns, noise.delta / columns)
    return NoiseSpec.laplace(sensitivity, noise.epsilon / columns)


class QueryJob(SecureJob):
    """The query steps: count, release."""

    def __init__(self, context: JobContext) -> None:
        super().__init__(context)
        assert context.order.spec.sql is not None  # noqa: S101 - the order's validator says so
        self._noised = context.plan.noise.mechanism != "none"
        self._layout = QueryLayout.of(context.order.spec.sql, context.contract, noised=self._noised)
        self._columns, self._shape = self._layout.columns, self._layout.shape
        self.steps |= {"query.count": self._count, "query.release": self._release}

    def count_spec(self) -> SumSpec:
        """The sum of all group counts, under the parties' own key."""
        exact, agreed = self._shape[0] * len(self._layout.counts), self._layout.agreed()
        return self.session.spec("count", 0, reals=0, exact=exact, clip=1.0, params=SHARED_2048.name, context=agreed)

    def _count(self, round_: int, content: RecordDict) -> RecordDict:
        del round_
        self.confirm(content)
        kept = self.context.vault.get("table")
        if kept is None:
            kept = self._own_table().tobytes()
            self.context.vault.put("table", kept)
        table = np.frombuffer(kept, np.int64).reshape(self._shape)
        counts = np.ascontiguousarray(table[:, self._layout.counts]).reshape(-1)
        return self.contribution(self.shared_key, self.count_spec(), counts)

    def _own_table(self) -> Table:
        """This party's table of group values; noised, and charged first, where the plan says so."""
        table = vector(self.call("query.fragment", RecordDict()), "exact").reshape(self._shape).copy()
        if self._noised:
            noise = self.context.plan.noise
            self.context.charge(self.context, "release", noise.epsilon, noise.delta)
            for index in range(self._shape[1]):
                table[:, index] = self._column_noise(index).add(np.ascontiguousarray(table[:, index]))
        self.context.note(groups=self._shape[0], epsilon=self.context.plan.noise.epsilon if self._noised else 0)
        return table

    def _column_noise(self, index: int) -> NoiseSpec:
        rows, noise = self.context.contract.max_rows_per_subject, self.context.plan.noise
        return noise_for(noise, self._shape[1], self._largest(self._columns[index]), rows)

    def _largest(self, column: str) -> int:
        """The largest value that one row can add to a column: 1 for counts, the contract's bound for sums."""
        if not column.startswith("sum_"):
            return 1
        source = self._layout.query.aggregates[int(column.removeprefix("sum_"))].column
        bounds = self.context.contract.columns[str(source)].integer_bounds()
        assert bounds is not None  # noqa: S101 - the fragment for noise refuses a column without bounds
        return max(abs(bounds[0]), abs(bounds[1]))

    def _release(self, round_: int, content: RecordDict) -> RecordDict:
        del round_
        counts = self.shared_key.open(self.count_spec(), content).exact.reshape(self._shape[0], -1)
        joint = np.zeros(self._shape, np.int64)
        joint[:, self._layout.counts] = counts
        hidden = self._layout.suppressed(joint, self.context.plan.minimum_group)
        kept = self.context.vault.get("table")
        assert kept is not None  # noqa: S101 - the count sum could not have been opened without it
        table = np.where(hidden, 0, np.frombuffer(kept, np.int64).reshape(self._shape))
        spec = self._layout.release_spec(self.context.job, self.context.plan, self.roster, hidden)
        reply = self.contribution(self.owners_key, spec, np.ascontiguousarray(table).reshape(-1))
        reply["receipt"] = self.receipt(spec=spec.digest().hex())
        self.context.note(released_groups=int((~hidden).any(axis=1).sum()))
        return reply
