"""Attack 14: orders of another consortium. A party answers them all in the same words, whatever they ask about."""

from collections.abc import Iterator

import pytest

from compliance.audit.entry import EntryType
from federation.planner import make_plan
from inbond.messages import Reply
from inbond.tokens import payload_of
from parties.door import FAILED
from policies.envelope import sign
from tests.bad_input.homes import Party
from tests.policies.samples import contract, query_spec
from tests.support.authority import Node, TestAuthority

HERE, NOT_HERE = "orders", "secrets"


@pytest.fixture(scope="module")
def party(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Party]:
    made = Party.make(tmp_path_factory.mktemp("tenants") / "p1")
    yield made
    made.close()


def ask(party: Party, by: Node, dataset: str, **claims: str) -> Reply:
    """The party's reply to an order of `by` for a dataset, with other `claims` than it would have."""
    sql = f"SELECT country, COUNT(*) FROM {dataset} GROUP BY country"
    me = {"id": str(by.credentials.spiffe_id), "country": "DE"}
    order, token = party.order(query_spec(dataset=dataset, sql=sql, recipients=[me]), by=by)
    if claims:
        altered = payload_of(token) | claims
        token, order = sign(altered, typ="inbond-order+jws", signer=by.signer), order.model_copy(update=claims)
    held = {name: {dataset: contract(dataset=dataset)} for name in ("p1", "p2", "p3")}
    return party.admit(order, token, plan=make_plan(order, held))


def same_words(party: Party, by: Node, **claims: str) -> None:
    before = len(party.entries())
    found = [ask(party, by, dataset, **claims) for dataset in (HERE, NOT_HERE)]
    assert [(one.status, one.reason, one.body) for one in found] == [("failed", FAILED, ())] * 2
    assert [entry.type for entry in party.entries()[before:]] == [EntryType.REFUSAL] * 2, "the owner can read both"
    assert not party.store.jobs()


def test_attack_14_an_order_of_another_consortiums_member_tells_nothing_of_what_is_here(party: Party) -> None:
    same_words(party, TestAuthority("other.example").node("user/rosa"))


def test_attack_14_neither_does_one_of_an_authority_that_calls_itself_ours(party: Party) -> None:
    same_words(party, TestAuthority("acme.example").node("user/rosa"))


@pytest.mark.parametrize("claims", [{"aud": "other"}, {"consortium": "other.example"}])
def test_attack_14_nor_does_one_of_our_member_that_is_for_another_consortium(
    party: Party, claims: dict[str, str]
) -> None:
    same_words(party, party.researcher, **claims)
