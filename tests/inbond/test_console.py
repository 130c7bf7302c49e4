"""Results on standard output, everything else on standard error, and a stranger's text is only ever text."""

import json
import sys
import time

import pytest
from rich.progress import Progress

from inbond.console import bars, emit, facts, note, size, table


def test_json_is_one_document_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    emit({"name": "Köln", "at": 3}, json=True, human=lambda console: console.print("never"))
    said = capsys.readouterr()
    assert json.loads(said.out) == {"name": "Köln", "at": 3}
    assert said.err == ""


def test_a_strangers_markup_is_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    emit(None, json=False, human=lambda console: console.print(table(("why",), [["[/red] [address] :smile:"]])))
    emit(None, json=False, human=lambda console: console.print(facts({"why": "[bold]x"})))
    said = capsys.readouterr().out
    assert "[/red] [address] :smile:" in said
    assert "[bold]x" in said


def test_what_a_stranger_wrote_drives_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    emit(None, json=False, human=lambda console: console.print(table(("why",), [["a\x1b[2Jb\rc"]])))
    emit(None, json=False, human=lambda console: console.print(facts({"why": "x\x1b]0;y", "lines": "one\ntwo"})))
    said = capsys.readouterr().out
    assert "a [2Jb c" in said
    assert "\x1b" not in said
    assert [line.strip() for line in said.splitlines()[-2:]] == ["lines  one", "two"]


def test_a_long_word_goes_on_in_the_next_line_and_is_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    emit(None, json=False, human=lambda console: console.print(table(("a", "b"), [["x" * 60, "y" * 60]])))
    said = capsys.readouterr().out
    assert (said.count("x"), said.count("y")) == (60, 60)


def test_tables_fit_eighty_columns_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    emit(None, json=False, human=lambda console: console.print(table(("a", "b"), [["x" * 60, "y" * 60]])))
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_notes_and_bars_stay_off_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    note("a line")
    with bars() as progress:
        task = progress.add_task("[/x]", total=2, detail="[/y]")
        progress.update(task, advance=1)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("count", "shown"), [(0, "0 B"), (999, "999 B"), (3_800_000, "3.8 MB"), (2e12, "2000.0 GB")])
def test_sizes_are_for_people(count: float, shown: str) -> None:
    assert size(count) == shown


def _shown(progress: Progress) -> bool:
    return progress.live.is_started


def test_a_bar_of_what_is_quick_is_never_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with bars(after=60) as progress:
        progress.add_task("reading", total=1, detail="")
    assert capsys.readouterr() == ("", "")
    with bars(after=0.01) as progress:
        progress.add_task("reading", total=1, detail="orders")
        ends = time.monotonic() + 20
        while not _shown(progress):
            assert time.monotonic() < ends
            time.sleep(0.01)
    assert not _shown(progress)
    said = capsys.readouterr()
    assert said.out == ""
    assert "orders" in said.err
