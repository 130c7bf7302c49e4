"""A joint query at a party: aggregates over the tables of all owners together.

Who learns what: the parties learn the joint counts of every group (noised where noise is asked), because somebody
has to see that a group is large enough before its values are released, and the researcher must not see it first. The
researcher learns counts and sums of the groups that are large enough. Nobody learns one party's values.

Noise is drawn once, at the count step, and charged before anything leaves: the counts that the parties see and the
counts that are released are the same noised ones.
"""

import math
from collections.abc import Mapping

import numpy as np
from flwr.app import RecordDict

from inbond.joint_query import Hidden, Table, joint_numbers, planned_query, release_spec, table_shape
from parties.job_context import JobContext
from parties.secure_job import SecureJob
from policies.contract import PublishedContract
from policies.plan import PlanNoise
from protocols.errors import PeerViolation
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
    """The query steps: count, release.

    The kept table is (moduli, groups, slots): numbers as they are, or where two sides are joined this party's shares.
    """

    def __init__(self, context: JobContext) -> None:
        super().__init__(context)
        self.query = planned_query(context.order.spec, context.plan, context.contracts)
        self._shape, self._counts = table_shape(self.query, context.plan.join), list(self.query.counts)
        self.steps |= {"query.count": self._count, "query.release": self._release}

    def begin(self) -> None:
        """The processes of the later steps get ready."""
        self.shared_key.ready()
        if not self.context.plan.answered():
            self.owners_key.ready()

    def count_spec(self) -> SumSpec:
        """The sum of all group counts and of the groups that are left out, under the parties' own key."""
        moduli, groups, _ = self._shape
        exact, agreed = moduli * groups * len(self._counts) + groups, self.query.agreed()
        return self.session.spec("count", 0, reals=0, exact=exact, clip=1.0, params=SHARED_2048.name, context=agreed)

    def _count(self, round_: int, content: RecordDict) -> RecordDict:
        del round_
        self.prepare(content)
        counts = self._table()[..., self._counts].reshape(-1)
        return self.contribution(self.shared_key, self.count_spec(), np.concatenate([counts, self.left_out()]))

    def prepare(self, content: RecordDict) -> None:
        """Before the counts: confirm the roster, and make this party's table unless it is there from before a crash."""
        self.confirm(content)
        if self.context.vault.get("table") is None:
            self.keep(self._own_table())

    def keep(self, table: Table) -> None:
        """Put this party's table away until it is released."""
        self.context.vault.put("table", np.ascontiguousarray(table).tobytes())

    def left_out(self) -> Table:
        """(groups,) 1 for a group that this party could not count wholly, and which is thus not released."""
        return np.zeros(self._shape[1], np.int64)

    def _table(self) -> Table:
        kept = self.context.vault.get("table")
        if kept is None:
            raise PeerViolation("a step came before the table", where="query")
        return np.frombuffer(kept, np.int64).reshape(self._shape)

    def _own_table(self) -> Table:
        """This party's table of group values; noised, and charged first, where the plan says so."""
        table = self.query.table(self.context.run_fragment(self.context, self.query.sides[0].fragment))
        return table + self.noise(self.context.contracts, table)

    def noise(self, contracts: Mapping[str, PublishedContract], table: Table | None = None) -> Table:
        """(groups, slots) noise by this party's `contracts`, charged before it is drawn; zeros where none is due.

        `table` is this party's own part where the release is a sum of such parts: the same gets the same noise.
        """
        noise, (_, groups, slots) = self.context.plan.noise, self._shape
        self.context.note(groups=groups, epsilon=noise.epsilon if self.query.noised else 0)
        if not self.query.noised:
            return np.zeros((groups, slots), np.int64)

        def draw() -> Table:
            rows, drawn = self.rows_per_subject(contracts), np.zeros((groups, slots), np.int64)
            for index in range(slots):
                drawn[:, index] = self._slot_noise(index, rows).add(np.zeros(groups, np.int64))
            return drawn

        return self.context.releases.noise(self.context, self.query, table, draw)

    def rows_per_subject(self, contracts: Mapping[str, PublishedContract]) -> int:
        """The most (joined) rows of one subject: its rows in each table may meet those in every other."""
        return math.prod(one.max_rows_per_subject for one in contracts.values())

    def _slot_noise(self, index: int, rows: int) -> NoiseSpec:
        largest = self.query.slots[index].largest
        assert largest is not None  # noqa: S101 - a query for noise refuses a sum without bounds
        return noise_for(self.context.plan.noise, self.query.families, max(1, largest), rows)

    def _release(self, round_: int, content: RecordDict) -> RecordDict:
        del round_
        joint, hidden = self._hidden(self.shared_key.open(self.count_spec(), content).exact)
        if not self.query.noised:
            self._admit_exact(joint, hidden)
        spec = release_spec(self.query, self.context.job, self.context.plan, self.roster, hidden)
        reply = self.released(spec, np.where(hidden, 0, self._table()), hidden)
        reply["receipt"] = self.receipt(spec=spec.digest().hex())
        self.context.note(released_groups=int((~hidden).any(axis=1).sum()))
        return reply

    def released(self, spec: SumSpec, table: Table, hidden: Hidden) -> RecordDict:
        """This party's part of the released `table`, for those who read the answer; `hidden` cells are 0 in it."""
        del hidden
        return self.contribution(self.owners_key, spec, np.ascontiguousarray(table).reshape(-1))

    def _admit_exact(self, joint: Table, hidden: Hidden) -> None:
        """Refuse what would tell of a few rows beside an earlier exact answer."""
        sides = self.query.sides
        own = next(side for side in sides if len(sides) == 1 or self.context.me in side.owners)
        table = self._table()[0] if len(sides) == 1 else None
        counted = joint[:, self._counts], hidden[:, self._counts]
        self.context.exact.admit(self.context, self.query, own, counted, table)

    def _hidden(self, opened: Table) -> tuple[Table, Hidden]:
        """(groups, slots) the joint counts, and true where a cell may not be released by them."""
        groups = self._shape[1]
        counts, left_out = np.split(opened, [len(opened) - groups])
        joint = np.zeros(self._shape[1:], np.int64)
        joint[:, self._counts] = joint_numbers(self.query, self.context.plan.join, counts)
        hidden = self.query.suppressed(joint, self.context.plan.minimum_group)
        return joint, hidden | (left_out > 0)[:, None]
