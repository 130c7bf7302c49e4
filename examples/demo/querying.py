"""Chapters 4 and 5: joint queries, exact and noised, checked against the plain answer; and one that is refused."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from compliance.budget import BudgetLedger
from examples.demo.show import Show
from examples.members import ABROAD, example_job
from inbond.answers import Answer
from inbond.errors import Refused
from policies.job import JobSpec

PRIVACY_UNIT = 200  # rows per customer that the contracts of order_payments promise at most
FIRMS = ("p1", "p2", "p3")
MERCHANTS = ("m1", "m2")


def answer_queries(show: Show) -> None:
    """Chapter 4: four questions over several parties' tables."""
    show.stage.chapter(
        "One question over three firms' payments, answered to the cent",
        "The parties' group vectors are masked, encrypted under the researcher's key and added by the coordinator; "
        "only the researcher opens the sum. Groups of fewer than 10 rows are never released.",
    )
    _exact(show, example_job("payments_by_country"), FIRMS)
    show.stage.say("The same over two merchants, which is lawful here only because both contracts allow a sum of two:")
    _exact(show, example_job("orders_by_country"), MERCHANTS)
    show.stage.say(
        "The two together, joined on the order id: the merchants know the amount, the firms how it was paid. One side "
        "learns which of its own orders the other has, as the contracts grant; neither sees amounts or methods of the "
        "other. p3 is left out: the merchants' contracts let nothing become readable in Singapore."
    )
    _exact(show, example_job("sales_by_method"), (*MERCHANTS, *FIRMS[:2]))
    _noised(show, example_job("methods_noised"))


def _exact(show: Show, spec: JobSpec, parties: Sequence[str]) -> None:
    show.stage.say(str(spec.sql))
    answer = show.answered(spec)
    show.stage.table(answer.columns, ([_shown(row[name]) for name in answer.columns] for row in answer.rows))
    if answer.suppressed:
        show.stage.say(f"{answer.suppressed} groups are absent or have fewer than {answer.plan.minimum_group} rows.")
    plain = plain_answer(show.tables, spec, parties, minimum=answer.plan.minimum_group)
    ours = sorted(tuple(row[name] for name in answer.columns) for row in answer.rows)
    what = f"equal, to the cent, to DuckDB's plain answer over the tables of {', '.join(parties)}"
    show.stage.check(f"{what} (the demo owns this machine and may read them all)", holds=ours == plain)


def plain_answer(tables: Path, spec: JobSpec, parties: Sequence[str], minimum: int) -> list[tuple[Any, ...]]:
    """The job's SQL over all rows of all `parties` in one place, groups of fewer than `minimum` rows left out; sorted.

    This is what nobody in a real consortium can compute.
    """
    files = [path for party in parties for path in sorted((tables / party).glob("*.parquet"))]
    with duckdb.connect() as base:
        for dataset in sorted({path.stem for path in files}):
            base.read_parquet([str(path) for path in files if path.stem == dataset]).create_view(dataset)
        return sorted(base.execute(f"{spec.sql} HAVING COUNT(*) >= {minimum}").fetchall())


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,.2f}" if isinstance(value, Decimal | float) else f"{value:,}" if isinstance(value, int) else value


def _noised(show: Show, spec: JobSpec) -> None:
    """A query with noise, next to the plain answer, and what it cost every firm."""
    epsilon = spec.privacy.epsilon or 0.0
    show.stage.say(
        f"And one with Laplace noise of epsilon {epsilon:g}, drawn by each firm before anybody can open the sum: a "
        f"customer with up to {PRIVACY_UNIT} payments shall not be noticed, so the noise is in the hundreds."
    )
    before = _spent(show, spec.dataset)
    answer = show.answered(spec)
    plain = dict(plain_answer(show.tables, spec, FIRMS, minimum=1))
    rows = [(row["method"], row["payments"], plain[row["method"]]) for row in answer.rows]
    show.stage.table(("method", "released", "true, for this demo only"), rows)
    show.stage.check("the released counts are near the true ones, not equal", holds=_near(answer, plain, epsilon))
    charged = {party: spent - before[party] for party, spent in _spent(show, spec.dataset).items()}
    words = ", ".join(f"{party} {value:g}" for party, value in charged.items())
    show.stage.check(
        f"each firm's ledger was charged before release: epsilon {words}, of 10 each",
        holds=set(charged.values()) == {Decimal(repr(epsilon))},
    )


def _near(answer: Answer, plain: dict[str, int], epsilon: float) -> bool:
    """Whether the noise is there, and within 25 times the Laplace scale (beyond that in one run of billions)."""
    errors = [abs(row["payments"] - plain[row["method"]]) for row in answer.rows]
    return bool(errors) and any(errors) and max(errors) < 25 * PRIVACY_UNIT / epsilon


def _spent(show: Show, dataset: str) -> dict[str, Decimal]:
    """Each firm's spent epsilon, from its own ledger."""
    found = {}
    for party in FIRMS:
        with BudgetLedger.read_only(show.consortium.home(party) / "budget.db") as ledger:
            found[party] = ledger.account(dataset).spent.epsilon
    return found


def refuse(show: Show) -> None:
    """Chapter 5: the same question for a reader in a country to which the law lets two firms send nothing."""
    show.stage.chapter(
        "The same question for a reader in the United States is refused",
        "A member asks whom the authority attests to be there. All three contracts allow it. The exporter's law "
        "decides too: each firm judges every transfer of the plan by "
        "the regimes that apply and its own records of evidence. A refusal names rules, articles, and what would be "
        "lawful; nothing ran. The Singaporean firm, whose contract binds the reader, permits it.",
    )
    spec = example_job("refused")
    try:
        with show.consortium.researcher(ABROAD) as abroad:
            replace(show, researcher=abroad).answered(spec)
    except Refused as refusal:
        reasons = refusal.what.split(" | ")
        for reason in reasons:
            show.stage.say(reason)
        named = all(
            any(f"{party}: Refused" in reason and rule in reason and "lawful: with" in reason for reason in reasons)
            for party, rule in (("p1", "UK GDPR 44"), ("p2", " GDPR 44"))
        )
        show.stage.check("refused under UK GDPR and GDPR, with articles and the lawful way", holds=named)
    else:
        show.stage.check("refused under UK GDPR and GDPR", holds=False)
