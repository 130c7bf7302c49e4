"""Login by a provider's word, over real TLS: who is let in, as whom, and that every forgery is refused and recorded."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from federation import oidc
from inbond.enrolment import Invitation, LoginProof, enrol, renew
from inbond.errors import ConfigError, InbondError, Refused, Unreachable
from policies.identity import SpiffeId, Standing, identify
from tests.support.logins import DOMAIN, PERSON, House, running_house
from tests.support.provider import CLIENT, SigningKeys, shared_secret, unsigned

ROSA = SpiffeId(DOMAIN, "/user/rosa")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with running_house(tmp_path) as running:
        yield running


def _refused(house: House, told: str) -> Mapping[str, Any]:
    """The last event, which must be the refusal with this reason; nothing was issued to anybody but the authority."""
    event, details = house.events[-1]
    assert event == "login.refused"
    assert told in details["reason"]
    issued = {one["id"] for one in house.named("certificate.issued")}
    assert issued <= {f"spiffe://{DOMAIN}/authority"}
    return details


def _invited(house: House, name: str) -> Invitation:
    made = house.authority.invite(SpiffeId(DOMAIN, f"/user/{name}"))
    ports = house.serving
    return replace(made, enrol_address=f"127.0.0.1:{ports.enrol_port}", authority_address=f"127.0.0.1:{ports.port}")


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_whom_the_provider_names_gets_certificates_with_organisation_and_role(house: House, algorithm: str) -> None:
    made = house.show_token(house.token(algorithm=algorithm))
    for certificate in (made.tls_chain_pem, made.signer(house.keys()).chain[0]):
        peer = identify(certificate, house.authority.trust(), house.clock())
        assert (peer.spiffe_id, peer.standing) == (ROSA, Standing("bank", "researcher"))
        assert peer.not_after - peer.not_before <= timedelta(hours=8)
    (accepted,) = house.named("login.accepted")
    assert (accepted["id"], accepted["method"], accepted["role"]) == (str(ROSA), "oidc", "researcher")
    assert accepted["owner"].startswith("oidc:")
    assert "4711" not in json.dumps(house.events), "the provider's subject is kept as a hash"


Forge = Callable[[House], str]
FORGERIES: list[tuple[str, Forge, str]] = [
    ("wrong audience", lambda house: house.token(aud="another-client"), "another audience"),
    ("other issuer", lambda house: house.token(iss="https://login.evil.example/realm"), "another issuer"),
    ("expired", lambda house: house.token(iat=1_700_000_000, exp=1_700_000_300), "expired"),
    ("old, with a long life", lambda house: house.token(iat=1_700_000_000, exp=2**39), "expired"),
    ("alg none", lambda house: unsigned(house.provider.claims(PERSON, nonce=house.binding())) + "AA", "algorithm"),
    (
        "HS256 with the public key",
        lambda house: shared_secret(
            house.provider.claims(PERSON, nonce=house.binding()), house.provider.signing.public_pem("RS256"), "RS256"
        ),
        "algorithm",
    ),
    (
        "signed by a stranger",
        lambda house: SigningKeys().sign(house.provider.claims(PERSON, nonce=house.binding())),
        "signature does not verify",
    ),
    ("for another key", lambda house: house.token("thief"), "for another key"),
    ("for no key", lambda house: house.token(nonce=None), "for another key"),
    ("another's name", lambda house: house.token(preferred_username="olga"), "another's name"),
    ("no role", lambda house: house.token(roles=["guest"]), "maps to nothing"),
    ("no organisation", lambda house: house.token(org=None), "maps to nothing"),
    ("two roles", lambda house: house.token(roles=["researcher", "officer"]), "maps to 2 things"),
    ("no token", lambda house: "x", "not JWS compact"),
]


@pytest.mark.parametrize(("forge", "told"), [one[1:] for one in FORGERIES], ids=[one[0] for one in FORGERIES])
def test_a_forged_or_foreign_token_is_refused_with_one_word_and_recorded(house: House, forge: Forge, told: str) -> None:
    with pytest.raises(Refused, match=r"the authority refuses Login; ask its operator") as caught:
        house.show_token(forge(house))
    assert told not in str(caught.value)
    _refused(house, told)
    assert house.authority.members() == []


def test_a_token_is_good_once_also_after_a_restart_and_for_the_same_keys(house: House) -> None:
    token = house.token()
    house.show_token(token)
    for _ in range(2):
        with pytest.raises(Refused):
            house.show_token(token)
        assert house.events[-1][1]["reason"] == "ID token: the token was used before"
        house.close()
        house.start()
    assert len(house.named("login.accepted")) == 1
    house.show_token(house.token())


def test_a_stolen_token_is_worth_nothing_to_other_keys(house: House) -> None:
    token = house.token()
    with pytest.raises(Refused):
        house.show_token(token, machine="thief")
    _refused(house, "for another key")
    assert house.show_token(token), "and it was not used up by the thief"


def test_where_a_provider_cannot_bind_tokens_they_are_good_once_all_the_same(house: House) -> None:
    house.trust(binding="single-use")
    token = house.token(nonce=None)
    house.show_token(token)
    with pytest.raises(Refused):
        house.show_token(token, machine="thief")
    assert house.events[-1][1]["reason"] == "ID token: the token was used before"


def test_used_tokens_are_forgotten_when_they_have_ended(house: House) -> None:
    house.show_token(house.token())
    house.ahead = timedelta(minutes=30)
    later = int(house.clock().timestamp())
    house.show_token(house.token(iat=later, exp=later + 60))
    with house.authority.change() as connection:
        kept = connection.exec_driver_sql("SELECT COUNT(*) FROM login_tokens").scalar_one()
    assert kept == 1


def test_a_name_stays_with_the_subject_that_had_it_first(house: House) -> None:
    house.show_token(house.token())
    with pytest.raises(Refused):
        house.show_token(house.token("thief", sub="4712"), machine="thief")
    assert "the name is another login's" in house.events[-1][1]["reason"]
    house.authority.release(ROSA)
    assert house.show_token(house.token("thief", sub="4712"), machine="thief")


def test_a_provider_cannot_take_the_name_of_a_member_by_invitation(house: House) -> None:
    keystore = house.keys("invited")
    enrol(str(_invited(house, "rosa")), keystore, house.root / "invited-certs")
    before = len(house.named("certificate.issued"))
    with pytest.raises(Refused):
        house.show_token(house.token())
    assert "joined by invitation" in house.events[-1][1]["reason"]
    assert len(house.named("certificate.issued")) == before


def test_a_login_is_not_renewed_and_new_keys_take_the_place_of_old_ones(house: House) -> None:
    first = house.show_token(house.token())
    with pytest.raises(Refused):
        renew(first, house.keys(), clock=house.clock)
    assert house.show_token(house.token("laptop"), machine="laptop").spiffe_id == ROSA
    house.authority.release(ROSA)
    with pytest.raises(Refused):
        renew(first, house.keys(), clock=house.clock)


def test_whom_the_operator_invites_renews_again(house: House) -> None:
    house.show_token(house.token())
    made = enrol(str(_invited(house, "rosa")), house.keys(), house.root / "certs")
    assert renew(made, house.keys()).spiffe_id == ROSA


def test_a_role_that_changed_at_the_provider_counts_from_the_next_login(house: House) -> None:
    house.show_token(house.token())
    made = house.show_token(house.token(roles=["auditor"]))
    assert identify(made.tls_chain_pem, made.trust, house.clock()).standing.office == "auditor"


def test_a_revoked_name_logs_in_no_more(house: House) -> None:
    house.show_token(house.token())
    house.authority.revoke(ROSA, "left the bank")
    with pytest.raises(Refused):
        house.show_token(house.token())
    assert house.events[-1][1] == {"id": str(ROSA), "method": "oidc", "reason": f"{ROSA}: revoked"}


def test_only_a_persons_name_is_released(house: House) -> None:
    for path in ("/user/nobody", "/party/p1", "/coordinator"):
        with pytest.raises(ConfigError, match="no person's name"):
            house.authority.release(SpiffeId(DOMAIN, path))


def test_keys_that_the_provider_changed_are_fetched_again_but_not_at_a_strangers_pace(house: House) -> None:
    house.show_token(house.token())
    fresh, named = SigningKeys(), {"kid": "new"}
    house.provider.signing = fresh
    fresh.published = {"keys": [one | named for one in fresh.jwks()["keys"][:1]]}
    claims = house.provider.claims(PERSON, nonce=house.binding())
    token = house.provider.signing.sign(claims, header=named)
    looked = len(house.provider.fetched)
    with pytest.raises(Refused):
        house.show_token(token)
    assert len(house.provider.fetched) == looked, "the last look is younger than the pause"
    house.ahead = oidc.KEYS_PAUSE + timedelta(seconds=1)
    assert house.show_token(token)


def test_a_key_that_the_provider_withdrew_is_believed_for_ten_minutes_at_most(house: House) -> None:
    house.show_token(house.token())
    house.provider.signing.published = SigningKeys().jwks()
    house.ahead = oidc.KEYS_LIFETIME
    now = int(house.clock().timestamp())
    with pytest.raises(Refused):
        house.show_token(house.token(iat=now, exp=now + 60))


def test_a_file_of_one_provider_goes_on(house: House) -> None:
    said = {"issuer": house.provider.issuer, "client_id": CLIENT, "organisation_claim": "org", "role_claim": "roles"}
    (house.home / oidc.FILE).write_text(json.dumps(said))
    assert house.show_token(house.token())


def test_the_country_that_a_provider_attests_is_in_both_certificates(house: House) -> None:
    house.trust(country_claim="address.country", countries={"Germany": "DE"})
    made = house.show_token(house.token(address={"country": "Germany"}))
    for certificate in (made.tls_chain_pem, made.signer(house.keys()).chain[0]):
        peer = identify(certificate, house.authority.trust(), house.clock())
        assert peer.standing == Standing("bank", "researcher", "DE")
    assert house.named("login.accepted")[0]["country"] == "DE"
    assert [one.standing.country for one in house.authority.members()] == ["DE"]


def test_a_stated_country_that_differs_from_the_attested_is_refused_and_nothing_is_kept(house: House) -> None:
    house.trust(country="GB")
    with pytest.raises(ConfigError, match=r"claims DE, and the authority attests GB; country = GB, or"):
        house.show_token(house.token())
    assert not (house.root / "rosa-certs").exists()
    made = house.show(LoginProof(id_token=house.token()), country="GB")
    assert made.standing.country == "GB"


def test_without_a_country_at_the_provider_what_is_stated_stands(house: House) -> None:
    assert house.show(LoginProof(id_token=house.token()), country="JP").standing.country == ""


def test_a_provider_that_is_away_lets_nobody_in_and_that_is_recorded(house: House) -> None:
    house.provider.pages["/realm/keys"] = (503, b"{}", {})
    with pytest.raises(Unreachable):
        house.show_token(house.token())
    _refused(house, "status 503")


def test_an_authority_that_trusts_no_provider_refuses_tokens(house: House) -> None:
    (house.home / oidc.FILE).unlink()
    with pytest.raises(Refused):
        house.show_token(house.token())
    _refused(house, "no provider is trusted")


def test_a_damaged_setting_lets_nobody_in(house: House) -> None:
    (house.home / oidc.FILE).write_text('{"issuer": "http://evil.example"}')
    with pytest.raises(Refused):
        house.show_token(house.token())
    assert house.events[-1][0] == "login.refused"


def test_what_cannot_be_recorded_is_not_issued(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_event: str, _details: Mapping[str, Any]) -> None:
        raise InbondError("audit log full")

    monkeypatch.setattr(house.authority, "_record", full)
    token = house.token()
    with pytest.raises(Unreachable):
        house.show_token(token)
    assert house.authority.members() == []
    monkeypatch.setattr(house.authority, "_record", house.record)
    assert house.show_token(token), "the token was not used up"


def test_too_many_at_once_leave_the_authority_its_other_work(house: House) -> None:
    for _ in range(4):
        house.logins._places.acquire()
    with pytest.raises(Unreachable):
        house.show_token(house.token())
    house.logins._places.release()
    assert house.show_token(house.token())


@pytest.mark.parametrize("proof", [LoginProof(), LoginProof(id_token="a.b.c", password="x"), LoginProof(password="x")])
def test_half_a_proof_or_two_are_none(house: House, proof: LoginProof) -> None:
    with pytest.raises(Refused):
        house.show(proof)
    _refused(house, "neither a token alone nor password and code")


def test_attempts_to_log_in_are_limited_with_those_to_enrol(house: House) -> None:
    for _ in range(30):
        with pytest.raises(Refused):
            house.show_token("x")
    with pytest.raises(Unreachable, match="too many attempts"):
        house.show_token(house.token())
