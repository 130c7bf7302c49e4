"""Records establish the facts that they prove, between the parties they name, on their days, and nothing else."""

from datetime import date
from typing import Any

import pytest

from policies.errors import InvalidInput
from policies.evidence import (
    Evidence,
    Proof,
    Release,
    facts_of,
    load_evidence,
    mechanisms_of,
    payload_of,
    stored_evidence,
    unproved,
)
from policies.law.law import load_law

DAY = date(2026, 6, 1)
SHA = "ab" * 32
COMMON = {"issuer": "Merchant GmbH", "valid_from": "2026-01-01", "valid_until": "2026-12-31", "document_sha256": SHA}
PAIR = {**COMMON, "exporter": "merchant-de", "recipients": ["bank-us", "depot-sg"]}
SCC: dict[str, Any] = {**PAIR, "kind": "tool", "mechanism": "scc_m1", "annexes": "v3"}
BCR: dict[str, Any] = {**PAIR, "kind": "tool", "mechanism": "bcr"}
DPF: dict[str, Any] = {
    **COMMON, "kind": "certification", "scheme": "eu_us_dpf", "recipient": "bank-us", "number": "D-7",
}  # fmt: skip
TIA: dict[str, Any] = {**PAIR, "kind": "tia", "destination": "US", "outcome": "ok"}
PIPIA: dict[str, Any] = {**PAIR, "kind": "pipia"}
DPIA: dict[str, Any] = {**PAIR, "kind": "dpia"}
ANON: dict[str, Any] = {
    **COMMON, "kind": "anonymity", "exporter": "merchant-de", "dataset": "orders", "output_kind": "aggregate",
    "tests": [{"name": "differencing", "result": "pass"}], "k": 20, "dominance": 0.5, "epsilon": 0.5,
}  # fmt: skip
TABLE = Release("orders", "aggregate")
TRANSFER = {
    "src": "DE", "dst": "US", "exporter_kind": "merchant", "recipient_kind": "payment", "as_of": "2026-06-01",
    "categories": ["order_history"], "purpose": "fraud_detection", "n_subjects": 5000,
}  # fmt: skip


def record(base: dict[str, Any], **changes: Any) -> Evidence:
    return stored_evidence(base | changes)


def facts(*records: Evidence, at: date = DAY, to: str = "bank-us", **about: Any) -> dict[str, Any]:
    return facts_of(records, "merchant-de", to, at, **about)


def test_no_record_establishes_nothing() -> None:
    assert facts(dst="US", release=TABLE) == {}


def test_each_kind_establishes_its_facts() -> None:
    assert facts(record(SCC)) == {
        "mechanism": "scc_m1",
        "tool_since": {"scc_m1": "2026-01-01"},
        "tool_until": {"scc_m1": "2026-12-31"},
    }
    assert facts(record(DPF))["recipient_certs"] == ["eu_us_dpf"]
    assert facts(record(TIA), dst="US") == {"tia": "ok"}
    assert facts(record(PIPIA)) == {"pipia_done": True}
    assert facts(record(DPIA)) == {}
    assert facts(record(ANON), release=TABLE) == {
        "anon_test": "pass",
        "min_cell_k": 20,
        "top2_share": 0.5,
        "dp": {"epsilon": 0.5, "delta": 0.0},
    }


ALL = (record(SCC), record(DPF), record(TIA), record(PIPIA), record(ANON))


@pytest.mark.parametrize("day", [date(2025, 12, 31), date(2027, 1, 1)])
def test_outside_its_days_a_record_is_as_good_as_none(day: date) -> None:
    assert facts(*ALL, at=day, dst="US", release=TABLE) == {}


@pytest.mark.parametrize("day", [date(2026, 1, 1), date(2026, 12, 31)])
def test_the_first_and_the_last_day_count(day: date) -> None:
    about: dict[str, Any] = {"dst": "US", "release": TABLE}
    assert facts(*ALL, at=day, **about) == facts(*ALL, at=DAY, **about) != {}


def test_a_record_is_about_the_parties_it_names() -> None:
    about: dict[str, Any] = {"dst": "US", "release": TABLE}
    assert facts_of(ALL, "merchant-fr", "depot-sg", DAY, **about) == {}
    assert "recipient_certs" not in facts(*ALL, to="depot-sg")
    assert set(facts(*ALL, to="stranger", **about)) == {"anon_test", "min_cell_k", "top2_share", "dp"}


def test_an_assessment_speaks_of_its_destination_and_the_worst_counts() -> None:
    assert facts(record(TIA)) == facts(record(TIA), dst="SG") == {}
    assert facts(record(TIA), record(TIA, outcome="problematic"), dst="US") == {"tia": "problematic"}


