"""The law at the party's door: an unlawful job is refused, one without evidence is held, people are counted once."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compliance.audit.entry import EntryType
from compliance.counters import FILE as COUNTERS
from compliance.counters import CounterLedger
from compliance.law_store import FILE
from compliance.past import FILE as PAST
from compliance.past import PastTransfers
from compliance.records import RecordStore
from inbond import codec
from inbond.errors import Refused
from inbond.messages import Reply
from inbond.node import utc_now
from inbond.records import texts
from inbond.tokens import payload_of
from parties.counting import begin_counters
from parties.lawfulness import Lawfulness
from policies.evidence import load_evidence
from policies.law.binding import Bound
from policies.law.law import ClosedLaw, law_or_closed
from policies.law.places import CODES
from policies.views import NOTHING, Asker
from tests.bad_input.homes import Party, certified_home, furnish, prove
from tests.policies.samples import CONTRACT, query_spec
from tests.support.authority import TestAuthority

IN_CHINA = (
    CONTRACT.replace("jurisdiction: DE", "jurisdiction: CN")
    .replace("residence: [DE]", "residence: [CN]")
    .replace("[DE, FR, NO]}\nmin", "[DE, CN]}\nmin")
)
CONSENT = "  facts: {lawful_basis: consent, separate_consent: true}\n"


def _made(home: Path, text: str = CONTRACT) -> Party:
    authority = TestAuthority("acme.example")
    certified_home(authority, "party", "p1", home)
    furnish(home, text)
    return Party.open(authority, home, authority.node("user/rosa"))


@pytest.fixture
def party(tmp_path: Path) -> Iterator[Party]:
    """Party p1 in Germany, without any record."""
    made = _made(tmp_path / "p1")
    yield made
    made.close()


def _verdict(reply: Reply) -> dict[str, Any]:
    assert reply.status == "ok", reply.reason
    found: dict[str, Any] = payload_of(texts(codec.decode(reply.body), "verdict", "token")[0])
    return found


def _asked(party: Party, kind: str = "admit", **spec: Any) -> tuple[dict[str, Any], str]:
    order, token = party.order(query_spec(**spec))
    return _verdict(party.admit(order, token, kind=kind, plan=party.own_plan(order))), order.jti


def _why(verdict: dict[str, Any]) -> str:
    return " ".join(verdict["reasons"])


def test_without_evidence_an_explanation_permits_and_says_what_it_waits_for(party: Party) -> None:
    verdict, _ = _asked(party, "explain")
    assert verdict["effect"] == "permit"
    assert "Waits for evidence: OBL_ROPA, for transfers to coordinator, p2, p3, rosa" in _why(verdict)
    assert [line.split(",")[0] for line in verdict["needs"]] == ["OBL_ROPA", "OBL_ROLE_CONTRACT"]
    assert {one["decision"] for one in verdict["transfers"]} == {"permit_with_obligations"}


def test_without_evidence_nothing_binds_and_with_it_the_same_job_does(party: Party) -> None:
    verdict, job = _asked(party)
    assert (verdict["effect"], verdict["steps"]) == ("deny", [])
    assert "[evidence]. What would be lawful: with `inbond record add` a record of OBL_ROPA" in _why(verdict)
    assert party.store.job(job) is None
    prove(party.home)
    verdict, job = _asked(party)
    assert (verdict["effect"], verdict["needs"]) == ("permit", [])
    assert party.store.job(job) is not None
    with PastTransfers.read_only(party.home / PAST) as past:
        assert {one.facts["dst"] for one in past.scenarios()} == {"DE"}
        assert all(law_or_closed().judge(one.facts).permitted for one in past.scenarios()), "they can be judged again"
    data: Any = party.entries()[-1].data
    assert {rule for one in data["law"] for rule in one["rules"]} == {"G4"}
    assert "law_needs" in data


def test_a_record_that_was_ended_is_as_good_as_none(party: Party) -> None:
    prove(party.home)
    with RecordStore.open(party.home / FILE, lambda *_: None) as store:
        ended = next(one for one in store.all() if one.evidence.kind == "duty")
        store.expire(ended.id)
    verdict, _ = _asked(party)
    assert verdict["effect"] == "deny"
    assert "OBL_ROPA" in _why(verdict)


def test_a_reader_whom_the_contract_allows_and_the_law_does_not_is_refused(tmp_path: Path) -> None:
    party = _made(tmp_path / "p1", CONTRACT.replace("[DE, FR, NO]}\nmin", "[DE, CN]}\nmin"))
    prove(party.home)
    verdict, _ = _asked(party, recipients=[{"id": "spiffe://acme.example/user/rosa", "country": "CN"}])
    logged = party.entries()[-1]
    party.close()
    assert (verdict["effect"], logged.type) == ("deny", EntryType.REFUSAL)
    assert "to rosa in CN, PERSONAL" in _why(verdict)
    assert "GDPR 44" in _why(verdict)


def test_a_contract_that_says_nothing_of_the_law_takes_part_in_nothing(tmp_path: Path) -> None:
    bare = CONTRACT.split("law:")[0] + "expires: 2036-01-31\n"
    party = _made(tmp_path / "p1", bare)
    verdict, _ = _asked(party)
    party.close()
    assert verdict["effect"] == "deny"
    assert "the contract says nothing for the law to judge by" in _why(verdict)


def test_a_law_that_cannot_be_loaded_denies_everything(party: Party, tmp_path: Path) -> None:
    from policies.law.regime import packaged

    broken = tmp_path / "regimes"
    shutil.copytree(str(packaged()), broken)
    (broken / "gdpr" / "rules.cedar").write_text("permit (", "utf-8")
    closed = law_or_closed(broken)
    assert isinstance(closed, ClosedLaw)
    prove(party.home)
    party.admission._lawfulness = Lawfulness(party.node, closed)
    verdict, _ = _asked(party)
    assert verdict["effect"] == "deny"
    assert "gdpr" in _why(verdict)


def test_records_that_cannot_be_read_deny_without_naming_the_partys_files(party: Party) -> None:
    (party.home / FILE).write_bytes(b"not a database" * 100)
    verdict, _ = _asked(party)
    assert verdict["effect"] == "deny"
    assert str(party.home) not in _why(verdict)


def test_an_explanation_that_says_the_same_again_is_logged_once(party: Party) -> None:
    order, token = party.order()
    before = len(party.entries())
    for _ in range(3):
        _verdict(party.admit(order, token, kind="explain"))
    assert len(party.entries()) == before + 1
    prove(party.home)
    _verdict(party.admit(order, token, kind="explain"))
    assert len(party.entries()) == before + 2, "what has changed is logged"


CHINESE = IN_CHINA.replace("law:\n", "law:\n" + CONSENT + "  subject: customer\n")


@pytest.fixture
def chinese(tmp_path: Path) -> Iterator[Party]:
    """Party p1 in China with a table of two people, papers, and counters that stand at nothing."""
    made = _in_china(tmp_path / "p1", CHINESE)
    yield made
    made.close()


def _in_china(home: Path, text: str) -> Party:
    made = _made(home, text)
    begin_counters(made.node)
    base = {
        "issuer": "x", "valid_from": "2026-01-01", "valid_until": "2035-12-31", "document_sha256": "ab" * 32,
        "exporter": "p1", "recipients": ["p2", "p3", "rosa", "coordinator"],
    }  # fmt: skip
    with RecordStore.open(made.home / FILE, lambda *_: None) as store:
        for fields in ({"kind": "pipia"}, {"kind": "duty", "duties": ["OBL_CN_NOTICE", "OBL_ROPA"]}):
            store.add(load_evidence(json.dumps({**base, **fields}), "record"))
    return made


def _counted(party: Party) -> list[tuple[str, int]]:
    with CounterLedger.read_only(party.home / COUNTERS) as ledger:
        return [(one.heading, one.people) for one in ledger.standing()]


def test_people_are_counted_when_a_job_binds_and_each_of_them_once(chinese: Party) -> None:
    told, _job = _asked(chinese, "explain")
    assert told["effect"] == "permit", _why(told)
    assert _counted(chinese) == [], "an explanation sends nobody abroad"
    for _ in range(2):
        verdict, _job = _asked(chinese)
        assert verdict["effect"] == "permit", _why(verdict)
    assert _counted(chinese) == [("cn:ordinary", 2)]


def test_people_are_counted_by_who_they_are_where_others_see_them_masked(tmp_path: Path) -> None:
    masked = CHINESE.replace("uses: [filter, group], domain: [a, b]", "uses: [filter]")
    party = _in_china(tmp_path / "p1", masked + "views: {masks: [{column: customer, form: nothing}]}\n")
    verdict, _job = _asked(party)
    assert verdict["effect"] == "permit", _why(verdict)
    assert _counted(party) == [("cn:ordinary", 2)]
    party.close()


def test_nobody_is_counted_where_the_law_masks_otherwise_than_the_verdict_says(chinese: Party) -> None:
    order, _ = chinese.order()
    plan, own = chinese.own_plan(order), [chinese.door._catalogue.contracts["orders"]]
    asker, lawfulness = Asker(plan.purpose), chinese.admission._lawfulness
    judged = lawfulness.judge(order, plan, own, asker, utc_now())
    other = replace(judged, bound={"orders": {"items": Bound(NOTHING, ("OBL_OF_YESTERDAY",))}})
    with pytest.raises(Refused, match="the law masks other columns than it did a moment ago"):
        lawfulness.count(plan, own, asker, order.jti, utc_now(), other)
    assert _counted(chinese) == []
    lawfulness.count(plan, own, asker, order.jti, utc_now(), judged)
    assert _counted(chinese) == [("cn:ordinary", 2)]


def test_a_band_that_is_reached_with_these_people_refuses_the_job(chinese: Party) -> None:
    from compliance.counters_flow import Flow
    from parties.counting import opened_counters

    with opened_counters(chinese.node) as ledger:
        ledger.reserve(Flow("letters", "letters", "p1", frozenset({"cn:ordinary"}), 99_998))
        ledger.commit("letters")
    verdict, _ = _asked(chinese)
    assert verdict["effect"] == "deny"
    assert "C10" in _why(verdict)
    assert _counted(chinese) == [("cn:ordinary", 99_998)], "who is not sent is not counted"


def test_without_counters_nobody_leaves_china(chinese: Party) -> None:
    (chinese.home / COUNTERS).unlink()
    verdict, _ = _asked(chinese)
    assert verdict["effect"] == "deny"
    assert "there are no counters" in _why(verdict)
    assert str(chinese.home) not in _why(verdict)


def test_what_an_entry_cannot_hold_is_counted_and_digested(party: Party, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parties.admission.MAX_LAW_BYTES", 8000)
    prove(party.home)
    places = [f"{first}{second}" for first in "ABCDEFG" for second in "DEFGILMNORSTUZ" if f"{first}{second}" in CODES]
    contract = party.door._catalogue.contracts["orders"]
    recipients = contract.recipients.model_copy(update={"countries": tuple(places)})
    allowed = contract.model_copy(update={"recipients": recipients})
    party.door._catalogue.contracts["orders"] = allowed
    me = "spiffe://acme.example/user/rosa"
    readers = [{"id": me, "country": "DE"}]
    readers += [{"id": f"spiffe://acme.example/user/u{place.lower()}", "country": place} for place in places[:31]]
    verdict, _ = _asked(party, recipients=readers)
    assert len(verdict["transfers"]) > 60
    data: Any = party.entries()[-1].data
    assert data["effect"] == "deny"
    assert len(data["law"]) + data["law"][-1]["left_out"] - 1 == len(verdict["transfers"])
    assert len(data["law"][-1]["digest"]) == 64
