"""The benchmark of a join, on few rows; figures are looked at for their kind, never for their size."""

import numpy as np
import pytest

from benchmarks import join, join_job
from benchmarks.psi import Figures, Ids, Link, Role


def test_both_engines_are_measured_between_two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join, "PASSES", 1)
    rows = join.run([300])
    assert [row.metric for row in rows] == ["join_sum_s_300_20g", "join_hidden_s_300_20g"]
    for row in rows:
        assert row.ours > 0
        assert (row.peer_value, row.ratio, row.goal) == (None, None, "none")
        assert "bytes of messages a row" in row.note


def test_a_whole_job_is_measured_beside_its_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join, "PASSES", 1)
    rows = join_job.run([2000])
    assert [row.metric for row in rows] == ["job_over_protocol_ratio_2k", "job_over_1_parts_ratio_2k"]
    for row in rows:
        assert (row.goal, row.peer_value) == ("none", 1.0)
        assert row.ours == row.ratio
        assert row.ours > 0
        assert "s the job" in row.note


def test_a_job_in_parts_gives_the_right_answer() -> None:
    """Between real processes: 600,000 rows are published, so there are four parts; where few are, some are empty."""
    assert join_job._job(3000, published=600_000) > 0


def test_the_goals_stand_at_a_million_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join, "bare", lambda _engine, _size, _counts=1, _parts=1: Figures(1.0, 2.0, 3.0))
    monkeypatch.setattr(join_job, "_job", lambda _size: 1.5)
    assert [(row.metric, row.goal) for row in [*join.run(), *join_job.run()]] == [
        ("join_sum_s_1M_20g", "<= 15"),
        ("join_hidden_s_1M_20g", "<= 210"),
        ("job_over_protocol_ratio_1M", "<= 1.2"),
        ("job_over_8_parts_ratio_1M", "none"),
    ]


def test_a_wrong_table_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join, "_roles", _wrong)
    with pytest.raises(EOFError):
        join.bare("ot", 300)


def _wrong(_engine: str, _counts: int, _parts: int, size: int) -> tuple[Role, Role]:
    """The value side gives other amounts than are checked for."""
    attribute, _ = _ROLES("ot", 1, 1, size)

    def value(ids: Ids, link: Link) -> None:
        monkey = pytest.MonkeyPatch()
        monkey.setattr(join, "amounts", lambda count: np.ones(count, np.int64))
        _ROLES("ot", 1, 1, size)[1](ids, link)

    return attribute, value


_ROLES = join._roles


def test_the_expected_table_is_that_of_a_plain_loop() -> None:
    counts, sums = np.zeros(20, np.int64), np.zeros(20, np.int64)
    for place, amount in zip(range(150, 301), join.amounts(301).tolist(), strict=False):
        counts[place % 20] += 1
        sums[place % 20] += amount
    assert (join.expected(301, 20) == np.stack([counts, sums], axis=1)).all()
