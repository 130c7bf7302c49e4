"""A join in parts between two merchants and two firms, real processes: the answer is that of one table."""

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from benchmarks.join_job import CENTS, CONTRACT, PURPOSE, SECTION, SQL, STARTED
from examples.consortium import Consortium, Member
from policies.plan import load_plan

Rows = NDArray[np.int64]
PUBLISHED = 600_000  # rows that contracts speak of: the plan has eight parts, of which most stay empty here
GROUPS, MOST = 20, 1000
ORDERS = {"m1": np.arange(0, 3000), "m2": np.arange(3000, 9000)}
PAYMENTS = {"p1": np.arange(1000, 5000), "p2": np.arange(5000, 12_000)}
MATCHED = np.arange(1000, 9000)


def member(root: Path, name: str, dataset: str, column: str, rows: Rows, values: dict[str, Rows]) -> Member:
    table = root / f"{name}.parquet"
    pq.write_table(pa.table({"order_id": pa.array(np.char.mod("order-%d", rows)), **values}), table)
    contract = CONTRACT.format(dataset=dataset, column=column, purpose=PURPOSE, size=PUBLISHED)
    texts = {f"{dataset}.yaml": contract.replace(f"path: {dataset}.parquet", f"path: {table.name}")}
    return Member(name, "GB", texts, {table.name: table})


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    root = tmp_path_factory.mktemp("parts")
    section, cents = SECTION.format(domain=list(range(GROUPS))), CENTS.format(most=MOST)
    members = [
        *(member(root, name, "orders", section, rows, {"section": rows % GROUPS}) for name, rows in ORDERS.items()),
        *(member(root, name, "payments", cents, rows, {"cents": cents_of(rows)}) for name, rows in PAYMENTS.items()),
        Member("rosa", "GB", user=True),
    ]
    return Consortium(root / "nodes", members)


def cents_of(rows: Rows) -> Rows:
    return rows * 7919 % (MOST + 1)


def test_two_merchants_and_two_firms_join_in_parts(market: Consortium) -> None:
    with market as consortium:
        consortium.make()
        consortium.start()
        time.sleep(STARTED)
        with consortium.researcher() as rosa:
            answer = rosa.query(SQL, purpose=PURPOSE, matching="fast")
            plan = load_plan(rosa.status(answer.job).plan)
    assert plan.join is not None
    assert plan.join.parts == 8
    found = sorted((int(row["section"]), int(row["n"]), int(row["cents"])) for row in answer.rows)
    counts = np.bincount(MATCHED % GROUPS, minlength=GROUPS)
    sums = np.bincount(MATCHED % GROUPS, cents_of(MATCHED), GROUPS)
    assert found == list(zip(range(GROUPS), counts.tolist(), sums.astype(int).tolist(), strict=True))
