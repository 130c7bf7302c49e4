"""A small market as tables in DuckDB: three merchants and three payment firms, and joint queries over them.

A query is answered twice: by the owners' fragments, added up (for a join: multiplied over equal keys) without any
cryptography, and by plain DuckDB over all rows at once.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sqlglot import exp

from parties.connectors.base import ARROW_TYPES
from parties.connectors.pushdown import Pushdown, statement, typed_columns
from policies.contract import PublishedContract
from policies.query.compiled import Compiled, Keyed, Side
from policies.query.compiling import compile_query
from policies.query.reading import parse
from policies.query.scope import Offer

_OWNER = "any_owner"
MERCHANTS, FIRMS = ("m1", "m2", "m3"), ("f1", "f2", "f3")
DAYS = [f"2026-0{month}-{day:02d}" for month in (1, 2, 3) for day in (1, 2, 15)]
_KEY = {"as": "order-id", "counterparts": {"*": []}}


def _column(kind: str, **more: Any) -> dict[str, Any]:
    uses = ["aggregate", "filter", *(["group"] if "domain" in more else []), *(["join"] if "key" in more else [])]
    return {"type": kind, "class": "operational", "uses": uses, **more}


COLUMNS: dict[str, dict[str, dict[str, Any]]] = {
    "orders": {
        "order_id": _column("text", key=_KEY),
        "country": _column("text", domain=["DE", "FR", "NO", "ES"]),
        "amount": _column("money", bounds=[0, 500]),
        "items": _column("int", domain=[1, 2, 3, 5, 8], bounds=[0, 9]),
        "points": _column("int", bounds=[-20, 60]),
        "paid": _column("bool", domain=[True, False]),
        "day": _column("date", domain=DAYS),
        "seen": _column("datetime"),
        "customer": _column("text"),
        "weight": _column("float"),
    },
    "lines": {
        "order_id": _column("text", key=_KEY),
        "sku": _column("text", domain=["a", "b", "c"]),
        "price": _column("money", bounds=[0, 90]),
        "quantity": _column("int", bounds=[0, 6]),
    },
    "payments": {
        "order_ref": _column("text", key=_KEY),
        "method": _column("text", domain=["card", "bank", "cash"]),
        "fee": _column("money", bounds=[-5, 20]),
        "tries": _column("int", bounds=[0, 5]),
        "late": _column("bool", domain=[False, True]),
        "account": _column("text"),
    },
}
OWNERS = {"orders": MERCHANTS, "lines": MERCHANTS, "payments": FIRMS}


def contract(dataset: str) -> PublishedContract:
    """What all owners of `dataset` publish."""
    return PublishedContract.model_validate(
        {
            "dataset": dataset,
            "version": 1,
            "controller": "Anybody",
            "jurisdiction": "DE",
            "schema_name": f"{dataset}/1",
            "columns": COLUMNS[dataset],
            "purposes": ["dpv:FraudPreventionAndDetection"],
            "recipients": {"countries": ["DE"]},
            "expires": datetime(2030, 1, 1, tzinfo=UTC),
        }
    )


CONTRACTS = {dataset: contract(dataset) for dataset in COLUMNS}
CATALOGUE = {dataset: Offer(CONTRACTS[dataset], owners) for dataset, owners in OWNERS.items()}


def _values(kind: str, spec: Mapping[str, Any], size: int, rng: np.random.Generator) -> list[Any]:
    low, high = spec.get("bounds", (0, 1))
    start = datetime(2026, 1, 1)  # noqa: DTZ001 - a DATETIME has no zone
    listed = spec.get("domain", ["u", "v", "w", "x", "y"])
    made: dict[str, Callable[[], list[Any]]] = {
        "int": lambda: (
            rng.choice(listed, size).tolist() if "domain" in spec else rng.integers(low, high + 1, size).tolist()
        ),
        "money": lambda: [Decimal(int(one)).scaleb(-2) for one in rng.integers(low * 100, high * 100 + 1, size)],
        "bool": lambda: [bool(one) for one in rng.random(size) < 0.5],
        "float": lambda: [float(one) for one in rng.integers(0, 40, size) / 8],
        "datetime": lambda: [start + timedelta(minutes=int(one)) for one in rng.integers(0, 90 * 24 * 60, size)],
        "date": lambda: [datetime.fromisoformat(str(one)).date() for one in rng.choice(listed, size)],
        "text": lambda: [str(one) for one in rng.choice(listed, size)],
    }
    return made[kind]()


def _keys(owner: str, dataset: str, size: int, rng: np.random.Generator) -> list[str]:
    """Merchants' orders are theirs alone; firms hold payments of anybody's orders."""
    if dataset == "payments":
        return [f"{rng.choice(MERCHANTS)}-{rng.integers(0, 30)}" for _ in range(size)]
    return [f"{owner}-{rng.integers(0, 25)}" for _ in range(size)]


def _table(dataset: str, owner: str, size: int, rng: np.random.Generator) -> pa.Table:
    arrays = {}
    for name, spec in COLUMNS[dataset].items():
        values = _keys(owner, dataset, size, rng) if "key" in spec else _values(spec["type"], spec, size, rng)
        nulls = rng.random(size) < (0.0 if name == "items" else 0.1)
        values = [None if null else value for value, null in zip(values, nulls, strict=True)]
        arrays[name] = pa.array(values, ARROW_TYPES[CONTRACTS[dataset].columns[name].type])
    return pa.table(arrays)


@dataclass(frozen=True)
class Market:
    """All tables in one engine: `orders` of everybody, and `orders_m1` of one owner."""

    connection: duckdb.DuckDBPyConnection

    @classmethod
    def make(cls, seed: int = 7, size: int = 60) -> "Market":
        """Tables of about `size` rows for each owner."""
        rng, connection = np.random.default_rng(seed), duckdb.connect(":memory:")
        for dataset, owners in OWNERS.items():
            for owner in owners:
                view = _table(dataset, owner, int(rng.integers(size // 2, size)), rng)
                connection.register("view", view)
                connection.execute(f"CREATE TABLE {dataset}_{owner} AS SELECT * FROM view")
                connection.unregister("view")
            united = " UNION ALL ".join(f"SELECT * FROM {dataset}_{owner}" for owner in owners)
            connection.execute(f"CREATE TABLE {dataset} AS {united}")
        return cls(connection)

    def plain(self, sql: str) -> list[dict[str, Any]]:
        """What DuckDB says of all rows."""
        found: list[dict[str, Any]] = self.connection.sql(sql).to_arrow_table().to_pylist()
        return found

    def compiled(self, sql: str) -> Compiled:
        """The query over the market's contracts."""
        return compile_query(parse(sql), CATALOGUE)

    def run(self, side: Side) -> list[dict[str, list[Any]]]:
        """Every owner's result of the fragment, let through and run as connectors do it."""
        fragment = side.fragment
        push = Pushdown(fragment.sql, fragment.parameters, fragment.outputs)
        relations = {
            name: exp.select(
                *typed_columns({column: CONTRACTS[dataset].columns[column].type for column in columns})
            ).from_(f"{dataset}_{_OWNER}")
            for name, (dataset, columns) in fragment.relations.items()
        }
        tree = statement(push, relations, 10**6)
        used = {node.name for node in tree.find_all(exp.Placeholder)}
        given = {name: value for name, value in fragment.parameters.items() if name in used}
        sql = tree.sql("duckdb")
        return [_columns(self.connection.sql(sql.replace(_OWNER, one), params=given)) for one in side.owners]

    def joint(self, query: Compiled) -> NDArray[np.int64]:
        """The joint table, in the clear."""
        if len(query.sides) == 1:
            side = query.sides[0]
            return sum((query.table(found) for found in self.run(side)), np.zeros(query.shape, np.int64))
        left, right = ([side.keyed(found) for found in self.run(side)] for side in query.sides)
        sums = [_multiplied(query, a, b) for a, b in itertools.product(left, right)]
        return sum(sums, _distinct(query, left, right))

    def answer(self, sql: str, minimum: int = 1) -> list[dict[str, Any]]:
        """The answer of the joint query, without noise."""
        query = self.compiled(sql)
        table = self.joint(query)
        hidden = query.suppressed(table, minimum)
        released = np.where(hidden, 0, table)
        np.testing.assert_array_equal(query.suppressed(released, minimum), hidden)
        return query.rows(released, hidden)


