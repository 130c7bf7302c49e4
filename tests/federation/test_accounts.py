"""Accounts: password and code together, a code once, five failures, and one word for whatever is wrong."""

import base64
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from federation import accounts as module
from federation.accounts import LOCKED_FOR, MAX_FAILURES, Made
from inbond.enrolment import LoginProof, renew
from inbond.errors import ConfigError, InbondError, Refused
from policies.errors import InvalidIdentity
from policies.identity import Standing, identify
from policies.totp import code_of, step_at
from tests.support.logins import House, running_house

STANDING = Standing("bank", "officer")
PASSWORD = "correct horse battery"


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """The real thing, with a hundredth of the work that a guess costs."""
    monkeypatch.setattr(module, "SCRYPT_COST", 2**10)
    with running_house(tmp_path) as running:
        yield running


def _secret(made: Made) -> bytes:
    return base64.b32decode(parse_qs(urlsplit(made.uri).query)["secret"][0])


def _code(house: House, made: Made, away: int = 0) -> str:
    return code_of(_secret(made), step_at(house.clock()) + away)


def _next_step(house: House) -> None:
    house.ahead += timedelta(seconds=30)


def test_password_and_code_give_certificates_with_the_accounts_standing(house: House) -> None:
    made = house.accounts.add("rosa", STANDING)
    credentials = house.show(LoginProof(password=made.password, code=_code(house, made)))
    peer = identify(credentials.tls_chain_pem, credentials.trust, house.clock())
    assert (peer.spiffe_id.name, peer.standing) == ("rosa", STANDING)
    (accepted,) = house.named("login.accepted")
    assert (accepted["method"], accepted["owner"]) == ("account", "account:rosa")
    with pytest.raises(Refused):
        renew(credentials, house.keys(), clock=house.clock)


def test_an_accounts_country_is_attested_and_goes_with_the_account(house: House) -> None:
    made = house.accounts.add("rosa", Standing("bank", "officer", "DE"))
    assert house.named("account.added")[0]["country"] == "DE"
    credentials = house.show(LoginProof(password=made.password, code=_code(house, made)))
    assert credentials.standing == Standing("bank", "officer", "DE")
    house.accounts.remove("rosa")
    house.accounts.add("rosa", STANDING)
    assert [one.standing for one in house.accounts.all()] == [STANDING]


def test_a_country_that_differs_from_the_stated_is_told_and_the_certificates_are_not_kept(house: House) -> None:
    made = house.accounts.add("rosa", Standing("bank", "officer", "GB"))
    with pytest.raises(ConfigError, match="claims DE, and the authority attests GB"):
        house.show(LoginProof(password=made.password, code=_code(house, made)))
    assert not (house.root / "rosa-certs").exists()


def test_accounts_of_an_authority_of_before_there_were_countries_go_on(house: House) -> None:
    made = house.accounts.add("rosa", STANDING)
    house.close()
    with house.authority.change() as connection:
        connection.exec_driver_sql("DROP TABLE login_countries")
    house.start()
    credentials = house.show(LoginProof(password=made.password, code=_code(house, made)), country="JP")
    assert credentials.standing == STANDING


def test_a_chosen_password_counts_however_a_keyboard_spells_it(house: House) -> None:
    made = house.accounts.add("rosa", STANDING, "Zürich im Winter")
    assert house.show(LoginProof(password="Zu\u0308rich im Winter", code=_code(house, made)))


def test_a_code_is_good_once_and_an_older_one_no_more(house: House) -> None:
    made = house.accounts.add("rosa", STANDING)
    now = _code(house, made)
    house.show(LoginProof(password=made.password, code=now))
    for code in (now, _code(house, made, -1)):
        with pytest.raises(Refused):
            house.show(LoginProof(password=made.password, code=code))
        assert house.events[-1][1]["reason"] == "login: the code was used before"
    _next_step(house)
    assert house.show(LoginProof(password=made.password, code=_code(house, made)))


