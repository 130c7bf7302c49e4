"""What people said is honoured at the next read of a job, and the log says so; doubt reads nothing."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from compliance.errors import LawStoreUnavailable
from compliance.subjects import FILE
from inbond import codec
from inbond.cli import exit_code
from inbond.records import texts
from inbond.tokens import payload_of
from parties.connectors.base import DataError
from parties.subject_cli import app
from parties.withheld import READ, Withholding
from policies.contract import ColumnType, DataContract
from policies.identity import Standing
from policies.query.compiled import Fragment
from policies.views import Asker
from tests.bad_input.homes import Party, certified_home, furnish, prove
from tests.policies.samples import CONTRACT, contract
from tests.support.authority import TestAuthority

FRAUD = "dpv:FraudPreventionAndDetection"
LAW: dict[str, Any] = {"organisation": "merchant", "subjects": 100, "subject": "customer"}


@pytest.fixture
def party(tmp_path: Path) -> Iterator[Party]:
    authority = TestAuthority("acme.example")
    certified_home(authority, "party", "p1", tmp_path / "p1")
    furnish(tmp_path / "p1", CONTRACT.replace("law:\n", "law:\n  subject: customer\n"))
    prove(tmp_path / "p1")
    made = Party.open(authority, tmp_path / "p1", authority.node("user/rosa"))
    yield made
    made.close()


def run(party: Party, *arguments: object, text: str | None = None) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments), "--home", str(party.home)], input=text)


def said(party: Party, *arguments: object, text: str | None = None) -> Any:
    found = run(party, *arguments, "--json", text=text)
    assert found.exit_code == 0, (found.output, found.exception)
    return json.loads(found.output)


def customers(party: Party, purpose: str = FRAUD, **law: Any) -> list[str]:
    view = Withholding(party.node).table(contract(law={**LAW, **law}), ["customer", "items"], Asker(purpose))
    return sorted(set(view["customer"].to_pylist()))


def test_nobody_said_anything_and_everybody_is_read(party: Party) -> None:
    assert customers(party) == ["a", "b"]
    assert Withholding(party.node).rows(contract(law=LAW), FRAUD) is None


def test_who_withdrew_is_not_read_for_that_purpose_and_is_again_after_consent(party: Party) -> None:
    assert said(party, "withdraw", "a", "--purpose", FRAUD)["kept"] == 1
    assert customers(party) == ["b"]
    assert customers(party, "dpv:Marketing") == ["a", "b"]
    said(party, "consent", "a", "--purpose", FRAUD)
    assert customers(party) == ["a", "b"]


def test_ids_come_from_files_and_from_standard_input(party: Party, tmp_path: Path) -> None:
    file = tmp_path / "ids.txt"
    file.write_text("a\n\nb\n")
    assert said(party, "object", "--ids", file)["people"] == 2
    assert customers(party) == []
    assert said(party, "lift", "--ids", "-", text="a\n")["kept"] == 1
    assert customers(party) == ["a"]
    for bad in (("erase",), ("erase", "a", "--ids", file)):
        assert exit_code(run(party, *bad).exception) == 2  # type: ignore[arg-type]


def test_with_only_consenting_nobody_is_read_unasked(party: Party) -> None:
    assert customers(party, only_consenting=True) == []
    said(party, "consent", "b", "--purpose", FRAUD)
    assert customers(party, only_consenting=True) == ["b"]
    said(party, "erase", "b")
    assert customers(party, only_consenting=True) == []


def test_a_table_that_cannot_tell_people_apart_is_not_read_once_somebody_said_no(party: Party) -> None:
    said(party, "erase", "a")
    with pytest.raises(DataError, match="people who said no cannot be told apart"):
        customers(party, subject=None)
    goods: DataContract = contract(law=None)
    assert Withholding(party.node).rows(goods, FRAUD) is None


def test_a_registry_that_is_gone_is_not_forgotten(party: Party) -> None:
    said(party, "erase", "a")
    (party.home / FILE).unlink()
    with pytest.raises(LawStoreUnavailable, match="the registry of people is gone"):
        customers(party)


def test_a_query_leaves_who_was_erased_out_of_its_counts_and_the_log_says_how_many(party: Party) -> None:
    def count() -> int:
        context = _admitted(party)
        held = party.jobs._run_fragment(context, _fragment(context))
        return int(sum(held["v_n"]))

    assert count() == 40
    said(party, "erase", "a")
    assert count() == 20
    reads = [one.data for one in party.entries() if one.data.get("event") == READ]
    assert [(one["withheld"], one["dataset"], one["purpose"]) for one in reads] == [
        (0, "orders", FRAUD),
        (1, "orders", FRAUD),
    ]
    assert reads[0]["registry"] == 0
    assert "'a'" not in str(reads)


def _admitted(party: Party) -> Any:
    order, token = party.order()
    assert party.admit(order, token, plan=party.own_plan(order)).status == "ok"
    return party.jobs.get(order.jti).context


def _fragment(context: Any) -> Any:
    sql = "SELECT COUNT(*) AS v_n FROM t0"
    return Fragment(sql=sql, parameters={}, outputs={"v_n": ColumnType.INT}, relations={"t0": ("orders", ("items",))})


def test_show_tells_in_which_jobs_a_person_was_and_retrain_writes_them_again(party: Party, tmp_path: Path) -> None:
    context = _admitted(party)
    job = context.job
    party.jobs._run_fragment(context, _fragment(context))
    said(party, "erase", "a")
    context = _admitted(party)
    later = context.job
    party.jobs._run_fragment(context, _fragment(context))
    found = said(party, "show", "a")
    assert [one["act"] for one in found["statements"]] == ["erase"]
    assert [(one["job"], one["was_in"]) for one in found["jobs"]] == [(job, True), (later, False)]
    assert said(party, "show", "stranger")["jobs"] == [], "the table does not hold the person"
    assert said(party, "retrain", "a", "--out", tmp_path / "again") == [], "queries are not trained again"
    shown = run(party, "show", "a").output
    assert "left out" in shown
    assert max(map(len, shown.splitlines())) <= 80


VIEWS = f"""views:
  masks:
    - {{column: amount, form: round, size: 10, purposes: ["{FRAUD}"], organisations: [bank]}}
  rows:
    - {{column: customer, without: [b], organisations: [bank]}}
