"""Who is in the example consortium acme.example, in which country, with which contracts and tables."""

from pathlib import Path

from examples.consortium import COORDINATOR, COORDINATOR_COUNTRY, Member
from examples.papers import papers
from policies.job import JobSpec, load_job

FOLDER = Path(__file__).parent
PARTIES = {
    "w1": ("warehouse", "DE"),
    "w2": ("warehouse", "GB"),
    "w3": ("warehouse", "CN"),
    "p1": ("payment firm", "GB"),
    "p2": ("payment firm", "DE"),
    "p3": ("payment firm", "SG"),
    "m1": ("merchant", "GB"),
    "m2": ("merchant", "DE"),
}  # name -> what it is, and its country
RESEARCHER, ABROAD = "rosa", "uma"
RESEARCHERS = {RESEARCHER: "GB", ABROAD: "US"}  # to the United States the laws of two firms let nothing go


def members(data: Path, names: tuple[str, ...] = tuple(PARTIES)) -> list[Member]:
    """The parties `names` with their tables from `data`/<party>/<table>.parquet, and two researchers."""
    found = [_party(name, data) for name in names]
    return [*found, *(Member(person, where, user=True) for person, where in RESEARCHERS.items())]


def _party(name: str, data: Path) -> Member:
    contracts = {
        path.name.removeprefix(f"{name}-"): path.read_text("utf-8")
        for path in sorted((FOLDER / "contracts").glob(f"{name}-*.yaml"))
    }
    tables = {path.name: path for path in sorted((data / name).glob("*.parquet"))}
    return Member(name, PARTIES[name][1], contracts, tables, papers=_papers(name, PARTIES[name][1]))


def _papers(name: str, country: str) -> dict[str, str]:
    """Records on transfers to everybody else; nobody has assessed the law of the United States."""
    others = {other: where for other, (_, where) in PARTIES.items()}
    others |= {**RESEARCHERS, COORDINATOR: COORDINATOR_COUNTRY}
    return papers(name, country, others, unassessed=frozenset({RESEARCHERS[ABROAD]}))


def example_job(name: str) -> JobSpec:
    """The job in examples/jobs/`name`.yaml."""
    path = FOLDER / "jobs" / f"{name}.yaml"
    return load_job(path.read_text("utf-8"), path.name)
