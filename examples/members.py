"""Who is in the example consortium acme.example, in which country, with which contracts and tables."""

from pathlib import Path

from examples.consortium import Member
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
RESEARCHER, RESEARCHER_COUNTRY = "rosa", "GB"


def members(data: Path, names: tuple[str, ...] = tuple(PARTIES)) -> list[Member]:
    """The parties `names` with their tables from `data`/<party>/<table>.parquet, and the researcher."""
    found = [_party(name, data) for name in names]
    return [*found, Member(RESEARCHER, RESEARCHER_COUNTRY, user=True)]


def _party(name: str, data: Path) -> Member:
    contracts = {
        path.name.removeprefix(f"{name}-"): path.read_text("utf-8")
        for path in sorted((FOLDER / "contracts").glob(f"{name}-*.yaml"))
    }
    tables = {path.name: path for path in sorted((data / name).glob("*.parquet"))}
    return Member(name, PARTIES[name][1], contracts, tables)


def example_job(name: str) -> JobSpec:
    """The job in examples/jobs/`name`.yaml."""
    path = FOLDER / "jobs" / f"{name}.yaml"
    return load_job(path.read_text("utf-8"), path.name)
