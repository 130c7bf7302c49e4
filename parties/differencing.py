"""Exact answers of a party: each is remembered, and none is given that would tell of a few rows beside an earlier one.

Who learns what: nobody here; questions and what was released of them stay sealed under the node's key, and the
comparison runs in the owner's own engine. Who is refused learns that two questions are too close at some party.
What the rule is and why every party may decide alone is said in `policies.query.differing`. The same question may be
asked again, unless the rows have changed by a few meanwhile, or a few parties have: then the two answers would tell of
those. Questions are compared when they are over the same tables of this party. What is too fine or too much to be
compared is refused.
"""

import base64
import hashlib
import json
import threading
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compliance.budget import BudgetLedger
from inbond.node import Node
from parties.catalogue import Catalogue
from parties.connectors.base import DataError, Limits, Relation, run_pushdown
from parties.connectors.pushdown import Pushdown
from parties.job_context import JobContext
from parties.sources import identity
from parties.withheld import Withholding
from policies.contract import ColumnType
from policies.query.comparing import ROWS, Count, Question, comparison, question_of
from policies.query.compiled import Compiled, Side
from policies.query.differing import Hidden, Released, Table, TooMuch, close_pairs, differ_by_few
from policies.verdict import RefusedError

MOST_COMPARED = 256  # different exact releases over the same tables; above, only noise or what was asked before
MOST_SIGNATURES = 2**18
MIB = 1024 * 1024
_PLAIN = ("sql", "parameters", "outputs", "groups", "first", "stop", "axes")  # fields of a question, as JSON has them
_LAWFUL = "ask with noise (--epsilon), or ask the earlier question again"


@dataclass(frozen=True)
class Remembered:
    """An exact release: what was asked, of which `columns` (of each table) and `parties`, and what came out.

    `table` is this party's own part where the release is a sum of such parts, else None.
    """

    released: Released
    columns: tuple[dict[str, ColumnType], ...]
    parties: tuple[str, ...]
    table: Table | None


class ExactReleases:
    """Decides on this party's exact releases."""

    def __init__(self, node: Node, catalogue: Catalogue, budget: BudgetLedger) -> None:
        self._node, self._catalogue, self._budget = node, catalogue, budget
        self._withholding = Withholding(node)
        self._one = threading.Lock()

    def admit(
        self, context: JobContext, query: Compiled, own: Side, joint: tuple[Table, Hidden], table: Table | None
    ) -> None:
        """Remember an exact release durably, before anything leaves; `joint` are its counts and what is hidden of them.

        Raises RefusedError where it would tell of a few rows beside an earlier one.
        """
        datasets = [dataset for _, (dataset, _) in sorted(own.fragment.relations.items())]
        scope = self._scope(datasets)
        new = self._asked(context, query, own, joint, table)
        packed = pack(new)
        key = hashlib.sha256(packed).hexdigest()
        with self._one:
            if self._budget.kept(scope, key) is not None:
                return
            earlier = [self._opened(one, scope) for one in self._budget.all_kept(scope, MOST_COMPARED + 1)]
            if len(earlier) > MOST_COMPARED and not any(_same_question(new, one) for one in earlier):
                raise _refused(context, f"these tables have answered {MOST_COMPARED} exact questions")
            self._compare(context, datasets, new, earlier[:MOST_COMPARED])
            self._budget.keep(scope, key, self._node.keystore.encrypt(packed, scope))

    def _scope(self, datasets: list[str]) -> str:
        sources = [identity(self._catalogue.contracts[name].source, self._node.home) for name in datasets]
        return f"exact/{hashlib.sha256(' '.join(sources).encode()).hexdigest()}"

    def _opened(self, sealed: bytes, scope: str) -> Remembered:
        return unpack(self._node.keystore.decrypt(sealed, scope))

    def _asked(
        self, context: JobContext, query: Compiled, own: Side, joint: tuple[Table, Hidden], table: Table | None
    ) -> Remembered:
        columns = tuple(
            {name: self._catalogue.contracts[dataset].columns[name].type for name in names}
            for _, (dataset, names) in sorted(own.fragment.relations.items())
        )
        parties = tuple(sorted(one.name for one in context.plan.participants))
        return Remembered(Released(question_of(query, own), *joint), columns, parties, table)

    def _compare(self, context: JobContext, datasets: list[str], new: Remembered, earlier: list[Remembered]) -> None:
        minimum = context.plan.minimum_group
        for old in earlier:
            if _same_question(new, old):
                if few_parties(new, old, context.plan.minimum_parties):
                    raise _refused(context, "the same was answered over a few parties more or less")
                if changed_by_few(new, old, minimum):
                    raise _refused(context, f"fewer than {minimum} rows have changed since the same was answered")
                continue
            try:
                few = self._differ(context, datasets, new, old, minimum)
            except (TooMuch, DataError):
                raise _refused(context, "this and an earlier answer are too fine to be compared") from None
            if few:
                told = f"this answer and an earlier one would differ by fewer than {minimum} rows"
                raise _refused(context, told)

    def _differ(self, context: JobContext, datasets: list[str], new: Remembered, old: Remembered, minimum: int) -> bool:
        pairs = close_pairs(new.released, old.released, minimum)
        if not pairs:
            return False
        fragment = comparison(new.released.question, old.released.question)
        columns = [{**theirs, **ours} for ours, theirs in zip(new.columns, old.columns, strict=True)]
        held = self._catalogue.contracts
        relations = {
            f"t{index}": Relation(
                held[name].source,
                columns[index],
                self._withholding.view_of(held[name], context.asker, context.bound(name)),
            )
            for index, name in enumerate(datasets)
        }
        limits = Limits(seconds=context.step_seconds, rows=MOST_SIGNATURES, memory_mib=context.memory_mib)
        push = Pushdown(fragment.sql, fragment.parameters, fragment.outputs)
        found = run_pushdown(relations, push, self._node.home, limits)
        rows = {name: found[name].to_numpy() if name == ROWS else found[name].to_pylist() for name in fragment.outputs}
        return differ_by_few(new.released, old.released, pairs, rows, minimum)


