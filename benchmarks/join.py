"""Join and sum by group of two processes joined by a socket: COUNT(*) and SUM(amount), 20 groups, half the keys common.

The bare protocol: from identifiers, groups and amounts in memory to both sides' shares, which are then opened and
checked. No coordinator, seal, policy or audit: `bare` is what a whole job is to be compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.psi import SESSION, Figures, Ids, Link, Role, label, measure
from benchmarks.row import Row
from protocols.join.roles import AttributeSide, ValueSide
from protocols.join.shares import open_table
from protocols.join.terms import JoinTerms
from protocols.join.turns import Engine
from protocols.psi.items import I64

SIZES = (1_000_000,)
LARGEST_REPEATED = 100_000
PASSES = 3
GROUPS = 20
LARGEST_AMOUNT = 100_000  # a thousand euros in cents
NO_PEER = "no peer is installable that joins and sums by group without a third party"


@dataclass(frozen=True)
class Case:
    """An engine, its metric and the goal at a million rows a side."""

    engine: Engine
    metric: str
    goal: str


CASES = (Case("ot", "join_sum_s", "<= 15"), Case("ec-hidden", "join_hidden_s", "<= 210"))


def run(sizes: Sequence[int] | None = None) -> list[Row]:
    """Measure both engines for n by n rows for each n."""
    return [_row(case, size) for size in sizes or SIZES for case in CASES]


def bare(engine: Engine, size: int, counts: int = 1, parts: int = 1) -> Figures:
    """Seconds, bytes a row and peak memory (MB) of the bare protocol with `size` rows a side.

    The value side has `counts` columns of ones and one of amounts; mails are cut into `parts`.
    """
    return measure(partial(_roles, engine, counts, parts), size, PASSES if size <= LARGEST_REPEATED else 1)


def _row(case: Case, size: int) -> Row:
    figures, goal = bare(case.engine, size), case.goal if size == SIZES[0] else "none"
    note = f"{figures.bytes_each:.0f} bytes of messages a row, {figures.memory:.0f} MB resident at most"
    name = f"{case.metric}_{label(size)}_{GROUPS}g"
    return Row(name, "s", figures.seconds, NO_PEER, None, None, goal, note)


def _roles(engine: Engine, counts: int, parts: int, size: int) -> tuple[Role, Role]:
    terms = JoinTerms(
        SESSION,
        engine,
        GROUPS,
        tuple((0, column) for column in range(counts + 1)),
        left_limits=(1,),
        right_limits=(*[1] * counts, LARGEST_AMOUNT),
        largest=(size, size),
        parts=parts,
    )
    return partial(_attribute, terms), partial(_value, terms)


def _attribute(terms: JoinTerms, ids: Ids, link: Link) -> None:
    groups = np.arange(len(ids)) % terms.groups
    side = AttributeSide(terms, ids.tolist(), groups, np.ones((len(ids), 1), np.int64))
    _talk(side, terms.turns[0], link)
    theirs = np.frombuffer(link.receive(), np.uint64).reshape(terms.shape)
    table = open_table(side.shares + theirs, terms.moduli)
    if (table[:, [0, -1]] != expected(len(ids), terms.groups)).any():
        raise AssertionError("the table is wrong")


def _value(terms: JoinTerms, ids: Ids, link: Link) -> None:
    side = ValueSide(terms, ids.tolist(), _values(len(ids), terms.right))
    _talk(side, terms.turns[1], link)
    link.send(side.shares.reshape(-1))


def _talk(side: AttributeSide | ValueSide, waits: Sequence[int], link: Link) -> None:
    """All turns: each mail is sent with the number of its turn before it; the peer takes those that it waits for."""
    for number, wanted in enumerate(waits, 1):
        if wanted and int.from_bytes(link.receive()) != wanted:
            raise AssertionError("a mail nobody waits for")
        sent = side.step(number, link.receive() if wanted else None)
        if sent is not None:
            link.send(number.to_bytes(1))
            link.send(np.frombuffer(sent, np.uint8))


def _values(count: int, columns: int) -> I64:
    return np.column_stack([*[np.ones(count, np.int64)] * (columns - 1), amounts(count)])


def amounts(count: int) -> I64:
    """Of the value side's rows, whose first is row count // 2 of the attribute side."""
    return np.arange(count) * 7919 % (LARGEST_AMOUNT + 1)


def expected(count: int, groups: int) -> I64:
    """Rows and amounts of the common keys by group, in plain NumPy."""
    common = count - count // 2
    group = np.arange(count // 2, count) % groups
    sums = np.bincount(group, amounts(count)[:common], groups)
    return np.stack([np.bincount(group, minlength=groups), sums], axis=1).astype(np.int64)
