"""An answer on a terminal or as JSON, for whoever may read it: a researcher, or a party's own people."""

from pathlib import Path
from typing import Any

from inbond.answers import Answer, as_json, as_text
from inbond.console import emit, table
from inbond.result_files import write_answer


def show_answer(found: Answer, out: Path | None, *, force: bool, json: bool) -> None:
    """Print an answer, and write it to `out` where there is one. Raises ConfigError."""
    if out is not None:
        write_answer(found, out, force=force)
    rows = [{name: as_json(value) for name, value in row.items()} for row in found.rows]
    data = {"job": found.job, "columns": found.columns, "rows": rows, "suppressed": found.suppressed}

    def human(console: Any) -> None:
        console.print(table(found.columns, ([_cell(row[name]) for name in found.columns] for row in found.rows)))
        if found.suppressed:
            console.print(f"{found.suppressed} groups of fewer than {found.plan.minimum_group} rows are not shown")

    emit(data, json=json, human=human)


def _cell(value: Any) -> str:
    """One value of an answer for a person: a suppressed one is a dash, an average has four places."""
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else as_text(value)
