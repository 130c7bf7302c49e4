"""What falls due after a job: kept when it is admitted, listed, settled by records, in the way of the next if late."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from compliance.duties import FILE, DutyLedger
from examples.papers import papers
from inbond.cli import EXIT_EVIDENCE, EXIT_INPUT, exit_code
from parties.duties import all_duties, keep_duties
from parties.law_cli import app as law
from parties.record_cli import app as records
from policies.law.duties import LaterDuty
from tests.bad_input.homes import Party
from tests.parties.test_lawfulness import _asked as asked
from tests.parties.test_lawfulness import _made as made
from tests.parties.test_lawfulness import _verdict as verdict_of
from tests.parties.test_lawfulness import _why as why
from tests.policies.samples import CONTRACT

TODAY = datetime.now(UTC).date()
IN_JAPAN = (
    CONTRACT.replace("jurisdiction: DE", "jurisdiction: JP")
    .replace("residence: [DE]", "residence: [JP]")
    .replace("[DE, FR, NO]}\nmin", "[DE, JP]}\nmin")
    .replace("law:\n", "law:\n  facts: {jp_basis: entrustment}\n")
)
CODE = "OBL_JP_RECORD"
OTHERS = ["coordinator", "p2", "p3", "rosa"]


@pytest.fixture
def party(tmp_path: Path) -> Iterator[Party]:
    """Party p1 in Japan, like p2 and p3; rosa and the coordinator are in a country that its law designates."""
    found = made(tmp_path / "p1", IN_JAPAN)
    yield found
    found.close()


def admitted(party: Party) -> str:
    verdict, job = asked(party)
    assert verdict["effect"] == "permit", why(verdict)
    return job


def late(party: Party) -> None:
    """A job of today, and one of a week ago of which no record was made."""
    admitted(party)
    past = TODAY - timedelta(days=7)
    duties = [one.duty for one in all_duties(party.node)]
    old = [replace(one, arose=past, due=past + timedelta(days=3)) for one in duties]
    keep_duties(party.node, "job-of-last-week", old)


def settle(party: Party, since: date, recipients: Sequence[str] = OTHERS, name: str = "record") -> Any:
    path = party.home.parent / f"{name}.json"
    path.write_text(json.dumps({
        "kind": "duty", "duties": [CODE], "exporter": "p1", "recipients": list(recipients), "issuer": "records office",
        "valid_from": str(since), "valid_until": str(since + timedelta(days=365)), "document_sha256": "ab" * 32,
    }))  # fmt: skip
    return answer(party, records, "add", path)


def run(party: Party, app: Any, *arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments), "--home", str(party.home)])


def answer(party: Party, app: Any, *arguments: object) -> Any:
    found = run(party, app, *arguments, "--json")
    assert found.exit_code == 0, found.output
    return json.loads(found.output)


def listed(party: Party, *options: str) -> list[tuple[str, str, list[str]]]:
    rows = answer(party, law, "duties", *options)
    return [(row["job"], row["state"], sorted(row["recipients"])) for row in rows]


def events(party: Party, *names: str) -> list[Any]:
    return [entry.data for entry in party.entries() if entry.data.get("event") in names]


def test_an_explanation_leaves_nothing_and_an_admitted_job_its_duties(party: Party) -> None:
    told, _ = asked(party, "explain")
    assert told["effect"] == "permit", why(told)
    assert {duty for one in told["transfers"] for duty in one["obligations"]} == {f"{CODE} (post)"}
    assert not (party.home / FILE).exists()
    assert listed(party) == []
    job = admitted(party)
    rows = answer(party, law, "duties")
    assert {(row["obligation"], row["job"], row["exporter"], row["state"]) for row in rows} == {
        (CODE, job, "p1", "open")
    }
    assert {row["due"] for row in rows} == {str(TODAY + timedelta(days=3))}
    assert {name for row in rows for name in row["recipients"]} == set(OTHERS)
    (arose,) = events(party, "duties arose")
    assert arose["job"] == job
    assert len(arose["duties"]) == sum(len(row["recipients"]) for row in rows)


def test_before_the_day_the_next_job_goes_through_and_after_it_waits_for_the_record(party: Party) -> None:
    admitted(party)
    late(party)
    told, _ = asked(party, "explain")
    assert told["effect"] == "permit"
    (need,) = told["needs"]
    due = TODAY - timedelta(days=4)
    assert need.startswith(
        f"{CODE}, overdue since {due} of job job-of-last-week, for transfers to coordinator, p2, p3,"
    )
    assert need.endswith(f"record of the provision, dated {TODAY - timedelta(days=7)} or later")
    assert all(one["missing"] == [CODE] for one in told["transfers"])
    held, job = asked(party)
    assert held["effect"] == "deny"
    assert party.store.job(job) is None
    assert "Waits for evidence: OBL_JP_RECORD, overdue" in why(told)
    assert "with `inbond record add` a record of OBL_JP_RECORD, overdue" in why(held)
    assert [one for one in all_duties(party.node) if one.job == job] == [], "a job that waits leaves nothing"


def test_a_record_settles_it_and_the_held_job_goes_on(party: Party) -> None:
    late(party)
    order, token = party.order()
    plan = party.own_plan(order)
    assert asked_again(party, order, token, plan, "explain")["needs"]
    early = settle(party, TODAY - timedelta(days=8), name="early")
    assert asked_again(party, order, token, plan, "explain")["needs"], "a record from before it settles nothing"
    assert events(party, "duties settled") == []
    part = settle(party, TODAY, ["p2"], name="part")
    (need,) = asked_again(party, order, token, plan, "explain")["needs"]
    assert "transfers to coordinator, p3, rosa:" in need
    rest = settle(party, TODAY - timedelta(days=7), name="rest")
    assert asked_again(party, order, token, plan, "admit")["effect"] == "permit"
    states = {(row["job"], row["state"], row["record"]) for row in answer(party, law, "duties", "--all")}
    assert ("job-of-last-week", "settled", rest["id"]) in states
    first, second = events(party, "duties settled")
    assert {one["record"] for one in first["duties"]} == {part["id"]}
    assert {one["recipient"] for one in first["duties"]} == {"p2"}
    assert early["id"] not in str(second)


def asked_again(party: Party, order: Any, token: str, plan: Any, kind: str) -> dict[str, Any]:
    return verdict_of(party.admit(order, token, kind=kind, plan=plan))


def test_an_ended_record_opens_the_duty_again(party: Party) -> None:
    late(party)
    kept = settle(party, TODAY)
    assert listed(party) == []
    answer(party, records, "expire", kept["id"])
    assert {state for job, state, _ in listed(party) if job == "job-of-last-week"} == {"overdue"}
    verdict, _ = asked(party)
    assert verdict["effect"] == "deny"
    (opened,) = events(party, "duties not settled any more")
    assert {one["record"] for one in opened["duties"]} == {kept["id"]}


def test_another_recipient_is_not_held(party: Party) -> None:
    late(party)
    settle(party, TODAY, ["coordinator", "p2", "p3"])
    verdict, _ = asked(party)
    assert verdict["effect"] == "deny", "rosa still lacks hers"
    settle(party, TODAY, ["rosa"], name="rosa")
    admitted(party)
    keep_duties(party.node, "job-of-old", [duty("somebody")])
    admitted(party)


def duty(recipient: str, **changes: Any) -> LaterDuty:
    past = TODAY - timedelta(days=90)
    known = LaterDuty(CODE, "record", (), "p1", recipient, "DE", "orders", "sums", "aggregate", past, past)
    return replace(known, **changes)


def test_lists_by_state_and_the_exit_code_for_monitoring(party: Party) -> None:
    assert run(party, law, "duties", "--overdue", "--check").exit_code == 0
    late(party)
    settle(party, TODAY - timedelta(days=7), ["p2"])
    every, unsettled, overdue = (answer(party, law, "duties", each) for each in ("--all", "--open", "--overdue"))
    assert unsettled == answer(party, law, "duties")
    assert {row["state"] for row in every} == {"settled", "open", "overdue"} == {row["state"] for row in every}
    assert unsettled == [row for row in every if row["state"] != "settled"]
    assert overdue == [row for row in every if row["state"] == "overdue"] != []
    assert [row["state"] for row in every] == sorted((row["state"] for row in every), key=lambda one: one == "settled")
    found = run(party, law, "duties", "--overdue", "--check", "--json")
    assert found.exit_code == EXIT_EVIDENCE
    assert json.loads(found.output) == overdue
    assert run(party, law, "duties", "--overdue").exit_code == 0
    two = run(party, law, "duties", "--open", "--all")
    assert isinstance(two.exception, Exception)
    assert exit_code(two.exception) == EXIT_INPUT
    assert "one of --open, --overdue, --all" in str(two.exception)
    for options in ([], ["--all"], ["--overdue"]):
        shown = run(party, law, "duties", *options)
        assert max(map(len, shown.output.splitlines())) <= 80
        assert CODE in shown.output


def test_a_check_that_recurs_is_kept_once_and_due_again_after_its_last_record(party: Party) -> None:
    check = duty("p2", code="OBL_JP_MONITOR", every_years=1)
    keep_duties(party.node, "job-1", [check])
    keep_duties(party.node, "job-2", [check])
    assert [(job, state) for job, state, _ in listed(party)] == [("job-1", "overdue")]
    path = party.home.parent / "check.json"
    path.write_text(json.dumps({
        "kind": "duty", "duties": ["OBL_JP_MONITOR"], "exporter": "p1", "recipients": ["p2"], "issuer": "x",
        "valid_from": str(TODAY), "valid_until": str(TODAY), "document_sha256": "ab" * 32,
    }))  # fmt: skip
    answer(party, records, "add", path)
    (row,) = answer(party, law, "duties", "--all")
    assert (row["state"], row["every_years"]) == ("settled", 1)
    assert row["due"][:4] == str(TODAY.year + 1)


@pytest.mark.parametrize("lost", [False, True])
def test_a_ledger_that_was_lost_or_cannot_be_read_permits_nothing(party: Party, lost: bool) -> None:
    admitted(party)
    for rest in party.home.glob(f"{FILE}*"):
        rest.unlink()
    if not lost:
        (party.home / FILE).write_bytes(b"no database" * 100)
    for kind in ("explain", "admit"):
        verdict, _ = asked(party, kind)
        assert verdict["effect"] == "deny"
        assert str(party.home) not in why(verdict)
    found = run(party, law, "duties")
    assert found.exit_code != 0
    assert ("the ledger of duties is gone" if lost else FILE) in str(found.exception)


def test_a_duty_that_cannot_be_kept_refuses_the_job(party: Party, monkeypatch: pytest.MonkeyPatch) -> None:
    from compliance.errors import LawStoreUnavailable

    def full(*_: Any) -> int:
        raise LawStoreUnavailable("database or disk is full", right="free disk space")

    monkeypatch.setattr(DutyLedger, "keep", full)
    verdict, job = asked(party)
    assert verdict["effect"] == "deny"
    assert "disk is full" in why(verdict)
    assert party.store.job(job) is None


def test_an_assessment_older_than_a_year_holds_the_first_job_already(tmp_path: Path) -> None:
    party = made(tmp_path / "p1", CONTRACT.replace("[DE, FR, NO]}\nmin", "[DE, SG]}\nmin"))
    texts = papers("p1", "DE", {"p2": "DE", "p3": "DE", "coordinator": "DE", "rosa": "SG"})
    tia = texts.pop("assessment-sg.yaml").replace(f"{TODAY.year}-01-01", str(TODAY - timedelta(days=400)))
    tia = tia.replace(f"{TODAY.year + 9}-12-31", str(TODAY + timedelta(days=400)))
    for number, text in enumerate([*texts.values(), tia]):
        (file := tmp_path / f"{number}.yaml").write_text(text)
        answer(party, records, "add", file)
    reader = [{"id": "spiffe://acme.example/user/rosa", "country": "SG"}]
    verdict, _ = asked(party, recipients=reader)
    (need,) = verdict["needs"]
    assert need.startswith("OBL_TIA, overdue since ")
    assert need.endswith("review within a year, not older than a year")
    fresh = tmp_path / "fresh.yaml"
    fresh.write_text(tia.replace(str(TODAY - timedelta(days=400)), str(TODAY)))
    kept = answer(party, records, "add", fresh)
    for _ in range(2):
        verdict, _ = asked(party, recipients=reader)
        assert verdict["effect"] == "permit", why(verdict)
    (row,) = answer(party, law, "duties", "--all")
    party.close()
    assert (row["obligation"], row["state"], row["record"]) == ("OBL_TIA", "settled", kept["id"])
    assert row["recipients"] == ["rosa"]
