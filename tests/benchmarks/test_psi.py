"""The benchmark of set intersection, on small sets; figures are looked at for their kind, never for their size."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import psi, psi_peers


def test_both_engines_are_measured_between_two_processes_and_a_missing_peer_is_a_way_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("INBOND_PEERS", str(tmp_path))
    monkeypatch.setattr(psi, "PASSES", 1)
    rows = psi.run([1000, 3000])
    assert {row.metric for row in rows} == {
        *("psi_ot_s_1k", "psi_ec_s_1k", "psi_ot_s_3k", "psi_ec_s_3k"),
        *("psi_ot_bytes_per_element", "psi_peak_rss_mb_3k"),
    }
    for row in rows:
        assert row.ours > 0
        assert row.goal
        assert (row.peer_value, row.ratio) == (None, None)
        assert ".venv-peers/bin/pip install" in row.note


def test_a_peer_that_runs_is_compared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    figures = {"seconds": 4.0, "bytes_each": 40.0, "memory": 600.0, "note": "as it says"}
    _fake_python(tmp_path, f"echo a warning; echo '{json.dumps(figures)}'")
    monkeypatch.setenv("INBOND_PEERS", str(tmp_path))
    peer = psi._peer(psi.RR22, 10)
    row = psi._row("psi_ot_s_1M", "s", "seconds", psi.Figures(2.0, 110.0, 150.0), peer)
    assert (row.peer_value, row.ratio, row.goal, row.note) == (4.0, 0.5, "<= 4.9", "as it says")


def test_a_peer_that_fails_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _fake_python(tmp_path, "echo 'OSError: no port' >&2; exit 1")
    monkeypatch.setenv("INBOND_PEERS", str(tmp_path))
    assert psi._peer(psi.RR22, 10) == psi.Peer(psi.RR22, None, "failed: OSError: no port")
    monkeypatch.setenv("INBOND_PEERS", str(tmp_path / "other"))
    assert "spu==0.9.5" in psi._peer(psi.RR22, 10).note


def test_the_identifiers_are_those_of_the_peers() -> None:
    assert psi._ids(70_000, 70_000).astype(str).tolist() == psi_peers.ids(70_000, 70_000)


def test_a_side_that_dies_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EOFError):
        psi._pass(_broken, 100)


def _broken(size: int) -> tuple[psi.Role, psi.Role]:
    def fail(_ids: psi.Ids, _link: psi.Link) -> None:
        sys.exit("as a test asks")

    return psi._ot(size)[0], fail


def _fake_python(folder: Path, script: str) -> None:
    (folder / "bin").mkdir()
    python = folder / "bin" / "python"
    python.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    python.chmod(0o755)
