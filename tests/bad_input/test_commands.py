"""Bad input to the command line: one clear line on standard error, the right exit code, nothing half-done."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog

from federation.catalogue import PartyEntry
from inbond.cli import main
from inbond.config import AddressSection
from inbond.enrolment import Invitation
from inbond.member_cli import make_node
from tests.bad_input.homes import CONSORTIUM, certified_home, furnish
from tests.policies.samples import CONTRACT, contract
from tests.support.authority import TestAuthority

JUNK = bytes(range(256)) * 4
JOB = """\
kind: query
name: totals
purpose: dpv:FraudPreventionAndDetection
dataset: orders
sql: SELECT country, COUNT(*) FROM orders GROUP BY country
recipients: [{id: spiffe://acme.example/user/rosa, country: DE}]
"""


@dataclass(frozen=True)
class Said:
    """What a command did."""

    code: int
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of every kind of node, good and damaged, and files of every bad kind. Nobody answers on port 9."""
    root = tmp_path_factory.mktemp("world")
    authority = TestAuthority(CONSORTIUM)
    certified_home(authority, "user", "rosa", root / "rosa")
    certified_home(authority, "user", "old", root / "old", age=timedelta(hours=20), lifetime=timedelta(hours=1))
    furnish(certified_home(authority, "party", "p1", root / "p1"))
    certified_home(authority, "coordinator", "coordinator", root / "hub")
    for name in ("not-utf8", "not-toml", "wrong-key"):
        (root / name).mkdir()
    (root / "not-utf8" / "inbond.toml").write_bytes(JUNK)
    (root / "not-toml" / "inbond.toml").write_text("[node\nrole = ")
    (root / "wrong-key" / "inbond.toml").write_text('[node]\nrole = "party"\nname = "P 1"\n')
    (root / "foreign").mkdir()
    (root / "foreign" / "letter.txt").write_text("dear Ana")
    make_node(
        "party", "p2", CONSORTIUM, "GB", root / "never-joined", AddressSection(authority="", coordinator="", listen="")
    )
    (root / "junk").write_bytes(JUNK)
    (root / "there.csv").write_text("mine")
    (root / "empty").write_bytes(b"")
    (root / "job.yaml").write_text(JOB)
    (root / "invitation").write_text(_invitation(authority))
    return root


def _invitation(authority: TestAuthority) -> str:
    until = datetime.now(UTC) + timedelta(hours=1)
    at = "localhost:9"
    return str(Invitation(authority.id("party/p9"), at, at, authority.certificate, until, b"s" * 32, at))


@pytest.fixture
def run(world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command in the world's folder, exactly as the shell would."""
    monkeypatch.chdir(world)
    for name in [name for name in os.environ if name.startswith("INBOND_")]:
        monkeypatch.delenv(name)

    def call(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["inbond", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        structlog.reset_defaults()
        said = capsys.readouterr()
        return Said(int(ended.value.code or 0), said.out, said.err)

    return call


def _one_line(said: Said, told: str) -> None:
    """One line, that says what is wrong where and what would be right, and nothing of our insides."""
    lines = said.err.splitlines()
    assert len(lines) == 1, said.err
    assert lines[0].startswith("inbond: ")
    assert told in lines[0]
    assert ";" in lines[0], "it says what would be right"
    assert "Traceback" not in said.err
    assert said.out == ""


USAGE = [
    ("nonsense", "No such command"),
    ("--frobnicate", "No such option"),
    ("party init", "Missing argument"),
    ("party init p1", "Missing option"),
    ("party init p1 --consortium acme.example", "Missing option '--country'"),
    ("party start --port 80", "No such option"),
    ("party start --home", "requires an argument"),
    ("job status", "Missing argument"),
    ("query", "Missing argument"),
    ("approve", "Missing argument"),
    ("refuse 4be1c07d", "Missing option '--reason'"),
    ("query x", "Missing option '--purpose'"),
    ("query x --purpose y --epsilon much", "not a valid float"),
    ("query x --purpose y --epsilon -1", "not in the range"),
    ("query x --purpose y --matching slow", "is not one of"),
    ("query x --purpose y --param", "requires an argument"),
    ("catalog show", "Missing argument"),
    ("catalog shwo orders", "No such command"),
    ("catalog list orders", "unexpected extra argument"),
    ("query x --purpose y --minimum-parties 1", "not in the range"),
    ("query x --purpose y --minimum-parties two", "not a valid int"),
    ("audit list --last 0", "not in the range"),
    ("audit list --type gossip", "is not one of"),
    ("audit show x", "not a valid int"),
    ("ca init acme.example --days 900", "not in the range"),
    ("ca invite party/p1 --hours 0", "not in the range"),
    ("ca account add", "Missing argument"),
    ("ca account add rosa --organisation bank", "Missing option '--role'"),
    ("ca oidc set --issuer https://x.example", "Missing option"),
    ("ca card", "Missing option '--out'"),
    ("login --card", "requires an argument"),
    ("subject copy --out x", "Missing argument"),
    ("subject copy 7", "Missing option '--out'"),
    ("subject copy 7 --out x --request 0", "Invalid value for '--request'"),
    ("subject copy 7 --out x --request 9223372036854775808", "Invalid value for '--request'"),
    ("subject answer 9223372036854775808 granted --say done", "Invalid value for 'NUMBER'"),
    ("login rosa", "unexpected extra argument"),
]


@pytest.mark.parametrize(("arguments", "told"), USAGE)
def test_bad_flags_and_arguments_are_named(run: Run, arguments: str, told: str) -> None:
    said = run(*arguments.split())
    assert said.code == 2
    _one_line(said, told)
    assert said.err.rstrip().endswith("see --help")


@pytest.mark.parametrize("arguments", ["", "party", "coordinator", "user", "ca", "job", "audit"])
def test_a_group_without_a_command_shows_its_help_and_no_error_line(run: Run, arguments: str) -> None:
    said = run(*arguments.split())
    assert said.code == 2
    assert "Usage" in said.out + said.err
    assert "inbond: " not in said.err


NODES = [
    # making
    ("party init Bad_Name --consortium acme.example --country DE --home new", 2, "name is wrong"),
    ("party init p9 --consortium Acme --country DE --home new", 2, "consortium is wrong"),
    ("party init p9 --consortium acme.example --country Germany --home new", 2, "country is wrong"),
    ("party init p9 --consortium acme.example --country DE --home p1", 2, "a node is already here"),
    ("party init p9 --consortium acme.example --country DE --home junk", 2, "cannot be made"),
    ("coordinator init acme.example --country DE --home hub", 2, "a node is already here"),
    ("ca init Bad..Domain --home new", 2, "not a trust domain"),
    ("ca status --home foreign", 2, "unlock.key"),
    ("ca invite party/p1 --home nowhere", 2, "unlock.key"),
    # folders
    *[
        (f"{command} --home {home}", 2, told)
        for command in ("party status", "party datasets", "party jobs", "party start", "user status", "job list")
        for home, told in (("nowhere", "no node here"), ("foreign", "no node here"), ("junk", "no node here"))
    ],
    ("coordinator status --home foreign", 2, "no node here"),
    ("coordinator start --home foreign", 2, "no node here"),
    ("party status --home not-utf8", 2, "is not text"),
    ("party status --home not-toml", 2, "is not TOML"),
    ("party status --home wrong-key", 2, "node.name is wrong"),
    ("job list --home not-toml", 2, "is not TOML"),
    ("audit list --home foreign", 2, "audit.db"),
    ("audit verify --home nowhere", 2, "audit.db"),
    # another role's node
    ("party start --home rosa", 2, "this is a user's node"),
    ("party jobs --home hub", 2, "this is a coordinator's node"),
    ("coordinator start --home p1", 2, "this is a party's node"),
    ("coordinator status --home p1", 2, "this is a party's node"),
    ("user status --home p1", 2, "this is a party's node"),
    ("job list --home p1", 2, "this is a party's node"),
    # never joined, or too late
    ("party start --home never-joined", 2, "has not joined"),
    ("job list --home never-joined", 2, "has not joined"),
    ("job list --home old", 4, "localhost:9"),
    ("job list --home rosa", 4, "localhost:9"),
    # invitations
    ("party join nonsense --home never-joined", 2, "not an invitation"),
    ("party join inbond1.AAAA --home never-joined", 2, "damaged invitation"),
    ("party join @junk --home never-joined", 2, "cannot be read"),
    ("party join @nowhere --home never-joined", 2, "cannot be read"),
    ("party join @empty --home never-joined", 2, "not an invitation"),
    ("party join @invitation --home never-joined", 2, "the invitation is for spiffe://acme.example/party/p9"),
    ("user join @invitation --home never-joined", 2, "this is a party's node"),
    # people
    ("subject copy 7 --out copy --home rosa", 2, "this is a user's node"),
    ("subject copy 7 --out copy --home nowhere", 2, "no node here"),
    ("subject requests --overdue --home hub", 2, "this is a coordinator's node"),
    # logins
    ("login --home p1", 2, "this is a party's node"),
    ("login --home nowhere", 2, "no node here"),
    ("login --home rosa", 2, "no login card"),
    ("login --home rosa --card junk", 2, "is not text"),
    ("login --home rosa --card empty", 2, "is not a table"),
    ("login --home rosa --card job.yaml", 2, "is not known"),
    ("login --home rosa --card nowhere", 2, "cannot be read"),
    ("ca account list --home nowhere", 2, "unlock.key"),
    ("ca oidc check --home nowhere", 2, "no provider is trusted"),
    ("ca release user/rosa --home foreign", 2, "unlock.key"),
]


@pytest.mark.parametrize(("arguments", "code", "told"), NODES)
def test_bad_folders_names_and_invitations(run: Run, world: Path, arguments: str, code: int, told: str) -> None:
    before = _tree(world)
    said = run(*arguments.split())
    assert said.code == code, said.err
    _one_line(said, told)
    assert _tree(world) == before, "nothing is left half-made"


def _tree(root: Path) -> dict[str, int]:
    """Every file and folder; the databases of certified nodes may be opened and so come to be."""
    return {
        str(path.relative_to(root)): path.stat().st_size if path.is_file() else -1
        for path in root.rglob("*")
        if ".db" not in path.name
    }


JOBS = [
    ("", ""),
    ("- a\n- b\n", ""),
    ("kind: query\nkind: train\n", "given twice"),
    (JOB.replace("purpose: dpv:FraudPreventionAndDetection", "purpose: because"), "purpose"),
    (JOB.replace("kind: query", "kind: dance"), "kind"),
    (JOB.replace("dataset: orders", "dataset: 3"), "dataset"),
    (JOB.replace("dataset: orders", "dataset: Or Ders"), "dataset"),
    (JOB.replace("sql: ", "sqll: "), "sqll"),
    (JOB.replace("country: DE", "country: Germany"), "country"),
    (JOB + "minimum_parties: 1\n", "minimum_parties"),
    (JOB + "minimum_parties: three\n", "minimum_parties"),
    (JOB + "deadline_s: -1\n", "deadline_s"),
    (JOB + "deadline_s: .inf\n", "deadline_s"),
    (JOB + "rounds: 3\n", "rounds"),
    (JOB + "key_mode: shared\n", "key_mode"),
    (JOB + "parties: [p1, p1]\n", "named twice"),
    (JOB + "privacy: {mechanism: laplace}\n", "epsilon"),
    (JOB + "privacy: {mechanism: gaussian, epsilon: 1}\n", "delta"),
    (JOB + "protection: none\n", "protection"),
    ("a: &x [1]\nb: *x\n", "anchor"),
    ("!!python/object/apply:os.system ['true']", ""),
    ("{" * 40 + "}" * 40, "JSON"),
    ('{"kind": NaN}', "JSON"),
    ("x" * 70_000, "too long"),
    ("[" * 3000, ""),
    ("\tkind: query", "YAML"),
]


@pytest.mark.parametrize(("text", "told"), JOBS, ids=range(len(JOBS)))
@pytest.mark.parametrize("command", ["submit", "explain"])
def test_a_malformed_job_file_is_refused_before_anything_is_dialled(
    run: Run, tmp_path: Path, command: str, text: str, told: str
) -> None:
    (tmp_path / "job.yaml").write_text(text)
    said = run("job", command, str(tmp_path / "job.yaml"), "--home", "rosa")
    assert said.code == 2
    _one_line(said, told)
    assert str(tmp_path / "job.yaml") in said.err


@pytest.mark.parametrize(("file", "told"), [("junk", "is not text"), ("nowhere.yaml", "cannot be read"), (".", "read")])
def test_what_is_no_job_file_at_all(run: Run, file: str, told: str) -> None:
    said = run("job", "submit", file, "--home", "rosa")
    assert said.code == 2
    _one_line(said, told)


QUERIES = [
    ("SELECT * FROM orders", (), "rows never leave"),
    ("SELECT country FROM orders", (), "rows never leave"),
    ("DROP TABLE orders", (), "DROP"),
    ("SELECT COUNT(*) FROM a JOIN b ON true", (), "join"),
    ("SELECT COUNT(*) FROM a LEFT JOIN b ON a.k = b.k", (), "join"),
    ("SELECT MAX(x) OVER () FROM orders", (), "window function"),
    ("SELECT COUNT(*) FROM orders UNION SELECT COUNT(*) FROM returns", (), "not answered"),
    ("SELECT COUNT(*) FROM orders LIMIT 'a'", (), "LIMIT"),
    ("SELECT COUNT(*) FROM orders WHERE x > $y", (), "parameter `$y` has no value"),
    ("SELECT COUNT(*) FROM orders; SELECT 1", (), "statements"),
    ("not sql (", (), ""),
    ("", (), "statement"),
    ("SELECT COUNT(*) FROM orders", ("--purpose", "fraud"), "purpose"),
    ("SELECT COUNT(*) FROM orders", ("--epsilon", "0"), "epsilon"),
    ("SELECT COUNT(*) FROM orders", ("--delta", "0.1"), "delta: needs an epsilon too"),
    ("SELECT COUNT(*) FROM orders", ("--epsilon", "1", "--delta", "2"), "delta"),
    ("SELECT COUNT(*) FROM orders", ("--epsilon", "nan"), "epsilon"),
    ("SELECT COUNT(*) FROM orders", ("--parties", "p1,,p2"), "parties"),
    ("SELECT COUNT(*) FROM orders", ("--parties", "P 1"), "parties"),
    ("SELECT COUNT(*) FROM orders", ("--out", "answer.xlsx"), "no way to write .xlsx"),
    ("SELECT COUNT(*) FROM orders", ("--out", "answer"), "without an ending"),
    ("SELECT COUNT(*) FROM orders", ("--out", "model.safetensors"), "no way to write"),
    ("SELECT COUNT(*) FROM orders", ("--out", "nowhere/answer.csv"), "no such folder"),
    ("SELECT COUNT(*) FROM orders", ("--out", "there.csv"), "is there already"),
    ("SELECT COUNT(*) FROM orders", ("--out", "there.csv", "--explain"), "is there already"),
    ("SELECT COUNT(*) FROM orders", ("--protect", "plain"), "never answered in the clear"),
    ("SELECT COUNT(*) FROM orders", ("--protect", "none"), "never answered in the clear"),
    ("SELECT COUNT(*) FROM orders WHERE x > $y", ("--param", "y"), "`y` is no name and value"),
    ("SELECT COUNT(*) FROM orders WHERE x > $y", ("--param", "=3"), "is no name and value"),
    ("SELECT COUNT(*) FROM orders WHERE x > $y", ("--param", "y=1", "--param", "y=2"), "given twice"),
    ("SELECT COUNT(*) FROM orders WHERE x > $y", ("--param", 'y="a"b"'), "a quote in its text"),
    ("SELECT COUNT(*) FROM orders WHERE x > $y", ("--param", "z=1"), "parameter `$y` has no value"),
    ("SELECT COUNT(*) FROM orders", ("--param", "y=1"), "parameter `$y` is not in the statement"),
    ("SELECT COUNT(*) FROM orders WHERE x > $y", ("--param", "y=" + "x" * 2000), "not a value that can be bound"),
    ("SELECT COUNT(*) FROM orders WHERE x > $y", ("--param", "y=1e999"), "not a value that can be bound"),
]


@pytest.mark.parametrize(("sql", "options", "told"), QUERIES)
def test_a_query_that_cannot_be_asked_is_refused_before_anything_is_dialled(
    run: Run, sql: str, options: tuple[str, ...], told: str
) -> None:
    purpose = () if "--purpose" in options else ("--purpose", "dpv:FraudPreventionAndDetection")
    said = run("query", sql, *purpose, *options, "--home", "rosa")
    assert said.code == 2, said.err
    _one_line(said, told)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--watch", "--out", "x.bad"), "no way to write .bad"),
        (("--watch", "--out", "x.safetensors"), "no way to write .safetensors"),
        (("--watch", "--out", "nowhere/x.csv"), "no such folder"),
        (("--out", "x.csv"), "needs --watch"),
    ],
)
def test_an_output_that_cannot_be_written_is_told_before_the_job_is_sent(
    run: Run, options: tuple[str, ...], told: str
) -> None:
    said = run("job", "submit", "job.yaml", *options, "--home", "rosa")
    assert said.code == 2
    _one_line(said, told)


@pytest.mark.parametrize("command", ["", "list", "show orders"])
@pytest.mark.parametrize(
    ("home", "code", "told"), [("nowhere", 2, "no node here"), ("p1", 2, "party's node"), ("rosa", 4, "localhost:9")]
)
def test_a_catalogue_that_cannot_be_read_is_told(run: Run, command: str, home: str, code: int, told: str) -> None:
    said = run("catalog", *command.split(), "--home", home)
    assert said.code == code
    _one_line(said, told)


@pytest.mark.parametrize(("name", "told"), [("ordres", "did you mean `orders`?"), ("\x1b[2J", "datasets are orders")])
def test_a_dataset_that_nobody_publishes_is_told_with_the_one_that_was_meant(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, told: str
) -> None:
    entries = {"p1": PartyEntry("p1", "DE", {"orders": contract()})}
    monkeypatch.setattr("federation.client.Researcher.catalogue", lambda _self: entries)
    said = run("catalog", "show", name, "--home", "rosa")
    assert said.code == 2
    _one_line(said, told)
    assert "\x1b" not in said.err


@pytest.mark.parametrize("command", ["watch", "result"])
def test_a_result_with_a_bad_ending_is_refused_before_it_is_fetched(run: Run, command: str) -> None:
    said = run("job", command, "abc", "--out", "x.doc", "--home", "rosa")
    assert said.code == 2
    _one_line(said, "no way to write .doc")


@pytest.mark.parametrize(
    ("variable", "value", "key"),
    [
        ("INBOND_LIMITS_STEP_SECONDS", "soon", "limits.step_seconds"),
        ("INBOND_LIMITS_STEP_SECONDS", "0", "limits.step_seconds"),
        ("INBOND_LIMITS_MESSAGE_MIB", "1e99", "limits.message_mib"),
        ("INBOND_LIFE_REJOIN_SECONDS", "1", "life.rejoin_seconds"),
        ("INBOND_LIFE_HEARTBEAT_SECONDS", "nan", "life.heartbeat_seconds"),
        ("INBOND_NODE_COUNTRY", "Germany", "node.country"),
        ("INBOND_KEYS_UNLOCK", "post-it", "keys.unlock"),
    ],
)
def test_a_bad_variable_is_named_with_its_key(
    run: Run, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, key: str
) -> None:
    monkeypatch.setenv(variable, value)
    said = run("user", "status", "--home", "rosa")
    assert said.code == 2
    _one_line(said, variable)
    assert key in said.err
    assert "inbond.toml" not in said.err


CONTRACTS = [
    (b"", "contract"),
    (JUNK, "is not text"),
    (CONTRACT.replace("dataset: orders", "dataset: [").encode(), "YAML"),
    (CONTRACT.replace("amount: {type: money", "amonut: {type: money").encode(), "amonut is not in the source"),
    (CONTRACT.replace("orders.parquet", "nowhere.parquet").encode(), "no such file"),
    (CONTRACT.replace("orders.parquet", "inbond.toml").encode(), "inbond.toml"),
    (CONTRACT.replace("kind: parquet", "kind: excel").encode(), "kind"),
    (CONTRACT.replace("minimum_group: 5", "minimum_group: 0").encode(), "minimum_group"),
    (CONTRACT.replace("expires: 2036-01-31", "expires: someday").encode(), "expires"),
    (CONTRACT.replace("jurisdiction: DE", "jurisdiction: EU1").encode(), "jurisdiction"),
    (CONTRACT.replace("purposes: [dpv:Fraud", "purposes: [Fraud").encode(), "purposes"),
    (CONTRACT.replace("class: public", "class: secret").encode(), "class"),
    (CONTRACT.replace("minimum_parties: 3", "minimum_partys: 3").encode(), "minimum_partys"),
    (
        CONTRACT.replace("recipient_kind: merchant", "recipient_knd: merchant").encode(),
        "law.recipients.*.recipient_knd",
    ),
    (CONTRACT.replace("category: order_ref", "category: shoe_size").encode(), "columns.customer.category"),
]


@pytest.mark.parametrize(("text", "told"), CONTRACTS, ids=range(len(CONTRACTS)))
def test_a_party_with_a_bad_contract_or_table_does_not_start(
    run: Run, world: Path, tmp_path: Path, text: bytes, told: str
) -> None:
    home = certified_home(TestAuthority(CONSORTIUM), "party", "p1", tmp_path / "p1")
    furnish(home)
    (home / "contracts" / "orders.yaml").write_bytes(text)
    said = run("party", "start", "--home", str(home))
    assert said.code == 2
    _one_line(said, told)


@pytest.mark.parametrize(
    ("file", "told", "content"),
    [
        ("orders.parquet", "orders.parquet", JUNK),
        ("orders.parquet", "orders.parquet", b""),
        ("state.db", "state.db", JUNK),
        ("audit.db", "audit.db", JUNK),
        ("budget.db", "budget.db", JUNK),
        ("keys/unlock.key", "key", JUNK),
        ("keys/unlock.key", "key", b""),
        ("certs/credentials.json", "credentials", JUNK),
        ("certs/credentials.json", "credentials", b""),
        ("certs/credentials.json", "credentials", b"[]"),
        ("policies/own.cedar", "own.cedar", JUNK),
        ("policies/own.cedar", "own.cedar", b"permit(principal"),
    ],
)
def test_a_party_with_a_damaged_file_does_not_start_and_says_which(
    run: Run, tmp_path: Path, file: str, told: str, content: bytes
) -> None:
    home = certified_home(TestAuthority(CONSORTIUM), "party", "p1", tmp_path / "p1")
    furnish(home)
    (home / file).parent.mkdir(exist_ok=True)
    (home / file).write_bytes(content)
    said = run("party", "start", "--home", str(home))
    assert said.code in {2, 5}, said.err
    _one_line(said, told)


@pytest.mark.parametrize("content", [JUNK, b"{}", b'{"pid": "x", "state": "up"}', b"[]"])
def test_a_damaged_sign_of_life_is_named(run: Run, world: Path, content: bytes) -> None:
    (world / "p1" / "agent.json").write_bytes(content)
    said = run("party", "status", "--home", "p1")
    (world / "p1" / "agent.json").unlink()
    assert said.code == 2
    _one_line(said, "agent.json")


@pytest.mark.parametrize(
    "content", [JUNK, b"", b"{}", b"inbond-audit-export/1\n"], ids=["garbage", "empty", "json", "cut"]
)
def test_an_export_that_is_none_does_not_verify(run: Run, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "export").write_bytes(content)
    said = run("audit", "verify", str(tmp_path / "export"))
    assert said.code == 5
    assert "DOES NOT VERIFY" in said.out
    assert "Traceback" not in said.err


@pytest.mark.parametrize("content", [JUNK, b""], ids=["garbage", "empty"])
def test_a_certificate_request_that_is_none_is_refused(run: Run, tmp_path: Path, content: bytes) -> None:
    home = str(tmp_path / "ca")
    assert run("ca", "init", "acme.example", "--home", home).code == 0
    (tmp_path / "requests").write_bytes(content)
    said = run("ca", "sign", str(tmp_path / "requests"), "party/p1", "--out", str(tmp_path / "reply"), "--home", home)
    assert said.code == 2
    _one_line(said, "not two certificate requests")
    assert not (tmp_path / "reply").exists()


@pytest.mark.parametrize("name", ["Party/p1", "party/P 1", "king/p1", "party", "", "party/../x"])
def test_an_invitation_is_made_for_a_proper_name_only(run: Run, tmp_path: Path, name: str) -> None:
    home = str(tmp_path / "ca")
    assert run("ca", "init", "acme.example", "--home", home).code == 0
    said = run("ca", "invite", name, "--home", home)
    assert said.code == 2
    _one_line(said, "")


def test_a_real_process_ends_with_the_code_and_the_line_and_no_traceback(world: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "inbond", "job", "submit", "junk", "--home", "rosa"],
        cwd=world,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == ["inbond: junk: is not text (invalid start byte); a job file in UTF-8"]


def test_an_interrupted_command_says_so_and_ends_with_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("federation.cli.read_text", interrupted)
    said = run("job", "submit", "job.yaml", "--home", "rosa")
    assert said.code == 130
    assert said.err == "inbond: interrupted\n"
