"""The examples run, each by its one command, and show what they say; nothing of them stays behind.

The demo and the quick start are real: processes, certificates, mutual TLS, encrypted training and queries. They run
once per module, in a folder of their own.
"""

import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from examples.consortium import CommandFailed, Consortium
from examples.datasets import FIRMS, MERCHANTS, ORDERS, WAREHOUSES, make_synthetic, partition_real
from examples.demo import __main__ as demo
from examples.demo.folder import MARKER, run_folder
from examples.demo.querying import plain_answer
from examples.demo.stage import Stage
from examples.members import PARTIES, example_job, members
from inbond.errors import ConfigError
from policies.contract import load_contract

ROOT = Path(__file__).parents[2]
JOBS = sorted(path.stem for path in (ROOT / "examples" / "jobs").glob("*.yaml"))
DATA = Path(os.environ.get("INBOND_DATA", ROOT.parent / "shared" / "data"))
START_SECONDS = 60.0


@dataclass(frozen=True)
class Ran:
    """A command that has ended."""

    code: int
    out: str
    err: str
    folder: Path

    @property
    def text(self) -> str:
        """Standard output with all white space as one blank, so that folded sentences can be found."""
        return " ".join(self.out.split())


def start(module: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(process: subprocess.Popen[str], timeout: float) -> tuple[str, str]:
    """What the process printed; one that takes too long is interrupted, so that it ends its own processes."""
    try:
        return process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        process.communicate()
        raise


def left_running(folder: Path) -> list[str]:
    """The command lines of processes that were started for `folder`."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it ended while we looked
        if str(folder) in line:
            found.append(line)
    return found


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The whole demo on synthetic data."""
    folder = tmp_path_factory.mktemp("demo") / "run"
    process = start("examples.demo", "--folder", str(folder))
    out, err = ended(process, 280)
    return Ran(process.returncode, out, err, folder)


@pytest.mark.timeout(300)
def test_the_demo_ends_well_and_fits_80_columns(shown: Ran) -> None:
    assert shown.code == 0, shown.out[-3000:] + shown.err
    assert "All checks held." in shown.out
    assert "FAILED" not in shown.out
    assert [line for line in shown.out.splitlines() if len(line) > 80] == []


def test_the_demo_shows_its_chapters_in_order(shown: Ran) -> None:
    headings = re.findall(r"^(\d)\. (.*)", shown.out, re.MULTILINE)
    assert [number for number, _ in headings] == list("12345678")


def test_the_demo_trains_both_models_and_says_how_they_compare(shown: Ran) -> None:
    for label in ("WAPE", "AUPRC"):
        assert len(re.findall(rf"after round +\d+/\d+: joint {label} \d\.\d{{4}}", shown.out)) >= 7
        assert re.search(rf"checked: {label} \d\.\d+ beats each party alone", shown.text)
        assert re.search(rf"checked: {label} \d\.\d+ beats the simple rule", shown.text)


def test_the_demo_kills_a_party_and_its_job_finishes(shown: Ran) -> None:
    order = ["p2 killed with -9 in round", "party away: p2", "party back: p2", "checked: p2 died in round"]
    places = [shown.text.index(text) for text in order]
    assert places == sorted(places)


def test_the_demo_answers_exactly_and_charges_noise(shown: Ran) -> None:
    assert shown.text.count("checked: equal, to the cent, to DuckDB's plain answer") == 3
    assert "checked: each firm's ledger was charged before release: epsilon p1 2, p2 2, p3 2" in shown.text


def test_the_demo_shows_a_refusal_with_its_articles(shown: Ran) -> None:
    assert "[G6x-unassessed, GDPR 44; GDPR 46(1); C-311/18]. What would be lawful: with" in shown.text
    assert "checked: refused under UK GDPR and GDPR, with articles and the lawful way" in shown.text


def test_the_demo_verifies_every_log_and_finds_a_forgery(shown: Ran) -> None:
    assert "checked: all 12 logs verify" in shown.text
    assert re.search(r"one word of p3's entry \d+ is changed fails, and the check names that entry", shown.text)


def test_the_demo_says_what_each_job_cost(shown: Ran) -> None:
    costs = re.findall(
        r"^(\S+) +[0-9a-f]{12} +([\d.]+) +([\d.]+ \w+) +([\d.]+ \w+) +([\d.]+) *$", shown.out, re.MULTILINE
    )
    assert [row[0] for row in costs] == [
        "demand",
        "fraud",
        "payments-by-country",
        "orders-by-country",
        "sales-by-method",
        "methods-noised",
    ]
    assert all(seconds != "0.0" and "0 B" not in (down, up) for _, seconds, down, up, _ in costs)
    assert [row[4] for row in costs] == ["0", "0", "0", "0", "0", "2"]


def test_the_demo_leaves_no_folder_and_no_process(shown: Ran) -> None:
    assert not shown.folder.exists()
    assert left_running(shown.folder) == []


def test_an_interrupted_demo_ends_its_processes_and_removes_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start("examples.demo", "--folder", str(folder))
    deadline = time.monotonic() + START_SECONDS
    while len(left_running(folder)) < 3 and time.monotonic() < deadline:  # the demo, the authority, and one more
        time.sleep(0.05)
    assert len(left_running(folder)) >= 3
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    _, err = ended(process, 60)
    assert (process.returncode, err) == (130, "demo: interrupted; all processes were ended\n")
    assert not folder.exists()
    assert left_running(folder) == []


def test_the_quick_start_runs() -> None:
    process = start("examples.quickstart")
    out, err = ended(process, 170)
    assert process.returncode == 0, err
    assert out.count("verdict of p") == 3
    assert "  researcher: exact aggregate\n" in out
    assert len(re.findall(r"^  [A-Z]{2} +[\d,]+ payments, \d\.\d\d% fraud$", out, re.MULTILINE)) == 9
    joint, alone = map(float, re.findall(r"average precision (\d\.\d+), and (\d\.\d+) had", out)[0])
    assert joint > alone


def test_the_quick_start_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    process = start("examples.quickstart", "--home", str(tmp_path))
    out, err = ended(process, 60)
    assert (process.returncode, out, err.count("\n")) == (1, "", 1)
    assert str(tmp_path) in err


@pytest.mark.parametrize("name", JOBS)
def test_every_job_file_is_valid_and_asks_for_data_that_someone_has(name: str) -> None:
    spec = example_job(name)
    assert any(f"-{spec.dataset}" in path.stem for path in (ROOT / "examples" / "contracts").glob("*.yaml"))


def test_the_readme_names_every_job_and_no_other() -> None:
    named = re.findall(r"^  \| `(\w+)\.yaml`", (ROOT / "examples" / "README.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(named) == JOBS


def test_every_member_has_contracts_that_load_and_their_tables(tmp_path: Path) -> None:
    make_synthetic(tmp_path, seed=3, scale=0.05)
    for member in members(tmp_path):
        assert member.user or member.contracts
        for file, text in member.contracts.items():
            contract = load_contract(text, file)
            assert contract.source.path in member.tables
            assert contract.jurisdiction == member.country


def test_the_plain_answer_is_the_sum_over_all_parties_without_small_groups(tmp_path: Path) -> None:
    make_synthetic(tmp_path, seed=3, scale=0.05)
    every = plain_answer(tmp_path, example_job("orders_by_country"), MERCHANTS, minimum=1)
    large = plain_answer(tmp_path, example_job("orders_by_country"), MERCHANTS, minimum=10)
    rows = sum(pq.read_metadata(tmp_path / party / "orders.parquet").num_rows for party in MERCHANTS)
    assert sum(count for _, count, _ in every) == rows
    assert large == [row for row in every if row[1] >= 10]
    assert len(large) < len(every)


@pytest.mark.skipif(not (DATA / ORDERS).is_file(), reason="the public data sets are not here: set INBOND_DATA")
def test_the_public_data_are_cut_as_published(tmp_path: Path) -> None:
    partition_real(DATA, tmp_path)

    def rows(parties: tuple[str, ...], table: str) -> list[int]:
        return [pq.read_metadata(tmp_path / party / f"{table}.parquet").num_rows for party in parties]

    assert rows(WAREHOUSES, "sales") == [155_455, 153_420, 136_083]
    assert rows(FIRMS, "payments") == [151_383, 153_807, 72_263]
    assert rows(FIRMS, "order_payments") == [8_739, 4_911, 3_183]
    assert rows(MERCHANTS, "orders") == [15_228, 1_430]


# the demo's parts


def test_a_check_that_does_not_hold_decides_the_exit_code() -> None:
    stage = Stage(io.StringIO())
    stage.check("one and one is two", holds=True)
    assert demo.verdict(stage) == 0
    stage.check("one and one is three", holds=False)
    assert demo.verdict(stage) == 1
    assert stage.failed == ["one and one is three"]


def test_a_machine_without_torch_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda _name: None)
    assert demo.main([]) == 2
    assert capsys.readouterr().err == "demo: it trains models, and torch is missing; pip install 'inbond[train]'\n"


def test_a_folder_of_somebody_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    process = start("examples.demo", "--folder", str(tmp_path))
    _, err = ended(process, 60)
    assert process.returncode == 2
    assert err == f"demo: {tmp_path}: is not the folder of a demo; start the demo in another folder\n"
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_missing_data_folder_is_told_in_one_line(tmp_path: Path) -> None:
    process = start("examples.demo", "--folder", str(tmp_path / "run"), "--data", str(tmp_path / "nowhere"))
    _, err = ended(process, 60)
    assert (process.returncode, err.count("\n")) == (2, 1)
    assert "no such file; give the folder that holds the public data sets" in err
    assert not (tmp_path / "run").exists()


def test_a_kept_folder_is_used_again_and_a_second_demo_waits_outside(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with run_folder(folder, keep=True):
        (folder / "old").write_text("of the last run")
        with pytest.raises(ConfigError, match="a demo runs in it"), run_folder(folder, keep=True):
            pass
    assert (folder / "old").exists()
    with run_folder(folder, keep=False):
        assert [path.name for path in folder.iterdir()] == [MARKER]
    assert not folder.exists()


# the consortium


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consortium]:
    """A consortium that is made and not started: only its authority runs."""
    folder = tmp_path_factory.mktemp("made")
    make_synthetic(folder / "tables", seed=3, scale=0.05)
    with Consortium(folder / "nodes", members(folder / "tables")) as made:
        made.make()
        yield made


def test_a_command_in_this_process_says_what_the_command_line_says(consortium: Consortium) -> None:
    def joined(text: str) -> Any:
        return sorted(line.split()[0] for line in text.splitlines()[1:] if line.strip())

    shown = consortium.command("ca", "list", home="authority")
    assert shown == consortium.cli("ca", "list", home="authority")
    assert joined(shown) == sorted(["coordinator", "user/rosa", "user/uma", *(f"party/{name}" for name in PARTIES)])


def test_a_command_fails_in_this_process_as_on_the_command_line(consortium: Consortium) -> None:
    for run in (consortium.command, consortium.cli):
        with pytest.raises(CommandFailed, match="an authority is here already") as failed:
            run("ca", "init", "acme.example", home="authority")
        assert failed.value.code == 2


def test_settings_of_the_consortium_do_not_stay_in_this_process(consortium: Consortium) -> None:
    consortium.command("ca", "status", home="authority")
    assert "INBOND_LIFE_REJOIN_SECONDS" not in os.environ


def test_a_process_that_is_just_being_started_is_ended_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = subprocess.Popen

    def interrupted(*_: object, **__: object) -> "subprocess.Popen[bytes]":
        child = real([sys.executable, "-c", "import time; time.sleep(60)"])
        signal.raise_signal(signal.SIGINT)
        return child

    consortium = Consortium(tmp_path, [])
    monkeypatch.setattr("examples.consortium.subprocess.Popen", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever another test left
    try:
        with pytest.raises(KeyboardInterrupt):
            consortium.launch("p1")
    finally:
        signal.signal(signal.SIGINT, before)
    consortium.stop()
    assert consortium.processes["p1"].poll() is not None
