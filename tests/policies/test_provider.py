"""What a provider's claims make somebody here: exactly one name, organisation and role, or nobody."""

from typing import Any

import pytest

from policies.base64url import decode, encode
from policies.document import Document, validate
from policies.errors import InvalidIdentity, InvalidInput
from policies.identity import SpiffeId, Standing
from policies.provider import Provider, check_url, mapped, subject_of

DOMAIN = "acme.test"
SAID = {
    "issuer": "https://login.bank.example/realm",
    "client_id": "inbond",
    "organisation_claim": "org",
    "role_claim": "roles",
}
ROSA = {"preferred_username": "rosa", "org": "bank", "roles": ["offline", "researcher"]}


def _provider(**changes: Any) -> Provider:
    return validate(Provider, Document({**SAID, **changes}, "oidc.json", {}))


def test_values_that_are_names_here_map_to_themselves() -> None:
    assert mapped(_provider(), ROSA, DOMAIN) == (SpiffeId(DOMAIN, "/user/rosa"), Standing("bank", "researcher"))


def test_with_a_table_only_its_values_count() -> None:
    made = _provider(roles={"grp-7": "officer"}, organisations={"B.A.N.K. plc": "bank"})
    claims = {**ROSA, "org": "B.A.N.K. plc", "roles": ["grp-7", "researcher"]}
    assert mapped(made, claims, DOMAIN)[1] == Standing("bank", "officer")
    for change in ({"org": "bank"}, {"roles": ["researcher"]}):
        with pytest.raises(InvalidIdentity, match="maps to nothing"):
            mapped(made, {**claims, **change}, DOMAIN)


NOBODY = [
    ({"preferred_username": None}, "no user's name"),
    ({"preferred_username": ["rosa", "olga"]}, "no user's name"),
    ({"preferred_username": "Rosa"}, "no name here"),
    ({"preferred_username": "rosa/../olga"}, "no name here"),
    ({"preferred_username": ""}, "no name here"),
    ({"org": None}, "maps to nothing"),
    ({"org": ["bank", "shop"]}, "maps to 2 things"),
    ({"org": "Bank"}, "no name here"),
    ({"roles": []}, "maps to nothing"),
    ({"roles": "administrator"}, "maps to nothing"),
    ({"roles": ["researcher", "officer"]}, "maps to 2 things"),
    ({"roles": {"researcher": True}}, "maps to nothing"),
]


@pytest.mark.parametrize(("change", "told"), NOBODY)
def test_what_maps_to_nothing_or_to_two_things_is_nobody(change: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidIdentity, match=told):
        mapped(_provider(), {**ROSA, **change}, DOMAIN)


def test_a_missing_claim_is_nobodys() -> None:
    for name in ROSA:
        with pytest.raises(InvalidIdentity):
            mapped(_provider(), {key: value for key, value in ROSA.items() if key != name}, DOMAIN)


def test_a_claim_may_lie_deeper_and_its_own_name_comes_first() -> None:
    made = _provider(role_claim="realm_access.roles")
    nested = {**ROSA, "realm_access": {"roles": ["auditor"]}}
    assert mapped(made, nested, DOMAIN)[1].office == "auditor"
    assert mapped(made, {**nested, "realm_access.roles": "operator"}, DOMAIN)[1].office == "operator"
    with pytest.raises(InvalidIdentity, match="maps to nothing"):
        mapped(made, {**ROSA, "realm_access": "roles"}, DOMAIN)


def test_an_ending_of_the_name_is_wanted_and_cut_off() -> None:
    made = _provider(user_suffix="@bank.example")
    assert mapped(made, {**ROSA, "preferred_username": "rosa@bank.example"}, DOMAIN)[0].name == "rosa"
    for name in ("rosa", "rosa@evil.example", "@bank.example", "rosa@evil.example@bank.example"):
        with pytest.raises(InvalidIdentity):
            mapped(made, {**ROSA, "preferred_username": name}, DOMAIN)


def test_a_mail_address_counts_only_when_the_provider_verified_it() -> None:
    made = _provider(user_claim="email", user_suffix="@bank.example")
    claims = {**ROSA, "email": "rosa@bank.example"}
    assert mapped(made, {**claims, "email_verified": True}, DOMAIN)[0].name == "rosa"
    for said in ({}, {"email_verified": False}, {"email_verified": "true"}, {"email_verified": 1}):
        with pytest.raises(InvalidIdentity, match="nobody verified"):
            mapped(made, {**claims, **said}, DOMAIN)


def test_a_provider_of_one_organisation_needs_no_claim_for_it() -> None:
    made = _provider(organisation="bank", organisation_claim="")
    assert mapped(made, {**ROSA, "org": "shop"}, DOMAIN)[1].organisation == "bank"


