"""Several providers: one name and one issuer each, and no provider speaks for another's people."""

from typing import Any

import pytest

from policies.document import Document, validate
from policies.errors import InvalidInput
from policies.provider import Client, Provider
from policies.providers import SOLE, Providers, chosen

BANK: dict[str, Any] = {
    "issuer": "https://login.bank.example",
    "client_id": "inbond",
    "organisation": "bank",
    "role_claim": "roles",
}
FUND: dict[str, Any] = {
    "issuer": "https://id.fund.example",
    "client_id": "inbond",
    "organisation_claim": "org",
    "organisations": {"FUND": "fund", "TRUST": "trust"},
    "role_claim": "roles",
}
ANYBODY = {key: value for key, value in FUND.items() if key != "organisations"}


def _read(value: dict[str, Any]) -> Providers:
    return validate(Providers, Document(value, "oidc.json", {}))


def test_a_document_of_one_provider_is_read_under_the_name_that_it_had_none() -> None:
    assert _read(ANYBODY) == _read({"providers": {SOLE: ANYBODY}})
    assert _read(ANYBODY).providers[SOLE] == Provider(**ANYBODY)


def test_the_issuer_of_a_token_picks_the_provider_to_the_letter() -> None:
    both = _read({"providers": {"bank": BANK, "fund": FUND}})
    assert both.issued("https://id.fund.example") == ("fund", Provider(**FUND))
    for stranger in ("https://id.fund.example/", "https://ID.fund.example", ""):
        assert both.issued(stranger) is None


def test_a_provider_says_for_whom_it_speaks() -> None:
    assert Provider(**BANK).speaks_for == {"bank"}
    assert Provider(**FUND).speaks_for == {"fund", "trust"}
    assert Provider(**ANYBODY).speaks_for == frozenset()


@pytest.mark.parametrize(
    ("providers", "told"),
    [
        ({"bank": BANK, "staff": {**FUND, "issuer": BANK["issuer"]}}, "under two names"),
        ({"bank": BANK, "fund": ANYBODY}, "fund may speak for any organisation"),
        ({"Bank": BANK}, "Bank"),
        ({"-": BANK}, "-"),
        ({"bank": {**BANK, "issuer": "http://bank.example"}}, "not an address to trust"),
        ({"bank": {**BANK, "extra": 1}}, "not known"),
        ({f"p{number}": {**BANK, "issuer": f"https://p{number}.example"} for number in range(33)}, "32"),
    ],
)
def test_what_would_mix_people_up_is_refused(providers: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        _read({"providers": providers})


def test_with_one_provider_no_name_need_be_said_and_with_several_it_must() -> None:
    bank, fund = Client(issuer=BANK["issuer"], client_id="a"), Client(issuer=FUND["issuer"], client_id="b")
    assert chosen({"bank": bank}, "", "--provider") == ("bank", bank)
    assert chosen({"bank": bank, "fund": fund}, "fund", "--provider") == ("fund", fund)
    for name, told in (("", "several providers; one of: bank, fund"), ("shop", "no provider 'shop'; one of: bank")):
        with pytest.raises(InvalidInput, match=told):
            chosen({"bank": bank, "fund": fund}, name, "--provider")
    with pytest.raises(InvalidInput, match="no provider 'fund'; one of: bank"):
        chosen({"bank": bank}, "fund", "--provider")
