"""A plan's transfers and their facts: who reads what where, what the contract says, and what only records prove."""

import json
from datetime import date
from typing import Any

import pytest

from federation.planner import RecipeInfo, make_plan
from policies.contract import DataContract, Use
from policies.errors import InvalidInput
from policies.evidence import Evidence, load_evidence
from policies.law.judging import Judged, judge, needs, refusals, told, with_changes
from policies.law.law import Law, load_law
from policies.law.transfers import Transfer, facts_of_transfer, transfers_of
from policies.plan import Plan
from policies.views import Asker
from tests.policies.samples import RESEARCHER, contract, order, query_spec, train_spec

DAY = date(2026, 6, 1)
ASKER = Asker("dpv:FraudPreventionAndDetection", "researcher", "shop")
PARTIES = {"p1": "DE", "p2": "FR", "p3": "NO"}
LAW: dict[str, Any] = {
    "organisation": "merchant", "subjects": 100, "residence": ["DE"],
    "recipients": {"*": {"recipient_kind": "merchant"}},
}  # fmt: skip
BASE = {"issuer": "x", "valid_from": "2026-01-01", "valid_until": "2026-12-31", "document_sha256": "ab" * 32}
TESTED: dict[str, Any] = {
    "kind": "anonymity", "exporter": "p1", "dataset": "orders", "output_kind": "aggregate",
    "tests": [{"name": "differencing", "result": "pass"}], "k": 10, "dominance": 0.3,
}  # fmt: skip


@pytest.fixture(scope="module")
def law() -> Law:
    return load_law()


def record(**fields: Any) -> Evidence:
    return load_evidence(json.dumps({**BASE, **fields}), "record")


def held(country: str = "DE", **changes: Any) -> DataContract:
    return contract(jurisdiction=country, law={**LAW, **changes.pop("law", {})}, **{"minimum_group": 10, **changes})


def plan(spec: Any = None, coordinator: str | None = "DE", **changes: Any) -> Plan:
    owners = {name: {"orders": held(country, **changes)} for name, country in PARTIES.items()}
    columns = (("amount", Use.FEATURE), ("paid", Use.LABEL))
    recipe = RecipeInfo(name="fraud", version=1, parameter_count=10, columns=columns)
    return make_plan(order(spec or query_spec()), owners, recipe, coordinator_country=coordinator)


def facts(by: Law, transfer: Transfer, made: Plan, *records: Evidence, **changes: Any) -> dict[str, Any]:
    return facts_of_transfer(
        transfer, plan=made, party="p1", contract=held(**changes), records=records, day=DAY, catalogue=by.catalogue,
        asker=ASKER,
    )  # fmt: skip


def one(made: Plan, what: str, recipient: str) -> Transfer:
    (found,) = (t for t in transfers_of(made, "p1", "orders") if (t.what, t.recipient) == (what, recipient))
    return found


def judged(by: Law, made: Plan, *records: Evidence, **changes: Any) -> tuple[Judged, ...]:
    return judge(by, made, "p1", held(**changes), records, DAY, {}, ASKER)


def test_every_reader_but_the_owner_is_a_recipient_and_the_coordinator_carries_ciphertexts() -> None:
    found = transfers_of(plan(), "p1", "orders")
    assert {(t.what, t.recipient, t.country) for t in found if t.kind == "aggregate"} == {
        ("group counts", "p2", "FR"),
        ("group counts", "p3", "NO"),
        ("group counts", "rosa", "DE"),
        ("exact aggregate", "rosa", "DE"),
    }
    carried = [t for t in found if t.kind == "ciphertext"]
    assert {(t.recipient, t.country) for t in carried} == {("coordinator", "DE")}
    assert {t.key_holder for t in carried} == {"DE", "FR", "NO"}, "once for every place where something is opened"


def test_small_groups_are_left_out_of_what_people_read_not_of_what_parties_count() -> None:
    made = plan()
    assert one(made, "exact aggregate", "rosa").suppressed
    assert one(made, "group counts", "rosa").suppressed
    assert not one(made, "group counts", "p2").suppressed