def test_errors_repeat_no_claim() -> None:
    for change in ({"preferred_username": "Rosa Luz"}, {"org": "Secret Ltd"}, {"roles": "secret"}):
        with pytest.raises(InvalidIdentity) as caught:
            mapped(_provider(), {**ROSA, **change}, DOMAIN)
        assert "ecret" not in str(caught.value)
        assert "Luz" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"organisation": "bank"}, "one of them"),
        ({"organisation_claim": ""}, "one of them"),
        ({"organisation_claim": "", "organisation": "Bank"}, "not an organisation's name"),
        ({"organisations": {"x": "No Name"}}, "not an organisation's name"),
        ({"organisation_claim": "", "organisation": "bank", "organisations": {"x": "bank"}}, "without a claim"),
        ({"roles": {"x": "king"}}, "roles"),
        ({"binding": "none"}, "binding"),
        ({"issuer": "http://login.bank.example/realm"}, "not an address to trust"),
        ({"issuer": "https://login.bank.example/realm?x=1"}, "no query"),
        ({"client_id": ""}, "client_id"),
        ({"secret": "x"}, "not known"),
    ],
)
def test_a_setting_that_says_nothing_clear_is_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        _provider(**change)


@pytest.mark.parametrize(
    "url", ["https://login.bank.example", "http://localhost:8080/x", "http://127.9.9.9/", "http://[::1]:80/"]
)
def test_https_everywhere_and_http_on_loopback_are_addresses(url: str) -> None:
    assert check_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://login.bank.example/",
        "http://localhost.evil.example/",
        "http://127.0.0.1.evil.example/",
        "http://localhost@evil.example/",
        "https://user:word@login.bank.example/",
        "ftp://localhost/",
        "file:///etc/passwd",
        "https://",
        "https://login.bank.example/\nx",
        "https://login.bank.example/#x",
        "https://login.bank.example:0/",
        "https://login.bank.example:99999/",
        "https://[::1/",
        "https://x.example/" + "x" * 600,
    ],
)
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="not an address to trust"):
        check_url(url)


def test_a_subject_is_one_of_its_provider() -> None:
    assert len({subject_of("https://a", "1"), subject_of("https://b", "1"), subject_of("https://a", "2")}) == 3
    assert subject_of("https://a", "b c") != subject_of("https://a b", "c"), "no two pairs run together"


@pytest.mark.parametrize("text", ["", "=", "AA==", "A", "AB", "A A", "+/+/", "é"])
def test_base64url_has_one_spelling(text: str) -> None:
    with pytest.raises(InvalidIdentity, match="base64url"):
        decode(text, "x")
    assert decode(encode(b"\xfb\xff"), "x") == b"\xfb\xff"


@pytest.mark.parametrize(
    ("setting", "claims", "country"),
    [
        ({}, {"country": "DE"}, ""),
        ({"country": "DE"}, {"country": "GB"}, "DE"),
        ({"country_claim": "country"}, {"country": "GB"}, "GB"),
        (
            {"country_claim": "address.country", "countries": {"Germany": "DE"}},
            {"address": {"country": "Germany"}},
            "DE",
        ),
        ({"country_claim": "org", "countries": {"bank": "LU"}}, {}, "LU"),
    ],
)
def test_a_provider_attests_a_country_by_claim_or_for_everybody_or_not_at_all(
    setting: dict[str, Any], claims: dict[str, Any], country: str
) -> None:
    assert mapped(_provider(**setting), {**ROSA, **claims}, DOMAIN)[1] == Standing("bank", "researcher", country)


@pytest.mark.parametrize(
    ("claims", "told"),
    [
        ({}, "claim country: maps to nothing"),
        ({"country": ["DE", "GB"]}, "maps to 2 things"),
        ({"country": "Germany"}, "no name here"),
        ({"country": "de"}, "no name here"),
        ({"country": "EU"}, "no name here"),
        ({"country": 49}, "maps to nothing"),
    ],
)
def test_who_is_in_no_country_or_in_two_is_nobody(claims: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidIdentity, match=told):
        mapped(_provider(country_claim="country"), {**ROSA, **claims}, DOMAIN)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"country": "Germany"}, "not a country"),
        ({"country": "DE", "country_claim": "country"}, "give one of them"),
        ({"countries": {"Germany": "DE"}}, "give `country_claim`"),
        ({"country_claim": "country", "countries": {"Germany": "D"}}, "not a country"),
    ],
)
def test_a_setting_of_countries_that_makes_no_sense_is_refused(setting: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        _provider(**setting)
