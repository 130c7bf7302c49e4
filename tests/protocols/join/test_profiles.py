"""Lists of the hidden engine: one for each different set of rows of a key, and back from lists to rows."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.join.profiles import profiles
from protocols.join.table import Table
from tests.protocols.join.pairs import HIDDEN, items

TERMS = replace(HIDDEN, groups=4)
ROWS = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 3), st.integers(-2, 2)), max_size=40, unique_by=lambda row: row[:2]
)


def table_of(rows: list[tuple[int, int, int]]) -> Table:
    numbers = np.array(rows, np.int64).reshape(-1, 3)
    left = np.stack([numbers[:, 2], numbers[:, 2] ** 2], axis=1)
    return Table.of(TERMS, items(numbers[:, 0]), numbers[:, 1], left)


@settings(deadline=None)
@given(ROWS, st.integers(1, 3))
def test_lists_are_the_different_sets_of_rows(rows: list[tuple[int, int, int]], minimum: int) -> None:
    """Against sets in plain Python: the same partition of the keys, and the rows of each list."""
    by_key: dict[int, set[tuple[int, int]]] = {}
    for key, group, weight in rows:
        by_key.setdefault(key, set()).add((group, weight))
    members: dict[frozenset[tuple[int, int]], set[int]] = {}
    for key, held in by_key.items():
        members.setdefault(frozenset(held), set()).add(key)
    kept = {held: keys for held, keys in members.items() if len(keys) >= minimum}

    found = profiles(table_of(rows), minimum)
    assert found.count == len(kept)
    for number in range(found.count):
        own = {int(found.keys[i].as_py().split()[1]) for i in np.flatnonzero(found.of == number)}
        part = slice(int(found.first[number]), int(found.last[number]))
        rows_held = frozenset(zip(found.groups[part].tolist(), found.weights[part, 0].tolist(), strict=True))
        assert kept[rows_held] == own
    short = {group for held, keys in members.items() if len(keys) < minimum for group, _ in held}
    assert found.left_out == short


def test_entries_are_the_rows_of_the_list_at_each_position() -> None:
    found = profiles(table_of([(0, 0, 1), (1, 1, 2), (1, 3, -1), (2, 0, 1)]), 1)
    of = {key: int(number) for key, number in zip(found.keys.to_pylist(), found.of, strict=True)}
    one, two = of[b"item 0"], of[b"item 1"]
    assert of[b"item 2"] == one
    entries = found.entries(np.array([-1, two, one, -1, two]))
    assert entries.positions.tolist() == [1, 1, 2, 4, 4]
    assert entries.groups.tolist() == [1, 3, 0, 1, 3]
    assert entries.weights.tolist() == [[2, 4], [-1, 1], [1, 1], [2, 4], [-1, 1]]