def test_evidence_of_anonymity_speaks_of_its_release_and_the_worst_counts() -> None:
    assert facts(record(ANON)) == facts(record(ANON), release=Release("orders", "model_update")) == {}
    assert facts(record(ANON), release=Release("payments", "aggregate")) == {}
    failed = record(ANON, k=12, dominance=0.9, epsilon=None, tests=[{"name": "linking", "result": "fail"}])
    assert facts(record(ANON), failed, release=TABLE) == {"anon_test": "fail", "min_cell_k": 12, "top2_share": 0.9}


def test_all_tools_that_hold_count_or_the_one_that_is_chosen() -> None:
    both = (record(SCC), record(BCR))
    assert mechanisms_of(both, "merchant-de", "bank-us", DAY) == ("bcr", "scc_m1")
    assert facts(*both)["mechanism"] == "bcr"
    assert facts(*both)["further_mechanisms"] == ["scc_m1"]
    assert facts(*both)["tool_since"].keys() == {"bcr", "scc_m1"}
    assert facts(*both, mechanism="bcr")["mechanism"] == "bcr"
    assert "further_mechanisms" not in facts(*both, mechanism="bcr")
    assert facts(*both, mechanism="bcr")["tool_since"] == {"bcr": "2026-01-01"}
    assert facts(*both, mechanism="idta") == {}


def test_a_tool_recorded_twice_holds_as_long_as_the_longer_record() -> None:
    renewed = record(SCC, valid_from="2026-05-01", valid_until="2027-04-30")
    assert facts(renewed, record(SCC))["tool_until"] == {"scc_m1": "2027-04-30"}


def test_the_law_reads_these_facts_and_decides_by_them() -> None:
    law = load_law()
    held = facts(record(SCC), record(TIA), dst="US")
    assert law.judge(TRANSFER).permitted is False
    assert law.judge(TRANSFER | held).permitted is True
    for missing in (facts(record(SCC), dst="US"), facts(record(TIA), dst="US")):
        assert law.judge(TRANSFER | missing).permitted is False
    law.catalogue.sheet(TRANSFER | facts(*ALL, dst="US", release=TABLE))


@pytest.mark.parametrize("base", [SCC, BCR, DPF, TIA, PIPIA, DPIA, ANON])
def test_what_is_kept_is_what_was_read(base: dict[str, Any]) -> None:
    assert stored_evidence(payload_of(record(base))) == record(base)


TEXT = f"""\
kind: tool
mechanism: cn_sc_filed
number: Shanghai 2026-114
issuer: CAC Shanghai
exporter: merchant-cn
recipients: [bank-us]
valid_from: 2026-01-01
valid_until: 2026-12-31
document_sha256: {SHA}
"""


def test_a_file_becomes_a_record() -> None:
    assert load_evidence(TEXT, "r.yaml").kind == "tool"


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("kind: tool", "kind: promise", "r.yaml:1: `kind` is 'promise'; one of tool, certification"),
        ("kind: tool\n", "", "`kind` is missing"),
        ("cn_sc_filed", "handshake", "r.yaml:2: `mechanism`"),
        ("cn_sc_filed", "scc_m1", "scc_m1 has no annexes; add `annexes`"),
        ("number: Shanghai 2026-114\n", "", "cn_sc_filed has no number; add `number`"),
        ("2026-12-31", "2025-12-31", "ends before it begins"),
        ("2026-12-31", "2126-12-31", "more than 10 years"),
        ("2026-12-31", "31.12.2026", "not a date; write it as"),
        (SHA, SHA.upper(), "document_sha256"),
        ("recipients: [bank-us]", "recipients: []", "recipients"),
        ("issuer:", "isuer:", "did you mean `issuer`"),
    ],
)
def test_a_wrong_file_is_refused_where_it_is_wrong(old: str, new: str, what: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        load_evidence(TEXT.replace(old, new), "r.yaml")
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_obligation_is_proved_by_a_record_of_its_kind_or_one_that_names_it() -> None:
    duties = (Proof("OBL_TIA", ("tia",)), Proof("OBL_ROPA", ()), Proof("OBL_ANON_RECORD", ("anonymity",)))
    named = record({**PAIR, "kind": "duty"}, duties=["OBL_ROPA"])

    def lacking(*records: Evidence, to: str = "bank-us", at: date = DAY, release: Release | None = TABLE) -> Any:
        return unproved(duties, records, "merchant-de", to, at, dst="US", release=release)

    assert lacking() == ("OBL_TIA", "OBL_ROPA", "OBL_ANON_RECORD")
    assert lacking(record(TIA), named, record(ANON)) == ()
    assert lacking(record(TIA, destination="SG"), named, record(ANON)) == ("OBL_TIA",)
    assert lacking(named, at=date(2027, 1, 1)) == lacking()
    assert lacking(named, to="stranger") == lacking()
    assert "OBL_ANON_RECORD" in lacking(record(ANON), release=Release("orders", "model_update"))
