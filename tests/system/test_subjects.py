"""Who withdraws or is erased is absent from the next round of a training and from the next query, between processes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

from compliance.audit.entry import EntryType
from federation.client import Researcher
from inbond.answers import Answer
from parties.withheld import READ
from policies.job import load_job
from tests.system.world import FIRMS, PURPOSE, SQL, Followed, World, long_training


def _customers(world: World, firm: str, most: int) -> list[str]:
    """Ids of customers of a firm, those with the most payments first: no cell changes by a few rows."""
    table = world.home(firm) / "payments.parquet"
    sql = f"SELECT customer_id FROM '{table}' GROUP BY 1 ORDER BY COUNT(*) DESC, 1 LIMIT {most}"
    return [str(one) for (one,) in duckdb.execute(sql).fetchall()]


def _plain(world: World, left_out: Mapping[str, list[str]]) -> dict[str, tuple[int, int]]:
    """The query over all rows in one place, without these people."""
    rows = " UNION ALL ".join(
        f"SELECT * FROM '{world.home(firm) / 'payments.parquet'}' "
        f"WHERE customer_id NOT IN ({', '.join(left_out.get(firm, [])) or 'NULL'}) OR {not left_out.get(firm)}"
        for firm in FIRMS
    )
    sql = f"SELECT customer_country, COUNT(*), SUM(amount_cents) FROM ({rows}) GROUP BY 1 HAVING COUNT(*) >= 10"
    return {country: (n, int(cents)) for country, n, cents in duckdb.execute(sql).fetchall()}


def _asked(rosa: Researcher) -> dict[str, tuple[int, int]]:
    job = rosa.submit(rosa.query_spec(SQL, purpose=PURPOSE, parties=list(FIRMS), minimum_parties=3))
    assert rosa.wait(job).state == "finished"
    answer = rosa.result(job)
    assert isinstance(answer, Answer)
    return {row["customer_country"]: (row["n"], row["cents"]) for row in answer.rows if row["n"] is not None}


def _reads(world: World, firm: str, job: str | None = None) -> list[Any]:
    entries = world.entries(firm, job)
    return [one.data for one in entries if one.type is EntryType.STEP and one.data.get("event") == READ]


def _say(world: World, firm: str, act: str, people: list[str], folder: Path, *more: str) -> Any:
    file = folder / f"{firm}-{act}.txt"
    file.write_text("\n".join(people))
    return json.loads(world.command("subject", act, "--ids", str(file), *more, "--json", home=firm))


def test_who_withdrew_is_not_in_the_next_query_and_the_log_says_so(
    world: World, rosa: Researcher, tmp_path: Path
) -> None:
    assert _asked(rosa) == _plain(world, {})
    people = _customers(world, "p1", 5)
    assert _say(world, "p1", "withdraw", people, tmp_path, "--purpose", PURPOSE)["kept"] == 5
    assert _asked(rosa) == _plain(world, {"p1": people})
    assert [one["withheld"] for one in _reads(world, "p1")][-2:] == [0, 5]
    assert {one["withheld"] for one in _reads(world, "p2")} == {0}, "nobody said anything to another firm"
    assert not any(person in str(_reads(world, "p1")) for person in people[:5])


def test_who_is_erased_in_a_training_is_absent_from_its_next_round_and_it_can_be_run_again_without(
    world: World, rosa: Researcher, tmp_path: Path
) -> None:
    followed = Followed(rosa, long_training(rounds=15))
    followed.step("train", 1)
    person, *others = _customers(world, "p2", 4)
    _say(world, "p2", "erase", [person, *others], tmp_path)
    followed.state("finished", 150)
    reads = [(one["withheld"], one["people"]) for one in _reads(world, "p2", followed.job)]
    assert reads == [(0, "all but the withheld"), (4, "all but the withheld")], "read again for the next round"
    found = world.json("subject", "show", person, home="p2")
    assert {one["act"] for one in found["statements"]} == {"erase"}
    assert {one["job"]: one["was_in"] for one in found["jobs"]}[followed.job] is True, "it was in the rounds before"
    (again,) = (
        one
        for one in world.json("subject", "retrain", person, "--out", str(tmp_path / "again"), home="p2")
        if one["job"] == followed.job
    )
    spec = load_job(Path(again["file"]).read_text("utf-8"), again["file"])
    assert json.loads(spec.model_dump_json())["recipe"] == json.loads(long_training().model_dump_json())["recipe"]
    job = rosa.submit(spec.model_copy(update={"rounds": 1}))
    assert rosa.wait(job).state == "finished"
    assert [one["withheld"] for one in _reads(world, "p2", job)] == [4]
    found = world.json("subject", "show", person, home="p2")
    assert {one["job"]: one["was_in"] for one in found["jobs"]}[job] is False
    world.verify("p1", "p2")