def _columns(found: duckdb.DuckDBPyRelation) -> dict[str, list[Any]]:
    table = found.to_arrow_table()
    return {name: table[name].to_pylist() for name in table.column_names}


def _matches(left: Keyed, right: Keyed) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of every pair of rows with equal keys."""
    there: dict[tuple[Any, ...], list[int]] = {}
    for index, key in enumerate(zip(*right.keys, strict=True)):
        there.setdefault(key, []).append(index)
    pairs = [(i, j) for i, key in enumerate(zip(*left.keys, strict=True)) for j in there.get(key, ())]
    found = np.array(pairs, np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def _multiplied(query: Compiled, left: Keyed, right: Keyed) -> NDArray[np.int64]:
    mine, yours = _matches(left, right)
    group = left.groups[mine] * query.sides[1].size + right.groups[yours]
    table = np.zeros(query.shape, np.int64)
    for index, slot in enumerate(query.slots):
        if slot.columns[0] is not None and slot.columns[1] is not None:
            products = left.values[mine, slot.columns[0]] * right.values[yours, slot.columns[1]]
            np.add.at(table[:, index], group, products)
    return table


def _distinct(query: Compiled, left: list[Keyed], right: list[Keyed]) -> NDArray[np.int64]:
    table = np.zeros(query.shape, np.int64)
    for index, slot in enumerate(query.slots):
        if slot.distinct is None:
            continue
        side, name = slot.distinct
        output = query.sides[side].fragment.named("d_").index(name)
        seen: set[tuple[int, Any]] = set()
        for a, b in itertools.product(left, right):
            for i, j in zip(*_matches(a, b), strict=True):
                value = (a if side == 0 else b).distinct[output][i if side == 0 else j]
                if value is not None:
                    seen.add((int(a.groups[i]) * query.sides[1].size + int(b.groups[j]), value))
        for group, _ in seen:
            table[group, index] += 1
    return table
