"""A person gets every row of theirs, whatever they said, and nobody else's; whole, on record, or not at all."""

import hashlib
import json
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from compliance.audit.log import read_entries
from compliance.audit.store import AuditStore
from compliance.errors import InvalidLawEntry, LawStoreUnavailable
from compliance.law_store import FILE as RECORDS
from compliance.records import RecordStore
from compliance.subject_requests import SubjectRequests
from compliance.subjects import FILE
from inbond.errors import ConfigError, InbondError
from inbond.node import utc_now
from parties.agent import Agent
from parties.subject_copy import ABOUT, README, SUMS, TABLES, copy_of
from parties.withheld import Withholding, opened_registry
from policies.contract import load_contract
from policies.evidence import load_evidence
from tests.bad_input.homes import Party, certified_home, furnish, prove
from tests.parties.test_withheld import FRAUD, _admitted, _fragment, run, said
from tests.policies.samples import CONTRACT
from tests.support.authority import TestAuthority

ORDERS = CONTRACT.replace("law:\n", "law:\n  subject: customer\n  facts: {lawful_basis: contract}\n").replace(
    "minimum_group",
    "views:\n  rows: [{column: customer, without: [a]}]\n  masks: [{column: weight, form: nothing}]\nminimum_group",
)
VISITS = """\
dataset: visits
version: 1
controller: Merchant GmbH
jurisdiction: DE
schema_name: visits/1
source: {kind: duckdb, path: shop.duckdb, table: visits}
columns:
  who: {type: int, class: personal, category: order_history, uses: []}
  score: {type: float, class: personal, category: order_history, uses: []}
  day: {type: date, class: operational, uses: []}
  note: {type: text, class: personal, category: order_history, uses: []}
purposes: [dpv:Marketing]
recipients: {countries: [DE]}
law:
  organisation: merchant
  subjects: 100
  residence: [DE]
  subject: who
  purposes: {dpv:Marketing: {lawful_basis: consent}}
expires: 2036-01-31
"""
CROWD = """\
dataset: crowd
version: 1
controller: Counting AG
jurisdiction: DE
schema_name: crowd/1
source: {kind: csv, path: nowhere.csv}
columns: {mail: {type: text, class: personal, category: email, uses: []}}
purposes: [dpv:Marketing]
recipients: {countries: [DE]}
law: {organisation: merchant, subjects: 5}
expires: 2036-01-31
"""
NOBODY = (
    "subject: no table here has rows of that id; "
    "an id as it is in the tables; who has nothing here is answered with --given-otherwise"
)


@pytest.fixture
def party(tmp_path: Path) -> Iterator[Party]:
    home, authority = tmp_path / "p1", TestAuthority("acme.example")
    certified_home(authority, "party", "p1", home)
    furnish(home, ORDERS)
    prove(home)
    (home / "contracts" / "visits.yaml").write_text(VISITS)
    with duckdb.connect(str(home / "shop.duckdb")) as base:
        base.execute("CREATE TABLE visits (who BIGINT, score DOUBLE, day DATE, note VARCHAR, secret VARCHAR)")
        base.execute(
            "INSERT INTO visits VALUES (7, 'NaN', '2026-05-01', 'ü ''quoted''', 'x'), (7, 1.5, NULL, NULL, 'x'), "
            "(70, 2, NULL, 'another', 'x'), (NULL, 3, NULL, 'nobody', 'x')"
        )
    made = Party.open(authority, home, authority.node("user/rosa"))
    yield made
    made.close()


def _copy(party: Party, person: str, out: Path, *more: object) -> Any:
    return said(party, "copy", person, "--out", out, *more)


def _read(out: Path, name: str) -> Any:
    return json.loads((out / name).read_text("utf-8"))