def few_parties(new: Remembered, old: Remembered, minimum: int) -> bool:
    """Whether the sums of one question are over parties of which 1 to minimum - 1 are in one of them alone.

    A join with another counterpart is another sum, not a part of this one.
    """
    return new.table is not None and 0 < len(set(new.parties) ^ set(old.parties)) < minimum


def changed_by_few(new: Remembered, old: Remembered, minimum: int) -> bool:
    """Whether a set that both answers to one question release has changed by few rows, as far as counts can say."""
    if new.parties != old.parties:
        return False
    both = ~new.released.hidden & ~old.released.hidden
    apart = np.abs(new.released.counts - old.released.counts)
    changed = apart > 0
    if new.table is not None and old.table is not None:
        changed |= (new.table != old.table).any(axis=1)[:, None]
    return bool((both & changed & (apart < minimum)).any())


def _same_question(new: Remembered, old: Remembered) -> bool:
    return new.released.question == old.released.question


def _refused(context: JobContext, what: str) -> RefusedError:
    return RefusedError(f"{what}; {_LAWFUL}", where=context.job, right=_LAWFUL)


def pack(one: Remembered) -> bytes:
    """A release as it is kept, before it is sealed."""
    question = one.released.question
    data: dict[str, Any] = {
        **{name: getattr(question, name) for name in _PLAIN},
        "counts": [[count.source, count.axis, count.first, count.stop] for count in question.counts],
        "columns": one.columns,
        "parties": one.parties,
        "arrays": [_text(array) for array in (one.released.counts, one.released.hidden, one.table)],
    }
    return json.dumps(data).encode()


def unpack(packed: bytes) -> Remembered:
    """What `pack` made."""
    data = json.loads(packed)
    question = Question(
        sql=data["sql"],
        parameters=data["parameters"],
        outputs=data["outputs"],
        groups=tuple((text, tuple(cells)) for text, cells in data["groups"]),
        first=data["first"],
        stop=data["stop"],
        counts=tuple(Count(*count) for count in data["counts"]),
        axes={name: (text, tuple(labels)) for name, (text, labels) in data["axes"].items()},
    )
    counts, hidden, table = map(_array, data["arrays"])
    assert counts is not None and hidden is not None  # noqa: S101, PT018 - only the table may be missing
    columns = tuple({name: ColumnType(kind) for name, kind in one.items()} for one in data["columns"])
    return Remembered(Released(question, counts, hidden.astype(np.bool_)), columns, tuple(data["parties"]), table)


def _text(array: NDArray[Any] | None) -> list[Any] | None:
    if array is None:
        return None
    packed = zlib.compress(np.ascontiguousarray(array, np.int64).tobytes())
    return [list(array.shape), base64.b64encode(packed).decode()]


def _array(kept: list[Any] | None) -> Table | None:
    if kept is None:
        return None
    return np.frombuffer(zlib.decompress(base64.b64decode(kept[1])), np.int64).reshape(kept[0])
