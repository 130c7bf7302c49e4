"""The researcher's side for notebooks and scripts: connect, look at the catalogue, ask, and have a data frame.

    import federation

    with federation.connect("~/rosa") as session:
        answer = session.query("SELECT method, COUNT(*) AS n FROM order_payments GROUP BY method", purpose="dpv:...")
        answer.to_pandas()

Answers are opened here and nowhere else; the keys never leave this machine.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Unpack

from federation.asking import Question, job_fields
from federation.catalogue import Dataset, datasets
from federation.client import Explanation, Researcher
from inbond.answers import Answer


class Session(AbstractContextManager["Session"]):
    """A researcher's connection to the consortium; `researcher` does what is not said here (jobs, training)."""

    def __init__(self, researcher: Researcher) -> None:
        self.researcher = researcher

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self.researcher.__exit__(None, None, None)

    def query(self, sql: str, **asked: Unpack[Question]) -> Answer:
        """Answer one joint query, and wait for it; `asked` are purpose=, parameters=, epsilon=, matching=, parties= ...

        See `federation.asking.Question` for all of them. Raises InvalidInput for what cannot be asked, Refused with the
        rule that says no, JobFailed or Unreachable.
        """
        return self.researcher.query(sql, **job_fields(asked))

    def explain(self, sql: str, **asked: Unpack[Question]) -> Explanation:
        """What the query would do: its plan, who would learn what, every party's verdict. Runs nothing."""
        return self.researcher.explain(self.researcher.query_spec(sql, **job_fields(asked)))

    def catalogue(self) -> dict[str, Dataset]:
        """Every dataset of the consortium by name, with its owners and their contracts."""
        return datasets(self.researcher.catalogue())


def connect(home: str | Path = ".") -> Session:
    """A session of the user whose node is in `home` (`~` is understood).

    Raises ConfigError when there is no user's node, Unreachable when its certificate has run out and cannot be renewed.
    """
    return Session(Researcher.open(Path(home)))
