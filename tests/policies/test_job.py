"""Jobs, orders, their states, and verdicts that later messages are checked against."""

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from policies.canonical import canonical
from policies.errors import InvalidInput
from policies.job import load_job, load_order
from policies.job_state import FINAL_STATES, JOB_TRANSITIONS, JobEvent, JobState, JobStateError, advance
from policies.plan import Step
from policies.request import Decision, Effect, Obligation, ObligationKind
from policies.verdict import RefusedError, Verdict, check_message, load_verdict, make_verdict
from tests.policies.samples import NOW, order, query_spec, train_spec

TRAIN = """\
kind: train
name: fraud-weekly
purpose: dpv:FraudPreventionAndDetection
dataset: orders
recipe: {name: fraud, version: 1, parameters: {batch: 64, rate: 1e-3}}
rounds: 5
recipients:
  - {id: "spiffe://acme.example/user/rosa", country: DE}
"""


def test_a_training_job_has_the_defaults_that_protect() -> None:
    job = load_job(TRAIN, "job.yaml")
    assert (job.protection, job.key_mode, job.parties) == ("encrypted", "shared", "all")
    assert job.recipe is not None
    assert job.recipe.parameters["rate"] == 1e-3
    assert query_spec().key_mode == "holder"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("rounds: 5\n", "", "a train job needs `rounds`; add it"),
        ("rounds: 5", "rounds: 5\nsql: SELECT 1", "a train job has no `sql`; leave it out"),
        ("kind: train", "kind: query", "a query job needs `sql`"),
        ("rounds: 5", "round: 5", "job.yaml:6: `round` is not known; did you mean `rounds`?"),
        ("rounds: 5", "rounds: 5\nstrategy: Krum", "a strategy needs visible updates"),
        ("rounds: 5", "rounds: 0", "job.yaml:6: `rounds` is 0"),
        ("rounds: 5", "rounds: 5\nparties: [p1, p1]", "a party is named twice"),
        ("rounds: 5", "rounds: 5\nprivacy: {mechanism: laplace}", "mechanism and epsilon go together"),
        ("rounds: 5", "rounds: 5\nprivacy: {mechanism: gaussian, epsilon: 1}", "delta belongs to gaussian"),
        ("version: 1", "version: one", "job.yaml:5: `recipe.version` is 'one'"),
        ("batch: 64", "batch: " + "x" * 20_000, "parameters are too large"),
        ("country: DE", "country: Germany", "job.yaml:8: `recipients.0.country`"),
        ("name: fraud-weekly", "name: " + "x" * 70_000, "too long"),
        ("name: fraud-weekly", "name: ../../etc", "`name` is"),
    ],
)
def test_a_fault_in_a_job_file_is_told(old: str, new: str, told: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        load_job(TRAIN.replace(old, new, 1), "job.yaml")
    assert told in str(caught.value)


def test_a_query_cannot_be_under_the_parties_key() -> None:
    with pytest.raises(ValidationError, match="leave `key_mode` out"):
        query_spec(key_mode="shared")


def test_an_order_survives_its_own_json_and_every_claim_changes_its_digest() -> None:
    signed = order()
    again = load_order(canonical(signed.payload()).decode(), "order")
    assert again == signed
    assert again.digest() == signed.digest()
    changes: list[dict[str, Any]] = [{"nonce": "f" * 16}, {"result_key": "00" * 32}, {"jti": "job-00000002"}]
    assert len({signed.digest(), *(order(**change).digest() for change in changes)}) == 4
    assert order(query_spec(purpose="dpv:Other")).digest() != signed.digest()


def test_an_order_addresses_members_by_name_or_altogether() -> None:
    assert order().addresses("spiffe://acme.example/party/p1")
    narrow = order(aud=["spiffe://acme.example/party/p1"])
    assert narrow.addresses("spiffe://acme.example/party/p1")
    assert not narrow.addresses("spiffe://acme.example/party/p2")


@pytest.mark.parametrize(
    "changes",
    [{"exp": 5}, {"exp": 2**39}, {"result_key": "xyz"}, {"nonce": "short"}, {"sum_key_digest": None}],
)
def test_an_order_with_claims_that_do_not_fit_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        order(**changes)


def test_training_under_a_shared_key_names_no_sum_key() -> None:
    assert order(train_spec()).sum_key_digest is None
    with pytest.raises(ValidationError, match="sum_key_digest"):
        order(train_spec(), sum_key_digest="cd" * 32)


def test_the_table_leads_from_submitted_to_every_state_and_out_of_every_live_one() -> None:
    reached, seen = {JobState.SUBMITTED}, 0
    while len(reached) != seen:
        seen = len(reached)
        reached |= {end for (start, _), end in JOB_TRANSITIONS.items() if start in reached}
    assert reached == set(JobState)
    live = {start for start, _ in JOB_TRANSITIONS}
    assert live == set(JobState) - FINAL_STATES
    assert all((state, JobEvent.CANCEL) in JOB_TRANSITIONS for state in live)


def test_a_job_runs_survives_a_restart_and_finishes() -> None:
    state = JobState.SUBMITTED
    for event in (JobEvent.PLAN, JobEvent.DECIDE, JobEvent.PERMIT, JobEvent.INTERRUPT, JobEvent.RESUME):
        state = advance(state, event)
    assert advance(state, JobEvent.FINISH) is JobState.FINISHED


def test_a_job_that_waits_for_people_goes_on_waiting_after_a_restart_and_is_decided_on_again() -> None:
    state = JobState.SUBMITTED
    for event in (JobEvent.PLAN, JobEvent.DECIDE, JobEvent.WAIT, JobEvent.INTERRUPT):
        state = advance(state, event)
    assert state is JobState.NEEDS_APPROVAL
    assert advance(state, JobEvent.REFUSE) is JobState.REFUSED
    assert advance(state, JobEvent.APPROVE) is JobState.DECIDING
    with pytest.raises(JobStateError):
        advance(state, JobEvent.PERMIT)


@pytest.mark.parametrize("state", sorted(JobState))
def test_what_is_not_in_the_table_is_illegal(state: JobState) -> None:
    for event in JobEvent:
        if (state, event) not in JOB_TRANSITIONS:
            with pytest.raises(JobStateError, match=f"`{event}` cannot happen while {state}"):
                advance(state, event)


def verdict(decision: Decision | None = None, **changes: Any) -> Verdict:
    base: dict[str, Any] = {
        "job": "job-00000001",
        "plan": "ab" * 32,
        "party": "p1",
        "contract": "cd" * 32,
        "steps": (Step(name="query.start", max_count=1), Step(name="train", max_count=3, first=1)),
        "expires": int(NOW.timestamp()) + 60,
        "epoch_key": "ef" * 32,
    }
    duty = Obligation(ObligationKind.MINIMUM_PARTIES, (("minimum_parties", 3),))
    return make_verdict(decision or Decision(Effect.PERMIT, ("permit-run",), obligations=(duty,)), **(base | changes))


def test_a_verdict_survives_its_own_json() -> None:
    given = verdict()
    assert load_verdict(canonical(given.payload()).decode()) == given
    assert given.obligations[0].parameters == {"minimum_parties": 3}


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({}, None, ""),
        ({"step": "train", "round_number": 3}, None, ""),
        ({"step": "train", "round_number": 4}, InvalidInput, "round 4 of `train` was not decided; 1 to 3"),
        ({"step": "train", "round_number": 0}, InvalidInput, "was not decided"),
        ({"round_number": 1}, InvalidInput, "was not decided; 0 to 0"),
        ({"step": "dump"}, InvalidInput, "the steps are query.start, train"),
        ({"job": "job-00000002"}, InvalidInput, "another job"),
        ({"plan_digest": "00" * 32}, InvalidInput, "another plan"),
        ({"now": NOW + timedelta(seconds=60)}, RefusedError, "has expired"),
    ],
)
def test_a_message_outside_the_verdict_is_refused(
    changes: dict[str, Any], error: type[Exception] | None, told: str
) -> None:
    message: dict[str, Any] = {
        "job": "job-00000001",
        "plan_digest": "ab" * 32,
        "step": "query.start",
        "round_number": 0,
        "now": NOW,
    } | changes
    if error is None:
        check_message(verdict(), **message)
        return
    with pytest.raises(error, match=told):
        check_message(verdict(), **message)


@pytest.mark.parametrize(
    "decision",
    [
        Decision(Effect.DENY, ("purpose",)),
        Decision(Effect.PERMIT, ()),
        Decision(Effect.PERMIT, ("a",), errors=("e",)),
    ],
)
def test_a_refusal_allows_no_step(decision: Decision) -> None:
    refused = verdict(decision)
    assert refused.steps == ()
    with pytest.raises(RefusedError):
        check_message(refused, job="job-00000001", plan_digest="ab" * 32, step="query.start", round_number=0, now=NOW)
