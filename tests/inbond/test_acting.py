"""Every command is decided on before it does anything, or is one of those that need not be, for the reason given."""

import hashlib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from inbond.acting import MARK
from inbond.cli import command
from parties.store import PartyStore
from policies.acts import ACTS
from tests.bad_input.homes import CONSORTIUM, certified_home, furnish
from tests.inbond.test_cli import LEAVES
from tests.support.authority import TestAuthority

LOOKS = "shows numbers, names and rules of the node's own, nobody's data, and changes nothing"
MAKES = "makes the node: before it there are no policies that could decide"
SERVES = "is the node itself; it runs only under policies that were accepted"
PERSON = "a person's own folder and key: what they ask for is decided by coordinator and parties"
FILES = "is about files and built-in rules; there is no node"

EXEMPT = {
    **dict.fromkeys(("party init", "party join", "coordinator init", "coordinator join", "ca init"), MAKES),
    **dict.fromkeys(("user init", "user join", "login", "user status"), PERSON),
    **dict.fromkeys(("party start", "coordinator start", "ca start"), SERVES),
    **dict.fromkeys(("query", "catalog", "catalog list", "catalog show"), PERSON),
    **dict.fromkeys(
        (f"job {name}" for name in ["cancel", "explain", "list", "result", "status", "submit", "watch"]), PERSON
    ),
    **dict.fromkeys(("approvals", "approve", "refuse", "approve-file", "audit ask", "audit check-opening"), PERSON),
    **dict.fromkeys(("job model", "contract lint", "contract diff", "law check", "law regimes", "policy test"), FILES),
    **dict.fromkeys(("law breach flags", "subject terms", "contract verify", "policy diff"), FILES),
    **dict.fromkeys(("party status", "party datasets", "party jobs", "coordinator status", "doctor"), LOOKS),
    **dict.fromkeys(("budget show", "budget history", "budget forecast"), LOOKS),
    **dict.fromkeys(("agreement list", "agreement show", "record list", "law counters", "law duties"), LOOKS),
    **dict.fromkeys(("law breach list", "law breach show"), LOOKS),
    **dict.fromkeys(("audit list", "audit show", "audit verify", "audit export"), LOOKS),
    **dict.fromkeys(
        ("ca status", "ca list", "ca account list", "ca oidc list", "ca oidc show", "ca oidc check"), LOOKS
    ),
}
COMMANDS = {" ".join(path): leaf for path, leaf in LEAVES}
LOOKING = sorted(
    name
    for name, reason in EXEMPT.items()
    if reason == LOOKS
    and not name.startswith(("ca ", "coordinator "))
    and not any(one.required for one in COMMANDS[name].params)
)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_decided_or_need_not_be(name: str) -> None:
    mark = getattr(COMMANDS[name].callback, MARK, None)
    if name in EXEMPT:
        assert mark is None, f"`{name}` is decided and need not be named here"
        return
    assert mark == name, f"`inbond {name}` is not decided: `@decided(...)` and policies/acts.py, or a reason here"
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert {"--as", "--home"} <= options


def test_nothing_is_named_that_is_not_there() -> None:
    groups = {"catalog"}  # a group that is a command as well
    assert EXEMPT.keys() - groups <= COMMANDS.keys()
    assert ACTS.keys() == COMMANDS.keys() - EXEMPT.keys()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = certified_home(TestAuthority(CONSORTIUM), "party", "p1", tmp_path_factory.mktemp("looking") / "p1")
    furnish(made)
    PartyStore(made).close()
    for words in ("law begin-counters", "law breach open lost-laptop --regime gdpr"):
        done = CliRunner().invoke(_root(), [*words.split(), "--home", str(made)])
        assert done.exit_code == 0, (done.output, done.exception)
    return made


@pytest.mark.parametrize("name", LOOKING)
def test_what_only_looks_changes_nothing(home: Path, name: str) -> None:
    before = contents(home)
    CliRunner().invoke(_root(), [*name.split(), "--home", str(home)])
    assert contents(home) == before


def _root() -> click.Command:
    return command()


def contents(home: Path) -> dict[str, str]:
    """Every file of a node by content; what a database engine keeps beside its file is not content."""
    return {
        str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in home.rglob("*")
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }
