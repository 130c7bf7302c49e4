"""Whether the answers to two exact questions over the same tables tell of a few rows by their difference.

Who learns what: nobody; an owner computes it on its own rows. A question releases sums over sets of rows: those of
each group, of each count, and of the margins that released groups add up to. Two released sets that differ by 1 to
minimum - 1 rows would give the sums of these rows away. Where the joint sets differ by so few, so do every owner's
parts of them, and somebody's do differ: it is enough that every owner looks at its own rows (and refuses).

Pairs of sets whose joint counts are far apart, or that exclude each other by their groups or ranges, are safe without a
look at the rows. Of more than two questions together nothing is said: they are what noise is for.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.query.comparing import ROWS, Question, apart
from policies.query.gathering import OUTSIDE, Values, added, group_places, numbers, places

Table = NDArray[np.int64]
Hidden = NDArray[np.bool_]
MAX_MARGINS = 4  # groupings above this have no margins but the whole
MAX_PAIRS = 2**22
MAX_WORK = 2**25  # cells of any array below


class TooMuch(Exception):
    """Two questions are too fine to be compared."""


# --- which sets were released ---


@dataclass(frozen=True)
class Released:
    """A question and what was released of it: joint `counts` (groups, counts), and which of them are `hidden`."""

    question: Question
    counts: Table
    hidden: Hidden


class _Sets(NamedTuple):
    """The sets of one count and one margin.

    `sizes` (sets,) joint counts; `cells` (sets, groupings) the position in each grouping, OUTSIDE for any; `own` (sets,
    own groups) which groups of this side's rows are in it.
    """

    slot: int
    sizes: Table
    cells: Table
    own: Hidden


def _all_sets(released: Released) -> Iterator[_Sets]:
    question = released.question
    where = _positions(question.shape)
    own = _ravelled(where[:, question.first : question.stop], question.own_shape)
    for kept in _margins(len(question.shape)):
        cells = np.where(np.isin(np.arange(len(question.shape)), kept), where, OUTSIDE)
        for index in range(len(question.counts)):
            shown = ~released.hidden[:, index] & (released.counts[:, index] > 0)
            if not shown.any():
                continue
            different, numbered = np.unique(cells[shown], axis=0, return_inverse=True)
            of = numbered.reshape(-1)
            sizes = np.bincount(of, released.counts[shown, index], len(different)).astype(np.int64)
            parts = np.zeros((len(different), int(np.prod(question.own_shape, dtype=np.int64))), np.bool_)
            parts[of, own[shown]] = True
            yield _Sets(index, sizes, different, parts)


def _positions(shape: tuple[int, ...]) -> Table:
    """(joint groups, groupings) where each joint group is in each grouping."""
    return (
        np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, len(shape))
        if shape
        else (np.zeros((1, 0), np.int64))
    )


def _ravelled(where: Table, shape: tuple[int, ...]) -> Table:
    found = np.zeros(len(where), np.int64)
    for index, size in enumerate(shape):
        found = found * size + where[:, index]
    return found


def _margins(groupings: int) -> list[tuple[int, ...]]:
    """The groupings that are kept apart in each margin; the first is all of them."""
    everything = tuple(range(groupings))
    if groupings > MAX_MARGINS:
        return [everything, ()]
    return [kept for size in range(groupings, -1, -1) for kept in itertools.combinations(everything, size)]


class _Pair(NamedTuple):
    """Sets of a new and an old count, and which of them (positions) could differ by few rows."""

    new: _Sets
    old: _Sets
    chosen: tuple[Table, Table]


def close_pairs(new: Released, old: Released, minimum: int) -> list[_Pair]:
    """The pairs of released sets that could differ by 1 to minimum - 1 rows; raises TooMuch above `MAX_PAIRS`."""
    if apart(new.question, old.question):
        return []
    found, total = [], 0
    olds = list(_all_sets(old))
    for ours in _all_sets(new):
        for theirs in olds:
            chosen = _close(ours.sizes, theirs.sizes, minimum)
            chosen = _not_excluded(new.question, old.question, ours, theirs, chosen)
            total += len(chosen[0])
            if total > MAX_PAIRS:
                raise TooMuch
            if len(chosen[0]):
                found.append(_Pair(ours, theirs, chosen))
    return found


def _close(ours: Table, theirs: Table, minimum: int) -> tuple[Table, Table]:
    """Positions (i, j) with joint counts less than `minimum` apart."""
    order = np.argsort(theirs, kind="stable")
    low = np.searchsorted(theirs[order], ours - minimum, side="right")
    high = np.searchsorted(theirs[order], ours + minimum, side="left")
    lengths = high - low
    if int(lengths.sum()) > MAX_PAIRS:
        raise TooMuch
    first = np.repeat(np.arange(len(ours)), lengths)
    starts = np.repeat(low - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
    return first, order[starts + np.arange(len(first))]


def _not_excluded(
    new: Question, old: Question, ours: _Sets, theirs: _Sets, chosen: tuple[Table, Table]
) -> tuple[Table, Table]:
    """Without the pairs that are in different cells of one expression."""
    first, second = chosen
    known = {text: (index, cells) for index, (text, cells) in enumerate(old.groups)}
    keep = np.ones(len(first), np.bool_)
    for index, (text, cells) in enumerate(new.groups):
        if text not in known:
            continue
        position, others = known[text]
        same = np.append(places(cells, others), OUTSIDE)[ours.cells[first, index]]
        theirs_at = theirs.cells[second, position]
        keep &= (same == theirs_at) | (ours.cells[first, index] == OUTSIDE) | (theirs_at == OUTSIDE)
    one, other = new.counts[ours.slot], old.counts[theirs.slot]
    if one.axis and other.axis and new.axes[one.axis] == old.axes[other.axis]:
        keep &= one.first < other.stop and other.first < one.stop
    return first[keep], second[keep]


# --- how many rows they differ by ---


def differ_by_few(
    new: Released, old: Released, pairs: Sequence[_Pair], found: Mapping[str, Values], minimum: int
) -> bool:
    """Whether sets of a pair differ by 1 to minimum - 1 of this owner's rows, by the comparison's result `found`.

    Raises TooMuch where that is too much work.
    """
    weights = numbers(found[ROWS])
    if len(weights) * len(pairs) > 16 * MAX_WORK:
        raise TooMuch
    ours = _Places.of(new.question, found, "n_", len(weights))
    theirs = _Places.of(old.question, found, "o_", len(weights))
    return any(_few(pair, ours, theirs, weights, minimum) for pair in pairs)


@dataclass(frozen=True)
class _Places:
    """Where each signature of rows is in a question: its own group, and within each count."""

    question: Question
    group: Table
    values: Mapping[str, Table]
    bins: Mapping[str, Table]

    @classmethod
    def of(cls, question: Question, found: Mapping[str, Values], prefix: str, rows: int) -> "_Places":
        own = question.groups[question.first : question.stop]
        cells = [found[f"{prefix}g_{index}"] for index in range(len(own))]
        sources = {count.source for count in question.counts}
        return cls(
            question,
            group_places(cells, [labels for _, labels in own], rows),
            {name: np.array([value or 0 for value in found[prefix + name]], np.int64) for name in sources},
            {name: places(found[prefix + name], labels) for name, (_, labels) in question.axes.items()},
        )

    def within(self, index: int) -> Table:
        """(signatures,) the own group of rows that a count counts, OUTSIDE for the others."""
        count = self.question.counts[index]
        inside = (self.group != OUTSIDE) & (self.values[count.source] > 0)
        if count.axis is not None:
            bins = self.bins[count.axis]
            inside &= (bins >= count.first) & (bins < count.stop)
        return np.where(inside, self.group, OUTSIDE)


def _few(pair: _Pair, ours: _Places, theirs: _Places, weights: Table, minimum: int) -> bool:
    first, mine = np.unique(pair.chosen[0], return_inverse=True)
    second, other = np.unique(pair.chosen[1], return_inverse=True)
    a, b = pair.new.own[first].astype(np.float64), pair.old.own[second].astype(np.float64)
    if max(len(first) * a.shape[1], len(mine)) * b.shape[1] > MAX_WORK:
        raise TooMuch
    in_a, in_b = ours.within(pair.new.slot), theirs.within(pair.old.slot)
    size_a, size_b = a @ added(weights, in_a, a.shape[1]), b @ added(weights, in_b, b.shape[1])
    both = np.where((in_a != OUTSIDE) & (in_b != OUTSIDE), in_a * b.shape[1] + in_b, OUTSIDE)
    shared = a @ added(weights, both, a.shape[1] * b.shape[1]).reshape(a.shape[1], -1)
    overlap = np.einsum("ij,ij->i", shared[mine], b[other])
    differ = size_a[mine] + size_b[other] - 2 * overlap
    return bool(((differ > 0) & (differ < minimum)).any())
