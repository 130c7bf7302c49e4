"""Rows for the eye: a table within 80 columns, and the report in docs/performance.md."""

from collections.abc import Mapping, Sequence

from benchmarks.machine import Machine
from benchmarks.row import Row

WIDTH = 80
COLUMNS = (22, 10, 10, 7, 14)  # metric, ours, peer's, ratio, goal
MEANINGS = {
    "round_p50_ms_40B": "median time of a round of three parties with 40 bytes each way",
    "round_p50_ms_4MB": "the same with 4 MB each way and party",
    "round_p50_ms_40MB": "the same with 40 MB each way and party",
    "sum_client_s_1M": "one party's work to clip, quantise, mask and encrypt a million float32 values",
    "sum_up_bytes_per_param": "bytes a party sends per value (float32 in the clear: 4)",
    "sum_coordinator_s_1M_3p": "adding three such contributions without opening them",
    "sum_max_abs_error": "largest difference of the opened sum from the true one",
    "decision_p50_us": "one policy decision with its explanation, median",
    "decision_p99_us": "the same, 99th percentile",
    "decision_cached_p50_us": "the same question asked again under the same policies",
    "law_decision_p50_us": "one transfer of a job decided by the regimes that apply to it, with explanation, median",
    "law_all_p50_us": "the same for a transfer to which all ten regimes apply",
    "law_cached_p50_us": "the same question asked again of the same law",
    "facts_30_steps_ms": "the facts of a plan of 30 transfers: read, derived, checked and parsed for Cedar",
    "append_per_s": "audit entries made durable one by one",
    "append_group100_per_s": "audit entries made durable a hundred at a time",
    "inclusion_proof_ms": "proof that one entry is in the log",
    "psi_ot_s_100k": "intersection of 100,000 by 100,000 items by OT extension, two processes",
    "psi_ot_s_1M": "the same with a million items each",
    "psi_ot_s_10M": "the same with ten million items each, once",
    "psi_ec_s_100k": "intersection of 100,000 by 100,000 items on ristretto255, two processes",
    "psi_ot_bytes_per_element": "bytes of all messages of OT extension per item of one side",
    "psi_peak_rss_mb_1M": "peak resident memory of the larger of the two processes",
    "psi_peak_rss_mb_10M": "the same with ten million items each",
    "join_sum_s_1M_20g": "COUNT and SUM by 20 groups over a join of a million by a million rows, by OT extension",
    "join_hidden_s_1M_20g": "the same on ristretto255, where neither side learns which of its rows match",
    "job_over_protocol_ratio_1M": "a joined query as a whole job, over its bare protocol with the same columns",
    "job_over_8_parts_ratio_1M": "the same job over that protocol in eight parts, whose sides work at the same time",
}
PEERS = {
    "Flower": "`pip install flwr==1.41.0` (a dependency of inbond; its SuperLink and SuperNodes come with it)",
    "NVFLARE": "`pip install nvflare==2.9.0` in an environment of its own, and run the benchmark there",
    "NVFLARE's CKKS parameters": "TenSEAL, a dependency of inbond",
    "cedarpy": "a dependency of inbond",
    "pymerkle": "`pip install pymerkle==7.0.0`",
    "openmined-psi and SPU": "in an environment of their own, `.venv-peers`; `benchmarks/psi.py` says how to make it",
    "plain SQLite": "Python's own `sqlite3`: the floor, with no hashing, index or tree",
}


def number(value: float | None) -> str:
    """Three significant digits, thousands with commas; a dash where nothing was measured."""
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(rows: Sequence[Row]) -> str:
    """The rows as text, each with its peer and note on lines below, within 80 columns."""
    lines = [_line("metric", "ours", "peer's", "ratio", "goal"), "-" * WIDTH]
    for row in rows:
        unit = f" {row.unit}" if row.unit and row.unit not in row.metric else ""
        goal = f"{row.goal}{unit}"
        lines.append(_line(row.metric, number(row.ours), number(row.peer_value), number(row.ratio), goal))
        lines += _wrapped(f"beside {row.peer}" + (f"; {row.note}" if row.note else ""))
    return "\n".join(lines)


def _line(*cells: str) -> str:
    metric, *figures = cells
    sized = [figure.rjust(width) for figure, width in zip(figures[:-1], COLUMNS[1:], strict=False)]
    return "  ".join([metric.ljust(24), *sized, figures[-1]])[:WIDTH].rstrip()


def _wrapped(text: str) -> list[str]:
    lines, line = [], "   "
    for word in text.split():
        if len(line) + 1 + len(word) > WIDTH:
            lines.append(line)
            line = "   "
        line += f" {word}"
    return [*lines, line]


def markdown(measured: Mapping[str, Sequence[Row]], machine: Machine) -> str:
    """The report: machine, a table per benchmark, what each metric means, how to get each peer."""
    parts = [_head(machine)]
    for name, rows in measured.items():
        parts.append(f"## {name}\n\n{_table(rows)}\n\n{_meanings(rows)}")
    peers = "\n".join(f"- {name}: {how}" for name, how in PEERS.items())
    parts.append(f"## Peers\n\nA peer that is not installed has no figure here.\n\n{peers}")
    return "\n\n".join(parts) + "\n"


def _head(machine: Machine) -> str:
    return (
        "# Performance\n\n"
        "Written by `make bench`. Ours and the peer's were measured in one run on one machine; ratios between the two\n"
        "are safer than the figures. A ratio is ours over the peer's.\n\n"
        f"{machine.date}: {machine.system}, {machine.cores} cores, Python {machine.python}; making 4 KiB durable\n"
        f"takes {machine.fsync_ms:.2f} ms; load average at the end {machine.load:.1f} (above the number\n"
        "of cores, other programs slowed this run)."
    )


def _table(rows: Sequence[Row]) -> str:
    lines = ["| metric | unit | ours | goal | peer | peer's | ratio | note |", "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        cells = (
            row.metric,
            row.unit,
            number(row.ours),
            row.goal,
            row.peer,
            number(row.peer_value),
            number(row.ratio),
            row.note,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _meanings(rows: Sequence[Row]) -> str:
    return "\n".join(f"- `{metric}`: {MEANINGS[metric]}." for metric in dict.fromkeys(row.metric for row in rows))
