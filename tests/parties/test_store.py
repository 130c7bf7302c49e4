"""What the agent remembers: one reply per request for ever, an order once, and nothing of a finished job's bodies."""

import threading
from pathlib import Path

import pytest

from inbond.errors import InbondError
from parties.store import JobRow, PartyStore

JOB = "ab" * 16


def _row(job: str = JOB) -> JobRow:
    return JobRow(job, "token", "{}", "verdict", "admitted", b"secret", 1.0, 2e9, "{}")


def _store(home: Path) -> PartyStore:
    store = PartyStore(home)
    if store.job(JOB) is None:
        store.admit(_row())
    return store


def test_a_reply_is_the_same_after_a_restart(tmp_path: Path) -> None:
    store = _store(tmp_path)
    store.answer("r" * 32, JOB, "train", 3, "d" * 64, "ok", "", [b"one", memoryview(b"two")])
    store.close()
    kept = _store(tmp_path).answered("r" * 32)
    assert kept is not None
    assert (kept.digest, kept.status, b"".join(kept.body)) == ("d" * 64, "ok", b"onetwo")


def test_a_reply_without_content_is_given_again_as_it_came(tmp_path: Path) -> None:
    store = _store(tmp_path)
    for number, body in enumerate(([b""], [])):
        store.answer(f"{number:032x}", JOB, "query.join", number, "d" * 64, "ok", "", body)
        kept = store.answered(f"{number:032x}")
        assert kept is not None
        assert list(map(bytes, kept.body)) == body


def test_a_request_has_one_reply(tmp_path: Path) -> None:
    store = _store(tmp_path)
    store.answer("r" * 32, JOB, "train", 3, "d" * 64, "ok", "", [])
    with pytest.raises(Exception, match="UNIQUE"):
        store.answer("r" * 32, JOB, "train", 3, "e" * 64, "ok", "", [])
    assert store.step_answered(JOB, "train", 3)
    assert not store.step_answered(JOB, "train", 4)


def test_a_reply_belongs_to_an_admitted_job(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="FOREIGN KEY"):
        _store(tmp_path).answer("r" * 32, "0" * 32, "train", 1, "d" * 64, "ok", "", [])


def test_an_order_is_seen_once_also_after_a_restart_and_by_many_threads(tmp_path: Path) -> None:
    store = _store(tmp_path)
    seen: list[bool] = []
    threads = [
        threading.Thread(target=lambda: seen.append(store.first_sight("rosa", "jti-0001", 2e9))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == [False, False, False, True]
    store.close()
    assert not PartyStore(tmp_path).first_sight("rosa", "jti-0001", 2e9)
    assert PartyStore(tmp_path).first_sight("eve", "jti-0001", 2e9), "another issuer's order is another order"


def test_a_finished_job_keeps_its_history_and_no_body(tmp_path: Path) -> None:
    store = _store(tmp_path)
    store.answer("r" * 32, JOB, "train", 1, "d" * 64, "ok", "", [b"body"])
    store.forget_bodies(JOB)
    kept = store.answered("r" * 32)
    assert kept is not None
    assert b"".join(kept.body) == b""
    assert not (tmp_path / "jobs" / JOB).exists()


def test_the_owners_summary_grows(tmp_path: Path) -> None:
    store = _store(tmp_path)
    store.summarise(JOB, {"groups": 3})
    store.summarise(JOB, {"epsilon": 1})
    row = store.job(JOB)
    assert row is not None
    assert row.summary == '{"groups": 3, "epsilon": 1}'


def test_a_database_of_a_later_version_is_told_not_traced(tmp_path: Path) -> None:
    import sqlite3

    _store(tmp_path).close()
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(InbondError, match=r"state\.db: cannot be opened"):
        PartyStore(tmp_path)
