"""`import federation` is cheap and all that a notebook needs; a session asks as the command line does."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import federation
from federation.catalogue import PartyEntry
from federation.notebook import Session
from inbond.answers import Answer
from inbond.errors import ConfigError
from policies.job import JobSpec
from policies.query.finishing import ValueType
from tests.bad_input.homes import CONSORTIUM, certified_home
from tests.inbond.test_answers import made
from tests.policies.samples import contract
from tests.support.authority import TestAuthority

SQL = "SELECT country, COUNT(*) AS n FROM orders WHERE items > $low GROUP BY country"
PURPOSE = "dpv:FraudPreventionAndDetection"
ANSWER = made({"n": 12}, n=ValueType("number", 0))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certified_home(TestAuthority(CONSORTIUM), "user", "rosa", tmp_path_factory.mktemp("notebook") / "rosa")


@pytest.fixture
def session(home: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A real session of a researcher's node whose coordinator is played."""
    session = federation.connect(str(home))
    sent: list[JobSpec] = []

    def submit(spec: JobSpec) -> str:
        sent.append(spec)
        return "ab" * 16

    played: dict[str, Any] = {
        "submit": submit,
        "wait": lambda _job: None,
        "result": lambda _job: ANSWER,
        "explain": lambda spec: spec,
        "catalogue": lambda: {"p1": PartyEntry("p1", "DE", {"orders": contract()})},
    }
    for name, function in played.items():
        monkeypatch.setattr(session.researcher, name, function)
    monkeypatch.setattr(session, "sent", sent, raising=False)
    return session


def sent(session: Any) -> JobSpec:
    """The one job that was submitted."""
    ((spec),) = session.sent
    assert isinstance(spec, JobSpec)
    return spec


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import federation, sys; print([m for m in ('grpc', 'pyarrow', 'numpy', 'pydantic') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_package_has_what_it_says_and_nothing_else() -> None:
    assert all(getattr(federation, name) is not None for name in federation.__all__)
    assert federation.Answer is Answer
    with pytest.raises(AttributeError, match="has no attribute 'disconnect'"):
        federation.disconnect  # noqa: B018 - asking is the test


def test_a_query_is_submitted_as_it_was_asked_and_its_answer_given(session: Session) -> None:
    answer = session.query(SQL, purpose=PURPOSE, parameters={"low": 1}, epsilon=0.5, matching="hidden", parties=["p1"])
    spec = sent(session)
    assert answer is ANSWER
    assert (spec.sql, spec.dataset, spec.purpose, spec.parties) == (SQL, "orders", PURPOSE, ("p1",))
    assert (spec.parameters, spec.matching) == ({"low": 1}, "hidden")
    assert (spec.privacy.mechanism, spec.privacy.epsilon) == ("laplace", 0.5)
    assert [(one.id, one.country) for one in spec.recipients] == [(f"spiffe://{CONSORTIUM}/user/rosa", "DE")]


def test_explaining_submits_nothing(session: Session) -> None:
    spec: Any = session.explain(SQL, purpose=PURPOSE, parameters={"low": 1})
    assert isinstance(spec, JobSpec)
    assert session.sent == []  # type: ignore[attr-defined]  # the fixture's


def test_the_catalogue_is_by_dataset(session: Session) -> None:
    (one,) = session.catalogue().values()
    assert (one.name, list(one.owners), one.countries["p1"]) == ("orders", ["p1"], "DE")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, "`purpose` is missing"),
        ({"purpose": "fraud"}, "purpose"),
        ({"purpose": PURPOSE, "epsilon": 0.0}, "privacy.epsilon"),
        ({"purpose": PURPOSE, "epsilon": -1.0}, "privacy.epsilon"),
        ({"purpose": PURPOSE, "epsilon": float("nan")}, "privacy.epsilon"),
        ({"purpose": PURPOSE, "delta": 1e-6}, "needs an epsilon"),
        ({"purpose": PURPOSE, "matching": "slow"}, "matching"),
        ({"purpose": PURPOSE, "protection": "plain"}, "never answered in the clear"),
        ({"purpose": PURPOSE, "partys": ["p1"]}, "did you mean `parties`"),
        ({"purpose": PURPOSE, "parameters": {}}, "parameter `\\$low` has no value"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_sent(
    session: Session, asked: dict[str, Any], told: str
) -> None:
    with pytest.raises(Exception, match=told) as refused:
        session.query(SQL, **{"parameters": {"low": 1}, **asked})
    assert type(refused.value).__name__ in {"InvalidInput", "ConfigError"}
    assert session.sent == []  # type: ignore[attr-defined]  # the fixture's


def test_a_session_ends_with_its_block(home: Path) -> None:
    with federation.connect(home) as session:
        assert session.researcher.node.config.node.name == "rosa"
    with pytest.raises(ValueError, match="closed channel"):
        session.catalogue()


def test_a_folder_without_a_users_node_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no node here"):
        federation.connect(tmp_path)
