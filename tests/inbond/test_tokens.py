"""A kept token that was damaged is one clear error."""

import base64
import json

import pytest

from inbond.errors import InbondError
from inbond.tokens import payload_of


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_the_payload_of_a_kept_token_is_read() -> None:
    assert payload_of(f"h.{_part({'job': 'x'})}.s") == {"job": "x"}


@pytest.mark.parametrize("token", ["", "a", "a.b", "..", "h.!!!.s", "h." + _part([1]) + ".s", "h." + _part("x") + ".s"])
def test_a_damaged_token_says_what_to_do(token: str) -> None:
    with pytest.raises(InbondError, match=r"state\.db: a kept token is damaged; restore"):
        payload_of(token)
