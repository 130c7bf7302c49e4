"""A running consortium for the system tests: real processes on loopback, and what an observer may see of them."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from compliance.audit.entry import Entry
from compliance.audit.log import read_entries
from compliance.audit.store import AuditStore
from examples.consortium import COORDINATOR, NAME, Consortium, Member
from federation.client import Researcher
from inbond.errors import InbondError
from policies.document import Document, validate
from policies.job import JobSpec

CONTRACTS = Path(__file__).parents[2] / "examples" / "contracts"
PURPOSE = "dpv:FraudPreventionAndDetection"
COUNTRIES = {"p1": "GB", "p2": "DE", "p3": "SG", "p4": "SG"}
FIRMS = ("p1", "p2", "p3")
USERS = ("rosa", "victor")
ROUNDS = 5  # of a long training
BUDGET = "budget: {epsilon: 10.0, delta: 1.0e-6}"
SQL = "SELECT customer_country, COUNT(*) AS n, SUM(amount_cents) AS cents FROM payments GROUP BY customer_country"


def contracts(party: str) -> dict[str, str]:
    """Three contracts: `payments` (encrypted only) and `open-payments` (plain too) over one table, `rare-payments`
    (a budget for one question) over another with the same rows."""
    template = "p3" if party == "p4" else party
    text = (CONTRACTS / f"{template}-payments.yaml").read_text("utf-8")
    opened = text.replace("dataset: payments", "dataset: open-payments").replace("plain: false", "plain: true")
    rare = text.replace("dataset: payments", "dataset: rare-payments").replace(BUDGET, "budget: {epsilon: 1, delta: 0}")
    rare = rare.replace("payments.parquet", "rare.parquet")  # a table of its own, or they would share one budget
    return {"payments.yaml": text, "open-payments.yaml": opened, "rare-payments.yaml": rare}


def member(name: str, data: Path) -> Member:
    """A payment firm; p4 has the table of p3."""
    table = data / ("p3" if name == "p4" else name) / "payments.parquet"
    return Member(name, COUNTRIES[name], contracts(name), {"payments.parquet": table, "rare.parquet": table})


def training(**fields: Any) -> JobSpec:
    """A small encrypted training of the fraud score; `fields` replace those of the job file."""
    parameters = {"local_epochs": 2, "solo_epochs": 1, "clip": 0.25, **fields.pop("parameters", {})}
    data: dict[str, Any] = {
        "kind": "train",
        "name": "fraud",
        "purpose": PURPOSE,
        "dataset": "payments",
        "parties": list(FIRMS),
        "minimum_parties": 3,
        "rounds": 4,
        "recipe": {"name": "fraud-score", "version": 1, "parameters": parameters},
        "recipients": [{"id": f"spiffe://{NAME}/user/rosa", "country": "GB"}],
        "deadline_s": 150,
    }
    return validate(JobSpec, Document({**data, **fields}, "job", {}))


def long_training(**fields: Any) -> JobSpec:
    """The same with rounds of about a second, so that a kill falls into the middle of one."""
    return training(**{"rounds": ROUNDS, "parameters": {"local_epochs": 6, "batch": 8}, **fields})


class Followed:
    """A job that is watched from the moment it was submitted, as `inbond job watch` does."""

    def __init__(self, researcher: Researcher, spec: JobSpec) -> None:
        self.job = researcher.submit(spec)
        self.events: list[dict[str, Any]] = []
        self.broken: Exception | None = None
        self._researcher = researcher
        self._news = threading.Condition()
        self._over = False
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        try:
            for event in self._researcher.watch(self.job):
                with self._news:
                    self.events.append(event)
                    self._news.notify_all()
        except InbondError as error:
            self.broken = error
        with self._news:
            self._over = True
            self._news.notify_all()

    def until(self, wanted: Callable[[dict[str, Any]], bool], seconds: float = 90.0) -> dict[str, Any]:
        """The first event that is `wanted`; fails when the job ends or `seconds` pass before it comes."""
        deadline, seen = time.monotonic() + seconds, 0
        with self._news:
            while True:
                for event in self.events[seen:]:
                    if wanted(event):
                        return event
                seen = len(self.events)
                left = deadline - time.monotonic()
                if self._over or left <= 0:
                    raise AssertionError(f"the event did not come; {self.broken or ''} last: {self.events[-3:]}")
                self._news.wait(left)

    def step(self, step: str, number: int = 0) -> dict[str, Any]:
        """Wait until all parties have done a step."""
        return self.until(
            lambda event: (event["event"], event.get("step"), event.get("round")) == ("step", step, number)
        )

    def state(self, state: str, seconds: float = 90.0) -> dict[str, Any]:
        """Wait for a state of the job."""
        return self.until(lambda event: event["event"] == "state" and event["state"] == state, seconds)

    def named(self, name: str) -> list[dict[str, Any]]:
        """All events of one name so far."""
        return [event for event in self.events if event["event"] == name]


class World(Consortium):
    """A consortium whose tap is open and whose settings can be changed between two starts of a node."""

    @property
    def tap(self) -> Path:
        """Everything that the coordinator's links carried."""
        return self.root / "tap.bin"

    @contextmanager
    def settings(self, **changes: str) -> Iterator[None]:
        """Nodes and commands started inside see these variables."""
        before = dict(self._settings)
        self._settings = {**before, **changes}
        try:
            yield
        finally:
            self._settings = before

    def researcher(self, name: str = "rosa") -> Researcher:
        """A user, connected."""
        return Researcher.open(self.home(name))

    def restart(self, name: str) -> None:
        """Start a node that was killed or stopped."""
        self.launch(name)
        if name == COORDINATOR:
            self.wait_links()

    def end(self, name: str) -> None:
        """Stop one node politely."""
        self.processes[name].terminate()
        self.processes[name].wait(15)

    def pid(self, name: str) -> int:
        """The process id of a node."""
        return self.processes[name].pid

    def wait_links(self, names: tuple[str, ...] = FIRMS, seconds: float = 60.0) -> None:
        """Wait until the named parties are connected."""
        deadline = time.monotonic() + seconds
        with self.researcher() as rosa:
            while missing := set(names) - set(rosa.nodes()["parties"]):
                assert time.monotonic() < deadline, f"not connected: {missing}"
                time.sleep(0.2)

    def printed(self, name: str) -> str:
        """What a node wrote to its own log file."""
        return (self.root / f"{name}.log").read_text(errors="replace")

    def entries(self, name: str, job: str | None = None) -> list[Entry]:
        """A node's evidence, oldest first."""
        return evidence(self.home(name), job)

    def verify(self, *names: str) -> None:
        """`inbond audit verify` on each node's log; raises CommandFailed (exit 5) for one that does not hold."""
        for name in names or (COORDINATOR, *FIRMS):
            self.cli("audit", "verify", home=name)


def evidence(home: Path, job: str | None = None) -> list[Entry]:
    """The entries of the log in `home`, of one job or all."""
    store = AuditStore.read_only(home / "audit.db")
    try:
        return [entry for _, entry in read_entries(store, 0, store.count(), job=job)]
    finally:
        store.close()


def eventually(truth: Callable[[], bool], what: str, seconds: float = 15.0) -> None:
    """Wait until something is true; fails with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not truth():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
