"""A researcher's first steps in Python: look around, ask what a question would reveal, ask it, train a model.

    python -m examples.quickstart                    on a consortium of three payment firms, made for it
    python -m examples.quickstart --home ~/rosa      with your node in a consortium that runs

With a node of your own, the consortium needs parties that publish `payments` with the example contracts.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from examples.consortium import CommandFailed, Consortium
from examples.datasets import FIRMS, make_synthetic
from examples.members import example_job, members
from federation import Answer, Session, connect
from federation.client import TrainedModel
from inbond.errors import InbondError
from policies.errors import PolicyError

PURPOSE = "dpv:FraudPreventionAndDetection"
SQL = "SELECT customer_country, COUNT(*) AS payments, AVG(fraud) AS fraud_rate FROM payments GROUP BY customer_country"


def look_around(session: Session) -> None:
    """Who holds what, in which country, and for which purposes it may be used."""
    print("\nThe catalogue")
    for one in session.catalogue().values():
        for party, contract in one.owners.items():
            purposes = ", ".join(sorted(purpose.removeprefix("dpv:") for purpose in contract.purposes))
            print(f"  {party} ({one.countries[party]})  {one.name}: {purposes}")


def explain(session: Session) -> None:
    """Who would learn what, and every party's verdict, before anything runs."""
    explanation = session.explain(SQL, purpose=PURPOSE, minimum_parties=3)
    print("\nWho would learn what")
    for leak in explanation.plan.leaks():
        print(f"  {leak.who}: {leak.what}")
    for party, verdict in explanation.verdicts.items():
        print(f"  verdict of {party}: {verdict['effect']}")


def ask(session: Session) -> Answer:
    """One joint query; its answer is opened on this machine and nowhere else. `to_pandas()` makes a data frame."""
    answer = session.query(SQL, purpose=PURPOSE, minimum_parties=3)
    print("\nThe answer over all firms")
    for row in answer.rows:
        print(f"  {row['customer_country']}  {row['payments']:6,} payments, {row['fraud_rate']:.2%} fraud")
    return answer


def train(session: Session) -> TrainedModel:
    """The fraud model; the joint metrics of each round come sealed and are opened here."""
    print("\nTraining, encrypted")
    researcher = session.researcher
    job = researcher.submit(example_job("fraud"))
    for event in researcher.watch(job):
        if event["event"] == "progress" and event["metrics"].get("auprc") is not None:
            print(f"  after round {event['round']:2}: average precision {event['metrics']['auprc']:.3f}")
    researcher.wait(job)
    model = researcher.result(job)
    assert isinstance(model, TrainedModel)
    joint, alone = model.card["metrics"]["auprc"], model.card["baselines"]["local_auprc"]
    print(
        f"  {model.parameters.size} parameters: average precision {joint:.3f}, and {alone:.3f} had each trained alone"
    )
    return model


def first_steps(home: Path) -> None:
    """All of it, as the researcher whose node is in `home`. Raises InbondError."""
    with connect(home) as session:
        look_around(session)
        explain(session)
        ask(session)
        train(session)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the quick start; 0, 130 when interrupted, or 1 with one line that says what went wrong."""
    parser = argparse.ArgumentParser(prog="python -m examples.quickstart", description="First steps in Python.")
    parser.add_argument("--home", type=Path, help="your node's folder; without it a consortium is made for this run")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.home is not None:
            first_steps(chosen.home)
        else:
            _with_own_consortium()
    except (InbondError, PolicyError, CommandFailed) as error:
        print(f"quickstart: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("quickstart: interrupted", file=sys.stderr)
        return 130
    return 0


def _with_own_consortium() -> None:
    """Three payment firms and a researcher as processes on this machine, for as long as this run."""
    with tempfile.TemporaryDirectory(prefix="inbond-quickstart-") as folder:
        root = Path(folder)
        make_synthetic(root / "tables")
        with Consortium(root / "nodes", members(root / "tables", FIRMS)) as consortium:
            print("Making and starting a consortium of three payment firms")
            consortium.make()
            consortium.start()
            first_steps(consortium.home("rosa"))


if __name__ == "__main__":
    sys.exit(main())