def test_a_plan_that_hides_where_its_ciphertexts_pass_through_has_no_transfers() -> None:
    with pytest.raises(InvalidInput, match="nobody knows where ciphertexts pass through"):
        transfers_of(plan(coordinator=None), "p1", "orders")


def test_a_plain_training_shows_the_coordinator_each_contribution_unsummed(law: Law) -> None:
    made = plan(train_spec(protection="plain"), allow_plain=True)
    seen = one(made, "party contribution", "coordinator")
    assert seen.kind == "model_update"
    said = facts(law, seen, made, allow_plain=True)
    assert (said["secure_aggregation"], said["n_clients"], said["recipient_kind"]) == (False, 3, "coordinator")
    assert not any(t.kind == "ciphertext" for t in transfers_of(made, "p1", "orders"))


def test_an_encrypted_training_sums_its_updates(law: Law) -> None:
    made = plan(train_spec())
    said = facts(law, one(made, "joint model", "p2"), made)
    assert (said["output_kind"], said["secure_aggregation"], said["n_clients"]) == ("model_update", True, 3)
    assert said["dp"] is None, "no noise is added to a training"


def test_columns_and_classes_say_what_the_data_are(law: Law) -> None:
    columns = {
        "country": {"type": "text", "class": "public", "uses": ["group"], "domain": ["DE", "FR"]},
        "amount": {"type": "money", "class": "sensitive", "category": "health_item", "uses": ["aggregate", "filter"]},
        "card": {"type": "text", "class": "personal", "category": "pan"},
    }
    made = plan(columns=columns)
    said = facts(law, one(made, "exact aggregate", "rosa"), made, columns=columns)
    assert said["categories"] == ("health_item",), "of the columns that the plan uses"
    assert said["gdpr_special"]
    assert said["padfa_sensitive"]
    assert law.catalogue.sheet(said)["pan_form"] == "none"


def test_the_word_of_a_contract_is_no_transfer_tool(law: Law) -> None:
    stated = {"facts": {"mechanism": "scc_m1"}}
    made = plan(law=stated)
    transfer = one(made, "group counts", "p2")
    assert "mechanism" not in facts(law, transfer, made, law=stated)
    tool = {"kind": "tool", "exporter": "p1", "recipients": ["p2"]}
    both = (record(**tool, mechanism="bcr"), record(**tool, mechanism="scc_m1", annexes="v1"))
    assert facts(law, transfer, made, *both, law=stated)["mechanism"] == "scc_m1", "but it may say which of several"
    every = facts(law, transfer, made, *both)
    assert (every["mechanism"], every["further_mechanisms"]) == ("bcr", ["scc_m1"]), "each regime looks for its own"
    ground = {"facts": {"mechanism": "art49_consent"}}
    assert facts(law, transfer, made, law=ground)["mechanism"] == "art49_consent", "a ground has no document"


def test_the_narrower_statement_counts(law: Law) -> None:
    stated = {
        "facts": {"lawful_basis": "contract", "notice_given": False},
        "purposes": {"dpv:FraudPreventionAndDetection": {"lawful_basis": "legal_obligation"}},
        "recipients": {"*": {"recipient_kind": "merchant"}, "p*": {"recipient_kind": "payment", "notice_given": True}},
    }
    made = plan(law=stated)
    firm, person = one(made, "group counts", "p2"), one(made, "exact aggregate", "rosa")
    assert facts(law, firm, made, law=stated)["lawful_basis"] == "legal_obligation"
    assert facts(law, firm, made, law=stated)["recipient_kind"] == "payment"
    assert facts(law, firm, made, law=stated)["notice_given"]
    assert not facts(law, person, made, law=stated)["notice_given"]