def _rows(out: Path, dataset: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _read(out, f"{TABLES}/{dataset}.json")["rows"]
    return found


def _entries(party: Party) -> list[Any]:
    """Of copies, as they are in the log's file now."""
    store = AuditStore.read_only(party.home / "audit.db")
    try:
        return [one for _, one in read_entries(store, 0, store.count()) if one.data.get("event") == "copy made"]
    finally:
        store.close()


def _refused(party: Party, out: Path, *arguments: object) -> str:
    """One error of the families that the command line turns into one line; nothing is written, nothing left over."""
    before = sorted(out.parent.iterdir())
    found = run(party, "copy", *arguments, "--out", out)
    assert isinstance(found.exception, InbondError | InvalidLawEntry | LawStoreUnavailable), found.exception
    assert sorted(out.parent.iterdir()) == before
    assert not _entries(party)
    return str(found.exception)


def test_it_has_every_row_and_listed_column_of_the_person_unmasked_and_nobody_elses(
    party: Party, tmp_path: Path
) -> None:
    made = _copy(party, "a", tmp_path / "copy")
    assert made["rows"] == {"orders": 20}
    table = pq.read_table(party.home / "orders.parquet").to_pylist()
    wanted = [
        {**row, "amount": row["amount"], "seen": "2026-01-01T10:00:00", "day": "2026-01-01"}
        for row in table
        if row["customer"] == "a"
    ]
    columns = load_contract(ORDERS, "orders.yaml").columns
    assert _rows(tmp_path / "copy", "orders") == [{name: row[name] for name in columns} for row in wanted]
    assert not (tmp_path / "copy" / TABLES / "visits.json").exists()


def test_numbers_are_found_in_a_table_of_an_engine_and_json_holds_what_it_cannot_write(
    party: Party, tmp_path: Path
) -> None:
    assert _copy(party, "007", tmp_path / "copy")["rows"] == {"visits": 2}
    assert sorted(_rows(tmp_path / "copy", "visits"), key=str) == sorted(
        [
            {"who": 7, "score": "NaN", "day": "2026-05-01", "note": "ü 'quoted'"},
            {"who": 7, "score": 1.5, "day": None, "note": None},
        ],
        key=str,
    )


@pytest.mark.parametrize("act", ["erase", "object", "withdraw"])
def test_who_is_withheld_from_jobs_gets_the_data_that_are_still_there(party: Party, tmp_path: Path, act: str) -> None:
    said(party, act, "a")
    assert _copy(party, "a", tmp_path / "copy")["rows"] == {"orders": 20}
    assert [one["act"] for one in _read(tmp_path / "copy", ABOUT)["said"]] == [act]


def test_it_is_for_one_user_whole_and_its_digest_is_that_on_record(party: Party, tmp_path: Path) -> None:
    out = tmp_path / "copy"
    number = said(party, "request", "a", "--kind", "access", "--regime", "gdpr")["request"]
    made = _copy(party, "a", out, "--request", number)
    for path in (out, *out.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    lines = (out / SUMS).read_text().splitlines()
    assert {line.split("  ")[1] for line in lines} == {ABOUT, README, f"{TABLES}/orders.json"}
    for line in lines:
        digest, name = line.split("  ")
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    assert hashlib.sha256((out / SUMS).read_bytes()).hexdigest() == made["sha256"]
    (entry,) = _entries(party)
    assert entry.data == {"event": "copy made", "digest": made["sha256"], "number": number}
    assert entry.subject.startswith("subject:")
    assert said(party, "requests")[0]["copy"] == made["sha256"]
    again = _copy(party, "a", tmp_path / "again", "--request", number)
    assert again["sha256"] != made["sha256"], "nobody can try out guesses against the logged digest"
    assert said(party, "answer", number, "granted", "--say", "copy handed over")["copy"] == again["sha256"]
    assert "contract does not list are not in this copy" in (out / README).read_text()


def test_about_says_what_the_law_wants_told_and_what_nobody_here_knows(party: Party, tmp_path: Path) -> None:
    (party.home / "contracts" / "crowd.yaml").write_text(CROWD)
    tool = (
        "kind: tool\nmechanism: scc_m1\nannexes: '1'\nexporter: p1\nrecipients: [rosa]\nissuer: legal\n"
        f"valid_from: 2026-01-01\nvalid_until: 2035-12-31\ndocument_sha256: {'ab' * 32}\n"
    )
    with RecordStore.open(party.home / RECORDS, lambda _subject, _data: None) as store:
        store.add(load_evidence(tool, "tool.yaml"))
    context = _admitted(party)
    party.jobs._run_fragment(context, _fragment(context))
    said(party, "erase", "a")
    later = _admitted(party)
    party.jobs._run_fragment(later, _fragment(later))
    number = said(party, "request", "a", "--kind", "portability", "--regime", "gdpr")["request"]
    made = _copy(party, "a", tmp_path / "copy", "--request", number)
    told = _read(tmp_path / "copy", ABOUT)
    (table,) = told["tables"]
    assert table["purposes"] == [{"purpose": FRAUD, "lawful_basis": "contract"}]
    assert table["columns"]["customer"] == {"type": "text", "class": "pseudonymous", "category": "order_ref"}
    assert table["recipients"] == {"countries": ["DE", "FR", "NO"], "who": ["*"], "kinds": {"*": "merchant"}}
    assert table["retention"] == "not stated in the contract"
    assert told["searched_without_rows"] == ["visits"]
    assert made["not_searched"] == [one["dataset"] for one in told["not_searched"]] == ["crowd"]
    assert "contracts do not say which of them the person provided" in told["scope"]
    assert [one["kind"] for one in told["requests"]] == ["portability"]
    assert set(told["for_the_controller_to_add"]) >= {"retention", "source", "automated_decisions", "contact"}
    assert "supervisory authority" in told["complaint"]
    used = {one["job"]: one for one in told["jobs"] if one["dataset"] == "orders"}
    assert used[context.job]["was_in"] is True
    assert used[later.job]["was_in"] is False
    assert used[later.job]["readers"] == []
    assert used[context.job]["purpose"] == FRAUD
    to_rosa = [one for one in used[context.job]["readers"] if "rosa" in one["recipients"]]
    assert to_rosa
    assert {one["country"] for one in to_rosa} == {"DE"}
    assert {tool["mechanism"] for one in to_rosa for tool in one["tools"]} == {"scc_m1"}
    assert all("ab" * 32 in {tool["document_sha256"] for tool in one["tools"]} for one in to_rosa)


@pytest.mark.parametrize(
    "person",
    [
        *("stranger", "A", "a ", "a%", "%", "_", "*", "a' OR '1'='1", "a'; DROP TABLE visits; --", 'a"', "\\", "$p0"),
        *("7.0", "7 OR 1=1", "+7", "0x7", "1_0", "٧", "-7", str(2**63), "9" * 256, "NULL", "null", "NaN"),
    ],
)
def test_an_id_of_nobody_is_told_alike_whatever_it_is_and_whatever_was_said(
    party: Party, tmp_path: Path, person: str
) -> None:
    found = party.home / "id.txt"
    found.write_text(person)
    never_spoke = _nobody(party, tmp_path, person)
    if person.strip() == person:  # a line of a file has no blanks around it
        said(party, "erase", "--ids", found)
    assert _nobody(party, tmp_path, person) == never_spoke
    assert never_spoke == NOBODY
    with duckdb.connect(str(party.home / "shop.duckdb"), read_only=True) as base:
        assert base.execute("SELECT COUNT(*) FROM visits").fetchone() == (4,)


def _nobody(party: Party, folder: Path, person: str) -> str:
    with opened_registry(party.node) as registry, pytest.raises(ConfigError) as caught:
        copy_of(party.node, registry, person, folder / "copy", now=utc_now())
    assert sorted(one.name for one in folder.iterdir()) == ["p1"]
    return str(caught.value)


@pytest.mark.parametrize("person", ["", "x" * 257, "a\nb", "a\x00b", "\udcff"])
def test_what_is_no_id_is_told(party: Party, tmp_path: Path, person: str) -> None:
    with opened_registry(party.node) as registry, pytest.raises(InvalidLawEntry, match="no id of a person"):
        copy_of(party.node, registry, person, tmp_path / "copy", now=utc_now())
    assert not (tmp_path / "copy").exists()


def test_what_was_erased_at_the_source_is_not_in_it(party: Party, tmp_path: Path) -> None:
    with duckdb.connect(str(party.home / "shop.duckdb")) as base:
        base.execute("DELETE FROM visits WHERE who = 7 AND day IS NULL")
    assert _copy(party, "7", tmp_path / "copy")["rows"] == {"visits": 1}
    with duckdb.connect(str(party.home / "shop.duckdb")) as base:
        base.execute("DELETE FROM visits WHERE who = 7")
    assert NOBODY in str(run(party, "copy", "7", "--out", tmp_path / "later").exception)


def test_a_request_of_another_or_for_another_thing_is_not_answered(party: Party, tmp_path: Path) -> None:
    numbers = {
        (who, kind): said(party, "request", who, "--kind", kind, "--regime", "gdpr")["request"]
        for who, kind in (("b", "access"), ("a", "erasure"))
    }
    out = tmp_path / "copy"
    assert "another person's" in _refused(party, out, "a", "--request", numbers["b", "access"])
    assert "asks for erasure" in _refused(party, out, "a", "--request", numbers["a", "erasure"])
    assert "no such request" in _refused(party, out, "a", "--request", 2**63 - 1)
    assert run(party, "copy", "a", "--out", out, "--request", 2**63).exit_code == 2


def test_what_is_there_is_not_touched(party: Party, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("folder", "file", "link"):
        assert "is there already" in _refused(party, tmp_path / name, "a")
    assert (tmp_path / "file").read_text() == "mine"
    assert "there is no such folder" in str(run(party, "copy", "a", "--out", tmp_path / "no" / "copy").exception)


def test_a_table_that_cannot_be_read_leaves_no_half_copy(party: Party, tmp_path: Path) -> None:
    (party.home / "shop.duckdb").unlink()
    assert "no such file" in _refused(party, tmp_path / "copy", "a")


def test_a_copy_that_cannot_be_kept_on_record_is_not_there(
    party: Party, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_subject: str, _data: Any) -> None:
        raise LawStoreUnavailable("the disk is full")

    monkeypatch.setattr("parties.withheld.telling", lambda _node: full)
    assert "the disk is full" in _refused(party, tmp_path / "copy", "a")


def test_a_copy_that_is_lost_from_record_at_the_last_moment_is_taken_back(
    party: Party, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed = []

    @contextmanager
    def lost(*_: object) -> Iterator[None]:
        yield
        placed.append((tmp_path / "copy").exists())
        raise LawStoreUnavailable("the disk is full")

    monkeypatch.setattr(SubjectRequests, "copied", lost)
    assert "the disk is full" in _refused(party, tmp_path / "copy", "a")
    assert placed == [True]


def test_a_copy_whose_place_was_taken_meanwhile_is_told_and_not_on_record(
    party: Party, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = RecordStore.read_only

    def taken(path: Path) -> RecordStore:
        (tmp_path / "copy").write_text("somebody else's")
        return real(path)

    number = said(party, "request", "a", "--kind", "access", "--regime", "gdpr")["request"]
    monkeypatch.setattr(RecordStore, "read_only", taken)
    found = run(party, "copy", "a", "--out", tmp_path / "copy", "--request", number)
    assert "cannot be made" in str(found.exception)
    assert (tmp_path / "copy").read_text() == "somebody else's"
    assert said(party, "requests")[0]["copy"] is None
    assert sorted(one.name for one in tmp_path.iterdir()) == ["copy", "p1"]


def test_a_node_whose_tables_cannot_tell_people_apart_says_so(party: Party, tmp_path: Path) -> None:
    (party.home / "contracts" / "visits.yaml").unlink()
    (party.home / "contracts" / "orders.yaml").write_text(CONTRACT)
    assert "no table of this node can tell people apart" in _refused(party, tmp_path / "copy", "a")


def test_a_subject_that_is_neither_number_nor_text_stops_the_copy(party: Party, tmp_path: Path) -> None:
    text = VISITS.replace("subject: who", "subject: day")
    (party.home / "contracts" / "visits.yaml").write_text(text)
    assert "column day cannot tell people apart" in _refused(party, tmp_path / "copy", "a")


def test_money_and_times_of_every_type_are_written_exactly(party: Party, tmp_path: Path) -> None:
    table = pa.table(
        {
            "country": ["DE"],
            "customer": ["x'y"],
            "items": [2**62],
            "paid": [None],
            "weight": [float("inf")],
            "amount": pa.array([Decimal("9007199254740993.97")], pa.decimal128(18, 2)),
            "day": [date(1969, 12, 31)],
            "seen": ["2026-01-31 23:59:59.999999"],
        }
    )
    pq.write_table(table, party.home / "orders.parquet")
    assert _copy(party, "x'y", tmp_path / "copy")["rows"] == {"orders": 1}
    assert _rows(tmp_path / "copy", "orders") == [
        {
            "country": "DE",
            "amount": "9007199254740993.97",
            "customer": "x'y",
            "items": 2**62,
            "paid": None,
            "day": "1969-12-31",
            "seen": "2026-01-31T23:59:59.999999",
            "weight": "Infinity",
        }
    ]


def test_people_read_what_was_made_in_eighty_columns_and_ids_may_come_from_standard_input(
    party: Party, tmp_path: Path
) -> None:
    found = run(party, "copy", "-", "--out", tmp_path / "copy", text="a\n")
    assert found.exit_code == 0, found.exception
    assert "orders" in found.output
    assert max(map(len, found.output.splitlines())) <= 80


def test_an_old_registry_is_brought_up_to_date_when_the_party_starts(party: Party) -> None:
    _started(party)
    assert not (party.home / FILE).exists(), "nobody said anything, and nothing is begun"
    said(party, "erase", "a")
    with closing(sqlite3.connect(party.home / FILE)) as base, base:
        base.execute("DROP TABLE copies")
        base.execute("UPDATE alembic_version SET version_num = 'subjects_0001'")
    with pytest.raises(LawStoreUnavailable, match="start the node once"):
        Withholding(party.node).revision()
    _started(party)
    assert Withholding(party.node).revision() == 1


def _started(party: Party) -> None:
    agent = Agent(party.home)
    agent.jobs.close()
    agent.store.close()
    agent.budget.close()
    agent.node.close()
