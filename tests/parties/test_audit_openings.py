"""`inbond audit ask|open|check-opening`: who may see values, how long they are kept, and what an answer must prove."""

import os
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from inbond.audit_requests import sign_request
from inbond.cli import EXIT_INPUT, EXIT_PEER, EXIT_REFUSED, exit_code
from inbond.node import Node, utc_now
from policies.errors import InvalidIdentity
from protocols.errors import PeerViolation
from tests.attacks.auditing import AUDIT, JOB, MOST, RANGES, Audited
from tests.policies.samples import CONTRACT

AMOUNTS = np.arange(40) * 100
DAY = 24 * 3600


@pytest.fixture
def audited(tmp_path: Path) -> Audited:
    return Audited.make(tmp_path)


def failed(audited: Audited, home: str, *arguments: object) -> Exception:
    ran = audited.run(home, *arguments)
    assert isinstance(ran.exception, Exception), ran.output
    return ran.exception


def open_failed(audited: Audited, party: str = "p1", name: str = "request") -> Exception:
    found = failed(audited, party, "open", audited.file(name), "--out", audited.file(f"{party}-{name}"))
    assert not audited.file(f"{party}-{name}").exists(), "nothing half-done"
    return found


def kept(audited: Audited) -> list[Path]:
    return sorted((audited.home("p1") / "openings").glob("*.sealed"))


def test_both_logs_have_the_commitment_and_the_opening_and_no_value(audited: Audited) -> None:
    audited.join(AMOUNTS)
    audited.audit()
    for name, role, days in (("p1", "values", 30), ("m1", "attributes", 0)):
        first, second = audited.entries(name)
        assert (first.data["event"], first.data["role"], first.data["kept_days"]) == ("value commitment", role, days)
        assert first.data["ranges"] == [f"{least}..{most}" for least, most in RANGES]
        assert second.data["event"] == ("values opened" if name == "p1" else "commitment shown")
        assert second.subject.endswith("/user/ada")
    one, other = (audited.entries(name)[0].data["commitment"] for name in ("p1", "m1"))
    assert one == other


def test_a_result_is_written_signed_and_fits_80_columns(audited: Audited) -> None:
    audited.join(AMOUNTS, sent=AMOUNTS + MOST)
    audited.audit()
    out = audited.file("result.json")
    ran = audited.run("ada", "check-opening", audited.file("request"), *audited.answers(), "--out", out)
    assert ran.exit_code == 5
    assert "REJECTED" in ran.stdout
    assert max(map(len, ran.stdout.splitlines())) <= 80
    assert out.stat().st_mode & 0o077 == 0
    assert '"verdict": "rejected"' in out.read_text()
    again = failed(audited, "ada", "check-opening", audited.file("request"), *audited.answers(), "--out", out)
    assert "there is such a file already" in str(again)


@pytest.mark.parametrize(
    ("contract", "country", "by", "blocks", "what"),
    [
        (CONTRACT + AUDIT, "DE", "bob", 4, "shows no values to"),
        (CONTRACT + AUDIT, "FR", "ada", 4, "the auditor is in FR, the table in DE"),
        (CONTRACT + AUDIT, "", "ada", 4, "no certified country"),
        (CONTRACT + AUDIT, "DE", "ada", 5, "opens at most 4 blocks, not 5"),
        (CONTRACT + AUDIT.replace("ada", "'*/ada'"), "DE", "ada", 4, "shows no values to"),
    ],
)
def test_nobody_sees_values_but_whom_the_contract_names_in_its_country(
    tmp_path: Path, contract: str, country: str, by: str, blocks: int, what: str
) -> None:
    audited = Audited.make(tmp_path, contract, country)
    audited.join(AMOUNTS)
    audited.ask("--blocks", blocks, by=by)
    found = open_failed(audited)
    assert (what in str(found), exit_code(found)) == (True, EXIT_REFUSED), found
    audited.open("m1")  # its log entry shows no value


def test_a_contract_that_has_changed_its_mind_opens_nothing_more(audited: Audited) -> None:
    audited.join(AMOUNTS)
    audited.ask()
    (audited.home("p1") / "contracts" / "orders.yaml").write_text(CONTRACT)
    assert "shows no values to" in str(open_failed(audited))


def test_without_an_auditor_in_the_contract_nothing_is_kept(tmp_path: Path) -> None:
    audited = Audited.make(tmp_path, CONTRACT)
    audited.join(AMOUNTS)
    assert kept(audited) == []
    assert audited.entries("p1")[0].data["kept_days"] == 0
    audited.ask()
    assert "nothing is kept that opens what was sent to m1" in str(open_failed(audited))


def test_what_is_kept_is_sealed_and_goes_by_itself(audited: Audited) -> None:
    audited.join(AMOUNTS)
    (path,) = kept(audited)
    assert path.stat().st_mode & 0o077 == 0
    assert b"datasets" not in path.read_bytes()
    audited.ask()
    old = time.time() - 30 * DAY - 1
    os.utime(path, (old, old))
    assert "nothing is kept" in str(open_failed(audited))
    assert kept(audited) == []


