"""Noised answers of a party: charged once, drawn once, and given again where the same is asked of the same rows.

Who learns what: nobody here; what is kept stays sealed under the node's key. Whoever asks the identical question (same
query, noise, minimum group, parties and contracts) gets this party's identical noise, so that asking again until the
noise averages out tells nothing new, and costs nothing. Where the rows have changed the noise must be new, or the
difference of two answers would be exact: that is a new release with a charge of its own. Whether a file was written
anew counts as a change, also with the same rows; of a server's table, what the question makes of it.

In a join across owners the other side may have changed its rows without our knowing: every job there is charged anew.
"""

import hashlib
import hmac
import json
import secrets
import threading
from collections.abc import Callable
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from compliance.audit.entry import EntryType
from compliance.budget import BudgetLedger, Reservation
from compliance.budget_curves import Loss
from inbond.errors import InbondError
from inbond.node import Node
from parties.answering import noise_for
from parties.catalogue import Catalogue
from parties.job_context import JobContext
from parties.sources import stamp
from policies.plan import Plan, PlanNoise
from policies.query.compiled import Compiled

Table = NDArray[np.int64]
SCOPE = "noise"
_MAC_KEY = "releases"


def loss_of(noise: PlanNoise, families: int) -> Loss:
    """What a release with `noise`, split over `families` of slots, costs by its mechanism."""
    epsilon, delta = Decimal(repr(noise.epsilon)), Decimal(repr(noise.delta))
    if noise.mechanism == "gaussian":
        return Loss.gaussian(epsilon, delta, families * noise_for(noise, families, 1, 1).rho(1))
    return Loss.pure(epsilon, families)


def answer_key(query: Compiled, plan: Plan) -> str:
    """What the ledger's keys of answers to this question begin with: everything but the state of the rows."""
    tables = [[one.name, [table.model_dump() for table in one.tables]] for one in plan.participants]
    asked = [query.agreed().hex(), plan.noise.model_dump(), plan.minimum_group, tables]
    return f"answer/{hashlib.sha256(json.dumps(asked).encode()).hexdigest()}/"


def check_budget(budget: BudgetLedger, query: Compiled, plan: Plan, dataset: str) -> None:
    """Raise InbondError where the ledger would refuse the release, and no earlier answer to it can be given again."""
    if budget.how_many(dataset, loss_of(plan.noise, query.families), 1):
        return
    if len(query.sides) == 1 and budget.reserved(answer_key(query, plan)):
        return
    raise InbondError(
        f"the query costs epsilon {plan.noise.epsilon}, {budget.remaining(dataset).epsilon} is left",
        right="a smaller epsilon, or ask the owner for a larger budget",
    )


class Releases:
    """Charges and remembers this party's noised releases."""

    def __init__(self, node: Node, catalogue: Catalogue, budget: BudgetLedger) -> None:
        self._node, self._catalogue, self._budget = node, catalogue, budget
        self._making = threading.Lock()

    def noise(self, context: JobContext, query: Compiled, table: Table | None, draw: Callable[[], Table]) -> Table:
        """Noise for one release, charged durably before it is drawn; `draw` makes it where it is not kept.

        `table` is all that the release tells of, None where others' rows decide on it too. Raises BudgetExceeded.
        """
        own = context.plan.participant(context.me)
        datasets = [one.dataset for one in own.tables] if own else []
        key = f"{context.job}/release"
        if table is not None:
            key = answer_key(query, context.plan) + self._state(table, datasets)
        charged = self._budget.reserve_release(key, datasets, loss_of(context.plan.noise, query.families), context.job)
        self._record(context, charged)
        noise = draw() if table is None else self._kept(key, draw)
        for one in charged:
            self._budget.commit(one.key)
        return noise

    def _kept(self, key: str, draw: Callable[[], Table]) -> Table:
        """The noise under `key`; kept durably before anybody sees it."""
        sealed = self._budget.kept(SCOPE, key)
        if sealed is None:
            noise = draw()
            made = json.dumps(noise.shape).encode() + b"\n" + np.ascontiguousarray(noise).tobytes()
            sealed = self._budget.keep(SCOPE, key, self._node.keystore.encrypt(made, key))
        shape, _, numbers = self._node.keystore.decrypt(sealed, key).partition(b"\n")
        return np.frombuffer(numbers, np.int64).reshape(json.loads(shape))

    def _state(self, table: Table, datasets: list[str]) -> str:
        """A keyed digest of the rows' state: it stands in the log, where it must tell nothing of them."""
        stamps = [stamp(self._catalogue.contracts[name].source, self._node.home) for name in datasets]
        told = json.dumps(stamps).encode() + b"\n" + np.ascontiguousarray(table).tobytes()
        return hmac.new(self._secret(), told, hashlib.sha256).hexdigest()

    def _secret(self) -> bytes:
        with self._making:
            if _MAC_KEY not in self._node.keystore.names():
                self._node.keystore.put(_MAC_KEY, secrets.token_bytes(32))
            return self._node.keystore.get(_MAC_KEY)

    def _record(self, context: JobContext, charged: list[Reservation]) -> None:
        for one in charged:
            data = {
                "dataset": one.dataset,
                "epsilon": str(one.cost.epsilon),
                "delta": str(one.cost.delta),
                "key": one.key,
                "charged": "now" if one.job == context.job else f"by job {one.job}",
            }
            self._node.record(EntryType.BUDGET, job=context.job, subject=context.order.iss, data=data)
        context.note(charged=any(one.job == context.job for one in charged))