@pytest.mark.parametrize(
    ("tested", "spec", "group", "result"),
    [
        ({}, {}, 10, "pass"),
        ({"k": 11}, {}, 10, "none"),
        ({"epsilon": 1.0}, {}, 10, "none"),
        ({"epsilon": 1.0}, {"privacy": {"mechanism": "laplace", "epsilon": 0.5}}, 10, "pass"),
        ({"epsilon": 1.0}, {"privacy": {"mechanism": "laplace", "epsilon": 2.0}}, 10, "none"),
        ({"dataset": "other"}, {}, 10, None),
    ],
)
def test_evidence_of_anonymity_counts_for_plans_that_protect_as_well(
    law: Law, tested: dict[str, Any], spec: dict[str, Any], group: int, result: str | None
) -> None:
    made = plan(query_spec(**spec), minimum_group=group)
    what = "noised aggregate" if spec else "exact aggregate"
    said = facts(law, one(made, what, "rosa"), made, record(**{**TESTED, **tested}), minimum_group=group)
    assert said.get("anon_test") == result
    assert said["min_cell_k"] == group
    shown = facts(law, one(made, "group counts", "p2"), made, record(**{**TESTED, **tested}), minimum_group=group)
    assert shown["min_cell_k"] == 0, "a party counts small groups, whatever was tested"
    assert shown.get("anon_test") != "pass"


def test_a_contract_without_law_gives_no_facts(law: Law) -> None:
    made = plan()
    with pytest.raises(InvalidInput, match="the contract says nothing for the law to judge by"):
        judge(law, made, "p1", contract(law=None), (), DAY, {}, ASKER)


def test_within_the_eea_evidence_is_missing_until_a_record_names_the_duty_for_that_recipient(law: Law) -> None:
    made = plan()
    bare = judged(law, made)
    assert refusals(bare) == ()
    assert needs(law, bare)[0].startswith("OBL_ROPA, for transfers to coordinator, p2, p3, rosa: record of processing")
    duty = {"kind": "duty", "exporter": "p1", "recipients": ["p2", "rosa", "coordinator"]}
    some = judged(law, made, record(**duty, duties=["OBL_ROPA", "OBL_ROLE_CONTRACT"]))
    assert [line.split(":")[0] for line in needs(law, some)] == [
        "OBL_ROPA, for transfers to p3",
        "OBL_ROLE_CONTRACT, for transfers to p3",
    ]
    later = record(**{**duty, "recipients": ["p3"], "duties": ["OBL_ROPA", "OBL_ROLE_CONTRACT"]})
    assert needs(law, judged(law, made, record(**duty, duties=["OBL_ROPA", "OBL_ROLE_CONTRACT"]), later)) == ()


def test_a_reader_abroad_is_refused_with_article_and_ways_and_the_other_readers_are_not(law: Law) -> None:
    readers = [{"id": RESEARCHER, "country": "DE"}, {"id": "spiffe://acme.example/user/chen", "country": "CN"}]
    made = plan(query_spec(recipients=readers))
    found = with_changes(law, judged(law, made))
    refused = {t.transfer.recipient for t in found if not t.decision.permitted}
    assert refused == {"chen"}
    (reason,) = {one.policy_id: one for one in refusals(found)}.values()
    assert (reason.policy_id, reason.article) == ("G8", "GDPR 44; GDPR 46(1)")
    assert "to chen in CN, PERSONAL" in reason.about
    assert reason.remedy.startswith("with a recipient in DE instead of CN")
    lines = {(line.country, line.what): line for line in told(found)}
    assert lines["CN", "exact aggregate"].decision == "deny"
    assert lines["CN", "exact aggregate"].changes
    assert lines["DE", "exact aggregate"].recipients == ("rosa",)


def test_an_unknown_fact_of_the_contract_denies_with_its_name(law: Law) -> None:
    made = plan(law={"facts": {"colour_of_the_van": "red"}})
    with pytest.raises(InvalidInput, match="fact `colour_of_the_van` is not known"):
        judged(law, made, law={"facts": {"colour_of_the_van": "red"}})


def test_what_the_counters_say_goes_before_everything(law: Law) -> None:
    made = plan()
    found = judge(law, made, "p1", held(), (), DAY, {"cn_ytd_nonsens": 7}, ASKER)
    assert {t.facts["cn_ytd_nonsens"] for t in found} == {7}


def test_a_person_with_the_owners_name_is_a_recipient_all_the_same() -> None:
    readers = [{"id": RESEARCHER, "country": "DE"}, {"id": "spiffe://acme.example/user/p1", "country": "CN"}]
    found = transfers_of(plan(query_spec(recipients=readers)), "p1", "orders")
    assert ("p1", "CN", "exact aggregate") in {(one.recipient, one.country, one.what) for one in found}