def test_the_oldest_goes_where_there_is_too_much(audited: Audited, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INBOND_OPENINGS_KEEP_MIB", "1")
    audited.join(AMOUNTS)
    (path,) = kept(audited)
    older = path.with_name("older_m1.sealed")
    older.write_bytes(bytes(512 * 1024))
    hour_ago = time.time() - 3600
    os.utime(older, (hour_ago, hour_ago))
    audited.join(AMOUNTS)
    assert kept(audited) == [path]
    monkeypatch.setenv("INBOND_OPENINGS_KEEP_DAYS", "0")
    path.unlink()
    audited.join(AMOUNTS)
    assert kept(audited) == []


def test_a_join_is_opened_to_one_request_only(audited: Audited) -> None:
    audited.join(AMOUNTS)
    audited.ask()
    audited.open("p1")
    audited.file("p1-request").unlink()
    audited.open("p1")  # the same again: an answer may get lost
    audited.ask(name="second")
    assert "has been opened to another request" in str(open_failed(audited, name="second"))


def test_only_an_auditor_asks(tmp_path: Path) -> None:
    audited = Audited.make(tmp_path, office="researcher")
    wanted = ("--values", "p1", "--counterpart", "m1", "--out", audited.file("request"))
    found = failed(audited, "ada", "ask", JOB, *wanted)
    assert ("only an auditor asks" in str(found), exit_code(found)) == (True, EXIT_REFUSED)
    node = Node.open(audited.home("ada"), audit=False)
    wish = {"job": JOB, "values": "p1", "counterpart": "m1"}
    _, token = sign_request(node.signer(), **wish, blocks=1, key=bytes(32), now=utc_now())
    audited.file("request").write_text(token)
    audited.join(AMOUNTS)
    assert "may not ask for openings" in str(open_failed(audited)), "whatever the auditor's own node let through"


def test_requests_for_others_of_other_jobs_and_of_the_wrong_side_are_told(audited: Audited) -> None:
    audited.join(AMOUNTS)
    swapped = ("--values", "m1", "--counterpart", "p1", "--blocks", 1, "--out", audited.file("swapped"))
    audited.did("ada", "ask", JOB, *swapped)
    assert "was the other side of the join; --values p1" in str(open_failed(audited, "m1", "swapped"))
    other = ("--values", "p1", "--counterpart", "m2", "--out", audited.file("other"))
    audited.did("ada", "ask", JOB, *other)
    assert "the request is for others than m1" in str(open_failed(audited, "m1", "other"))
    assert "no encrypted values went between p1 and m2" in str(open_failed(audited, "p1", "other"))
    audited.ask()
    altered = audited.file("request").read_text().replace(".", ".A", 1)
    audited.file("altered").write_text(altered)
    found = open_failed(audited, name="altered")
    assert isinstance(found, InvalidIdentity), found
    assert exit_code(failed(audited, "p1", "open", audited.file("none"), "--out", audited.file("x"))) == EXIT_INPUT


def test_an_old_request_is_refused(audited: Audited) -> None:
    audited.join(AMOUNTS)
    node = Node.open(audited.home("ada"), audit=False)
    wish = {"job": JOB, "values": "p1", "counterpart": "m1"}
    _, token = sign_request(node.signer(), **wish, blocks=1, key=bytes(32), now=utc_now() - timedelta(days=8))
    audited.file("request").write_text(token)
    assert isinstance(open_failed(audited), InvalidIdentity)


def test_a_request_from_before_the_join_is_no_challenge(audited: Audited, monkeypatch: pytest.MonkeyPatch) -> None:
    audited.ask()
    later = utc_now() + timedelta(hours=1)
    with monkeypatch.context() as patch:
        patch.setattr("inbond.node.utc_now", lambda: later)
        audited.join(AMOUNTS)
    for party in ("p1", "m1"):
        audited.open(party)
    code, result = audited.check()
    assert (code, result["verdict"]) == (5, "rejected")
    assert "its blocks could be foreseen" in result["problems"][0]


@pytest.mark.parametrize("command", ["open", "check-opening"])
def test_a_file_that_is_no_request_is_named(audited: Audited, command: str) -> None:
    audited.join(AMOUNTS)
    other = audited.file("notes.txt")
    other.write_text("not.a.request")
    answers = ("--out", audited.file("x")) if command == "open" else ("--counterpart", other)
    ran = audited.run("p1" if command == "open" else "ada", command, other, *answers)
    assert ran.exit_code != 0
    assert str(other) in str(ran.exception)


def test_an_altered_or_exchanged_answer_is_no_opening(audited: Audited) -> None:
    audited.join(AMOUNTS)
    audited.audit()
    good = audited.file("p1-request").read_bytes()
    for bad in (good[:-1] + bytes([good[-1] ^ 1]), good[:100], b"", audited.file("m1-request").read_bytes()):
        audited.file("p1-request").write_bytes(bad)
        code, result = audited.check()
        assert (code, result["verdict"]) == (5, "not opened")
        assert "the answer of p1 is no opening" in result["problems"][0]
    audited.file("m1-request").write_bytes(good)
    found = failed(audited, "ada", "check-opening", audited.file("request"), *audited.answers()[2:])
    assert isinstance(found, PeerViolation)
    assert exit_code(found) == EXIT_PEER
    found = failed(audited, "bob", "check-opening", audited.file("request"), *audited.answers())
    assert "a request of" in str(found)


def test_an_entry_that_is_not_in_the_log_of_the_party_is_not_believed(
    audited: Audited, monkeypatch: pytest.MonkeyPatch
) -> None:
    """p1 signs its answer, and shows an entry that its log does not have."""
    audited.join(AMOUNTS)
    audited.ask()
    audited.open("m1")

    def forged(log: object, number: int, entry: object) -> dict[str, object]:
        from compliance.audit.proof import prove

        found = prove(log, number, entry)  # type: ignore[arg-type]
        return {**found, "entry": found["entry"].replace('"blocks":1', '"blocks":2')}

    monkeypatch.setattr("parties.audit_answer.prove", forged)
    audited.open("p1")
    code, result = audited.check()
    assert (code, result["verdict"]) == (5, "not opened")
    assert "the entry is not proven" in result["problems"][0]
