"""An auditor opens what one side of a real join sent, through the command line and between real processes."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compliance.audit.entry import Entry
from examples.consortium import CommandFailed, Member
from tests.system.retail import make_tables, member
from tests.system.world import PURPOSE, World

SQL = "SELECT COUNT(*) AS n, SUM(p.amount_gbp) AS amount FROM orders o JOIN order_payments p ON o.order_id = p.order_id"
AUDIT = "audit: {values_to: [ada]}\n"


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A merchant and a firm in Great Britain, a researcher, and an auditor there whom both contracts name."""
    tables = make_tables(tmp_path_factory.mktemp("retail"))
    parties = [member(name, tables) for name in ("m1", "p1")]
    audited = [replace(one, contracts={file: text + AUDIT for file, text in one.contracts.items()}) for one in parties]
    ada = Member("ada", "GB", user=True, standing=("supervision", "auditor"))
    with World(tmp_path_factory.mktemp("market"), [Member("rosa", "GB", user=True), ada, *audited]) as running:
        running.make()
        running.start()
        yield running


def commitments(market: World, name: str) -> list[Entry]:
    return [entry for entry in market.entries(name) if entry.data.get("event") == "value commitment"]


def test_what_one_side_sent_is_opened_and_found_good(market: World, tmp_path: Path) -> None:
    market.command("query", SQL, "--purpose", PURPOSE, "--parties", "m1,p1", "--json", home="rosa")
    logged = {name: commitments(market, name) for name in ("m1", "p1")}
    assert all(len(found) == 1 for found in logged.values()), logged
    roles = {logged[name][0].data["role"]: name for name in logged}
    values, counterpart, job = roles["values"], roles["attributes"], logged["m1"][0].job
    assert job is not None
    assert logged["m1"][0].data["commitment"] == logged["p1"][0].data["commitment"]

    request = tmp_path / "request"
    sides = ("--values", values, "--counterpart", counterpart)
    market.command("audit", "ask", job, *sides, "--out", str(request), home="ada")
    for name in (values, counterpart):  # beside their running agents
        market.command("audit", "open", str(request), "--out", str(tmp_path / name), home=name)
    answers = ("--counterpart", str(tmp_path / counterpart))
    given = ("--values", str(tmp_path / values))
    printed = market.command("audit", "check-opening", str(request), *answers, *given, "--json", home="ada")
    found: dict[str, Any] = json.loads(printed)
    assert (found["verdict"], found["problems"], found["findings"], found["unbounded"]) == ("good", [], [], [])
    assert found["opened"]
    assert found["columns"] >= 1
    with pytest.raises(CommandFailed) as refused:
        market.command("audit", "check-opening", str(request), *answers, "--json", home="ada")
    assert refused.value.code == 5
    market.verify("m1", "p1")