Wrong = Callable[[House, Made], LoginProof]
WRONG: dict[str, Wrong] = {
    "password": lambda house, made: LoginProof(password=made.password + "x", code=_code(house, made)),
    "code": lambda house, made: LoginProof(password=made.password, code=_code(house, made, 5)),
    "code of the day before": lambda house, made: LoginProof(password=made.password, code=_code(house, made, -2880)),
    "both": lambda house, made: LoginProof(password="x", code="x"),
    "swapped": lambda house, made: LoginProof(password=_code(house, made), code=made.password[:16]),
    "too long": lambda house, made: LoginProof(password="x" * 1000, code=_code(house, made)),
    "letters": lambda house, made: LoginProof(password=made.password, code="٠" * 6),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_whatever_is_wrong_is_refused_in_the_same_words_as_an_unknown_name(house: House, wrong: Wrong) -> None:
    made = house.accounts.add("rosa", STANDING)
    house.accounts.add("olga", STANDING)
    with pytest.raises(Refused) as known:
        house.show(wrong(house, made))
    with pytest.raises(Refused) as unknown:
        house.show(wrong(house, made), name="nobody")
    assert str(known.value) == str(unknown.value)
    assert [one.get("id", "")[-4:] for one in house.named("login.refused")] == ["rosa", ""]
    assert made.password not in str(house.events)


def test_another_accounts_password_and_code_are_wrong(house: House) -> None:
    house.accounts.add("rosa", STANDING)
    olga = house.accounts.add("olga", STANDING)
    with pytest.raises(Refused):
        house.show(LoginProof(password=olga.password, code=_code(house, olga)))


def test_after_five_failures_the_right_proof_waits_a_quarter_of_an_hour(house: House) -> None:
    made = house.accounts.add("rosa", STANDING)
    for _ in range(MAX_FAILURES):
        with pytest.raises(Refused):
            house.show(LoginProof(password="wrong", code="000000"))
    reasons = [one["reason"] for one in house.named("login.refused")]
    assert reasons[-1] == "login: wrong password or code (5 of 5 failures)"
    house.close()
    house.start()  # a restart opens nothing
    with pytest.raises(Refused) as locked:
        house.show(LoginProof(password=made.password, code=_code(house, made)))
    assert house.events[-1][1]["reason"] == "login: locked after 5 failures"
    assert house.accounts.all()[0].locked_until
    with pytest.raises(Refused) as unknown:
        house.show(LoginProof(password="wrong", code="000000"), name="nobody")
    said = [str(one.value).partition(": ")[2] for one in (locked, unknown)]
    assert said[0] == said[1]
    house.ahead = LOCKED_FOR + timedelta(seconds=1)
    assert house.accounts.all()[0].locked_until is None
    assert house.show(LoginProof(password=made.password, code=_code(house, made)))


def test_attempts_while_it_is_locked_do_not_lock_it_longer(house: House) -> None:
    made = house.accounts.add("rosa", STANDING)
    for minutes in (0, 0, 0, 0, 0, 5, 10, 14):
        house.ahead = timedelta(minutes=minutes)
        with pytest.raises(Refused):
            house.show(LoginProof(password="wrong", code="000000"))
    house.ahead = LOCKED_FOR + timedelta(seconds=1)
    assert house.show(LoginProof(password=made.password, code=_code(house, made)))


def test_after_a_lock_has_ended_there_are_five_tries_again(house: House) -> None:
    house.accounts.add("rosa", STANDING)

    def fail(times: int) -> str:
        for _ in range(times):
            with pytest.raises(Refused):
                house.show(LoginProof(password="wrong", code="000000"))
        return str(house.events[-1][1]["reason"])

    fail(5)
    house.ahead = LOCKED_FOR + timedelta(seconds=1)
    assert "(4 of 5" in fail(4)
    assert "(5 of 5" in fail(1)
    assert "locked" in fail(1)


def test_a_good_login_forgets_the_failures(house: House) -> None:
    made = house.accounts.add("rosa", STANDING)
    for _ in range(3):
        for _ in range(4):
            with pytest.raises(Refused):
                house.show(LoginProof(password="wrong", code="000000"))
        _next_step(house)
        assert house.show(LoginProof(password=made.password, code=_code(house, made)))


def test_many_guesses_at_once_are_no_more_than_five(house: House) -> None:
    house.accounts.add("rosa", STANDING)
    start, judged = threading.Barrier(12), []

    def guess() -> None:
        start.wait()
        try:
            house.accounts.prove("rosa", "wrong", "000000")
        except Refused as error:
            judged.append(error.what)

    threads = [threading.Thread(target=guess) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(judged) == 12
    assert sum("wrong" in what for what in judged) == MAX_FAILURES


def test_two_who_show_one_code_at_the_same_moment_get_one_certificate(house: House) -> None:
    made = house.accounts.add("rosa", STANDING)
    code = _code(house, made)
    proven = [house.accounts.prove("rosa", made.password, code) for _ in range(2)]
    with house.authority.change() as connection:
        proven[0].spend(connection)
    with pytest.raises(Refused, match="used before"), house.authority.change() as connection:
        proven[1].spend(connection)


def test_the_authoritys_files_hold_neither_password_nor_secret(house: House) -> None:
    made = house.accounts.add("rosa", STANDING)
    house.show(LoginProof(password=made.password, code=_code(house, made)))
    house.close()
    for path in house.home.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            for secret in (made.password.encode(), _secret(made), base64.b32encode(_secret(made))):
                assert secret not in data


def test_a_removed_account_logs_in_and_renews_no_more_and_its_name_is_free(house: House) -> None:
    made = house.accounts.add("rosa", STANDING)
    credentials = house.show(LoginProof(password=made.password, code=_code(house, made)))
    house.accounts.remove("rosa")
    _next_step(house)
    with pytest.raises(Refused):
        house.show(LoginProof(password=made.password, code=_code(house, made)))
    with pytest.raises(Refused):
        renew(credentials, house.keys(), clock=house.clock)
    assert [name for name, _ in house.events if name.startswith("account.")] == ["account.added", "account.removed"]
    assert house.accounts.add("rosa", STANDING)


def test_a_name_has_one_account_and_no_other_way_in(house: House) -> None:
    house.accounts.add("rosa", STANDING)
    with pytest.raises(ConfigError, match="the name is taken"):
        house.accounts.add("rosa", STANDING)
    with pytest.raises(Refused):
        house.show_token(house.token())
    assert "another login's" in house.events[-1][1]["reason"]


@pytest.mark.parametrize(
    ("name", "standing", "password", "told"),
    [
        ("Rosa", STANDING, "", "not a SPIFFE ID"),
        ("", STANDING, "", "not a SPIFFE ID"),
        ("rosa", Standing(), "", "without a role"),
        ("rosa", Standing("bank"), "", "without a role"),
        ("rosa", STANDING, "short", "length"),
        ("rosa", STANDING, "x" * 257, "length"),
    ],
)
def test_an_account_needs_a_name_a_role_and_a_long_password(
    house: House, name: str, standing: Standing, password: str, told: str
) -> None:
    with pytest.raises((ConfigError, InvalidIdentity), match=told):
        house.accounts.add(name, standing, password)
    assert house.accounts.all() == []


def test_what_cannot_be_recorded_is_no_account(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_event: str, _details: object) -> None:
        raise InbondError("audit log full")

    monkeypatch.setattr(house.accounts, "_record", full)
    with pytest.raises(InbondError, match="audit log full"):
        house.accounts.add("rosa", STANDING)
    assert house.accounts.all() == []


def test_an_account_outlives_a_change_of_what_a_guess_costs(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    made = house.accounts.add("rosa", STANDING)
    monkeypatch.setattr(module, "SCRYPT_COST", 2**11)
    assert house.show(LoginProof(password=made.password, code=_code(house, made)))


def test_a_made_password_and_secret_show_nowhere_by_accident(house: House) -> None:
    made = house.accounts.add("rosa", STANDING, PASSWORD)
    assert made.password == PASSWORD
    assert PASSWORD not in repr(made)
    assert "otpauth" not in repr(made)
    assert PASSWORD not in repr(LoginProof(password=PASSWORD))