"""


def test_masks_and_row_rules_hold_for_whom_they_are_made_and_the_verdict_says_so(tmp_path: Path) -> None:
    authority = TestAuthority("acme.example")
    certified_home(authority, "party", "p1", tmp_path / "p1")
    furnish(tmp_path / "p1", CONTRACT + VIEWS)
    prove(tmp_path / "p1")
    bank = authority.node("user/rosa", standing=Standing("bank", "researcher"))
    party = Party.open(authority, tmp_path / "p1", bank)

    def seen(by: Any) -> tuple[list[str], int, int]:
        order, token = party.order(by=by)
        reply = party.admit(order, token, plan=party.own_plan(order))
        verdict = payload_of(texts(codec.decode(reply.body), "verdict", "token")[0])
        context = party.jobs.get(order.jti).context
        sql = "SELECT COUNT(*) AS v_n, SUM(CAST(amount * 100 AS BIGINT)) AS v_s FROM t0"
        outputs = {"v_n": ColumnType.INT, "v_s": ColumnType.INT}
        held = party.jobs._run_fragment(context, Fragment(sql, {}, {"t0": ("orders", ("amount",))}, outputs))
        return [line for line in verdict["reasons"] if "`" in line], int(held["v_n"][0]), int(held["v_s"][0])

    told, rows, cents = seen(bank)
    assert told == [
        "Permitted if `amount` is cut to multiples of 10.",
        "Permitted if rows are read by `customer`, without some of its values.",
    ]
    assert (rows, cents) == (20, 10 * (1000 + 0)), "10.00 stays, 0.01 is cut to nothing; b's rows are not read"
    told, rows, cents = seen(authority.node("user/rosa"))
    assert (told, rows, cents) == ([], 40, 10 * (1000 + 2050 + 1 + 49999))
    party.close()


def test_a_registry_that_is_just_being_begun_stops_no_job(party: Party, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the key, the file and the mark a job reads: nobody has said anything yet, or all of it is there."""
    seen: list[list[str]] = []

    real = os.link

    def linked(made: Path, path: Path) -> None:
        seen.append(customers(party))
        real(made, path)
        seen.append(customers(party))

    monkeypatch.setattr("compliance.subjects.os.link", linked)
    said(party, "erase", "a")
    assert seen == [["a", "b"], ["a", "b"]]
    assert customers(party) == ["b"]
