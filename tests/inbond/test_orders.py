"""An order is a user's, for this consortium, now; everything else is refused."""

from datetime import timedelta

import pytest

from inbond.orders import ORDER_TYPE, open_order, sign_order
from policies.envelope import sign
from policies.errors import InvalidIdentity, PolicyError
from policies.identity import OFFICES, Standing
from policies.job import JobOrder
from tests.policies.samples import query_spec
from tests.support.authority import Node, TestAuthority

AUTHORITY = TestAuthority("acme.example")
ROSA = AUTHORITY.node("user/rosa")


def _signed(by: Node = ROSA) -> tuple[JobOrder, str]:
    key, nonce = b"k" * 32, "0123456789abcdef"
    return sign_order(query_spec(), by.signer, nonce=nonce, result_key=key, sum_key_digest="cd" * 32, now=AUTHORITY.now)


def _open(token: str, late: timedelta = timedelta(), consortium: str = "acme.example") -> JobOrder:
    return open_order(token, trust=AUTHORITY.trust, consortium=consortium, now=AUTHORITY.now + late)


def test_what_was_signed_is_opened_and_no_two_orders_share_an_id() -> None:
    order, token = _signed()
    assert _open(token) == order
    assert _signed()[0].jti != order.jti


@pytest.mark.parametrize("path", ["party/p1", "coordinator"])
def test_only_users_order(path: str) -> None:
    with pytest.raises(InvalidIdentity, match="may not order"):
        _open(_signed(AUTHORITY.node(path))[1])


@pytest.mark.parametrize("office", sorted(OFFICES - {"researcher"}))
def test_only_researchers_among_them_order(office: str) -> None:
    with pytest.raises(InvalidIdentity, match=f"role {office} may not order jobs; a researcher"):
        _open(_signed(AUTHORITY.node("user/otto", standing=Standing("bank", office)))[1])
    order, token = _signed(AUTHORITY.node("user/vera", standing=Standing("bank", "researcher")))
    assert _open(token) == order


def test_another_consortium_a_late_one_and_a_future_one_are_refused() -> None:
    token = _signed()[1]
    for late, consortium in ((0, "other.example"), (3601 + 120, "acme.example"), (-600, "acme.example")):
        with pytest.raises(PolicyError):
            _open(token, timedelta(seconds=late), consortium)


def test_an_order_in_somebody_elses_name_is_refused() -> None:
    payload = _signed()[0].payload() | {"iss": "spiffe://acme.example/user/eve"}
    with pytest.raises(PolicyError):
        _open(sign(payload, typ=ORDER_TYPE, signer=ROSA.signer))


def test_another_kind_of_signed_thing_is_no_order() -> None:
    with pytest.raises(PolicyError):
        _open(sign(_signed()[0].payload(), typ="inbond-verdict+jws", signer=ROSA.signer))
