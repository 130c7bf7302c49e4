"""What `python -m benchmarks` prints and writes; figures are looked at for their kind, never for their size."""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import audit, encrypted_sum, flower_rounds, law, policy, rounds
from benchmarks.machine import Machine
from benchmarks.report import MEANINGS, WIDTH, markdown, number, table
from benchmarks.row import Row

MACHINE = Machine("2026-01-31", "Linux x86_64", "3.11.7", 2, 0.2, 1.5)
MEASURED = Row("append_per_s", "entries/s", 4600.0, "plain SQLite WAL FULL", 5750.0, 0.8, ">= 4,500")
UNMEASURED = Row("append_per_s", "entries/s", 4600.0, "pymerkle", None, None, ">= 4,500", "to compare: pip install it")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Benchmarks that take no time."""
    monkeypatch.setattr(command, "BENCHMARKS", {"audit": lambda: [MEASURED, UNMEASURED], "policy": lambda: [MEASURED]})
    monkeypatch.setattr(command, "SIZED", {})


def check(rows: list[Row], metrics: set[str]) -> None:
    """Every metric is there and measured; a ratio stands exactly where a peer was measured."""
    assert {row.metric for row in rows} == metrics
    for row in rows:
        assert isinstance(row.ours, float)
        assert row.ours >= 0
        assert row.goal
        assert row.metric in MEANINGS
        assert (row.peer_value is None) == (row.ratio is None)
        if row.peer_value:
            assert row.ratio == pytest.approx(row.ours / row.peer_value)


# one small run of each


def test_a_round_of_three_real_parties_is_measured(tmp_path: Path) -> None:
    sizes = [rounds.Size("40B", 40, 4, 1, 10), rounds.Size("4MB", 4_000_000, 2, 1, 80)]
    rows = rounds.run(sizes, with_peer=False, folder=tmp_path)
    check(rows, {"round_p50_ms_40B", "round_p50_ms_4MB"})
    assert all(row.ours > 0 and row.peer_value is None and row.note for row in rows)
    assert not list(tmp_path.iterdir())


def test_the_encrypted_sum_is_measured() -> None:
    names = {"sum_client_s_1M", "sum_up_bytes_per_param", "sum_coordinator_s_1M_3p", "sum_max_abs_error"}
    rows = encrypted_sum.run(params=10_000)
    check([row for row in rows if row.peer == encrypted_sum.CKKS], names)


def test_a_policy_decision_is_measured() -> None:
    check(policy.run(calls=50, naive_calls=3), {"decision_p50_us", "decision_p99_us", "decision_cached_p50_us"})


def test_the_law_is_measured() -> None:
    rows = law.run(calls=60, builds=2)
    check(rows, {"law_decision_p50_us", "law_all_p50_us", "law_cached_p50_us", "facts_30_steps_ms"})
    assert all("10 regimes" in row.note for row in rows)


def test_the_audit_log_is_measured(tmp_path: Path) -> None:
    rows = audit.run(singles=20, groups=2, folder=tmp_path)
    check(rows, {"append_per_s", "append_group100_per_s", "inclusion_proof_ms"})


def test_flower_that_is_not_installed_is_no_figure_but_a_way_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flower_rounds, "find_spec", lambda _name: None)
    assert flower_rounds.measure({40: 1}) == ({}, f"not installed: {flower_rounds.INSTALL}")


# the command


@pytest.mark.usefixtures("quick")
def test_json_is_a_list_of_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["audit", "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == [asdict(MEASURED), asdict(UNMEASURED)]
    assert "audit" in shown.err


def test_what_a_library_prints_is_kept_out_of_the_rows(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def noisy() -> list[Row]:
        os.write(1, b"a warning\n")
        print("another")
        return [MEASURED]

    monkeypatch.setattr(command, "BENCHMARKS", {"audit": noisy})
    assert command.main(["audit", "--json"]) == 0
    shown = capfd.readouterr()
    assert json.loads(shown.out) == [asdict(MEASURED)]
    assert "a warning" in shown.err
    assert "another" in shown.err


@pytest.mark.usefixtures("quick")
def test_all_runs_every_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["all", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 3


@pytest.mark.usefixtures("quick")
def test_an_unknown_name_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["speed"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert re.fullmatch(r"benchmarks: no benchmark 'speed'; one of audit, policy, all\n", shown.err)


def test_sizes_go_to_a_benchmark_that_takes_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[object] = []

    def sized(sizes: Sequence[int] | None) -> list[Row]:
        asked.append(sizes)
        return [MEASURED]

    monkeypatch.setattr(command, "SIZED", {"psi": sized})
    assert command.main(["psi", "--n", "1000", "--n", "2000", "--json"]) == 0
    assert command.main(["psi"]) == 0
    assert asked == [[1000, 2000], None]
    capsys.readouterr()
    assert command.main(["psi", "--n", "0"]) == 2
    assert "--n 0 is no size" in capsys.readouterr().err
    assert command.main(["audit", "--n", "5"]) == 2
    assert "--n does not go with audit; it goes with psi" in capsys.readouterr().err
    assert len(asked) == 2


@pytest.mark.usefixtures("quick")
def test_the_report_is_written_where_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "performance.md"
    assert command.main(["all", "--write", str(report)]) == 0
    text = report.read_text("utf-8")
    assert "## audit" in text
    assert "## policy" in text
    assert "append_per_s" in capsys.readouterr().out


# tables


def test_a_table_keeps_within_80_columns_and_shows_no_figure_for_a_peer_that_was_not_measured() -> None:
    lines = table([MEASURED, UNMEASURED]).splitlines()
    assert max(map(len, lines)) <= WIDTH
    figures = [line.split() for line in lines if line.startswith("append_per_s")]
    assert [words[1:4] for words in figures] == [["4,600", "5,750", "0.8"], ["4,600", "-", "-"]]


def test_a_report_says_the_machine_the_meaning_and_how_to_install_a_peer() -> None:
    text = markdown({"audit": [UNMEASURED]}, MACHINE)
    assert "2026-01-31: Linux x86_64, 2 cores" in text
    assert "0.20 ms" in text
    assert MEANINGS["append_per_s"] in text
    assert "to compare: pip install it" in text
    assert "pip install nvflare==2.9.0" in text


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "-"), (0.0, "0"), (0.08812, "0.0881"), (9.96, "9.96"), (81_234.4, "81,234")]
)
def test_figures_have_three_digits(value: float | None, shown: str) -> None:
    assert number(value) == shown


def test_the_machine_is_described() -> None:
    machine = Machine.look()
    assert machine.cores >= 1
    assert machine.fsync_ms > 0
