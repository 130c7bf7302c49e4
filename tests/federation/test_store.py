"""What the coordinator remembers: replies before the runner sees them, orders once, events in order."""

import threading
from pathlib import Path

import pytest

from federation.store import CoordinatorStore, JobRow
from inbond.framing import INLINE

JOB = "cd" * 16
FACTS = {"party": "p1", "step": "train", "round": 1, "status": "ok", "reason": "", "up": 10, "seconds": 0.5}


def _row(job: str = JOB, owner: str = "rosa", created: float = 1.0) -> JobRow:
    return JobRow(job, "totals", "query", owner, "token", None, None, "submitted", "", created, created, 2e9)


@pytest.fixture
def store(tmp_path: Path) -> CoordinatorStore:
    made = CoordinatorStore(tmp_path)
    made.add_job(_row())
    return made


def test_a_reply_is_there_after_a_restart(store: CoordinatorStore, tmp_path: Path) -> None:
    store.keep_reply("r" * 32, JOB, FACTS, [b"cipher", memoryview(b"text")])
    store.close()
    again = CoordinatorStore(tmp_path)
    kept = again.reply("r" * 32)
    assert kept is not None
    assert (kept.status, b"".join(kept.body)) == ("ok", b"ciphertext")
    assert again.reply("s" * 32) is None
    assert again.costs(JOB)["bytes_to_parties"] == 10


def test_a_reply_without_content_is_given_again_as_it_came(store: CoordinatorStore) -> None:
    """An empty content is one part of no bytes, which is not the same as no part."""
    for request, body in (("r" * 32, [b""]), ("s" * 32, [])):
        store.keep_reply(request, JOB, FACTS, body)
        kept = store.reply(request)
        assert kept is not None
        assert list(map(bytes, kept.body)) == body


def test_a_large_reply_that_the_party_gives_again_is_counted_and_not_kept(store: CoordinatorStore) -> None:
    large = [b"x" * (INLINE + 1)]
    assert store.keep_reply("r" * 32, JOB, FACTS, large, whole=False)
    assert store.reply("r" * 32) is None
    assert not store.keep_reply("r" * 32, JOB, FACTS, large, whole=False), "given again, it is not counted again"
    assert store.costs(JOB) == {"requests": 1, "bytes_to_parties": 10, "bytes_from_parties": INLINE + 1}
    store.keep_reply("s" * 32, JOB, FACTS, [b"small"], whole=False)
    assert store.reply("s" * 32) is not None
    store.keep_reply("t" * 32, JOB, FACTS, large)
    kept = store.reply("t" * 32)
    assert kept is not None
    assert b"".join(kept.body) == large[0]


def test_an_order_is_taken_once_also_after_a_restart(store: CoordinatorStore, tmp_path: Path) -> None:
    assert store.first_sight("rosa", "jti-0001", 2e9)
    assert not store.first_sight("rosa", "jti-0001", 2e9)
    store.close()
    assert not CoordinatorStore(tmp_path).first_sight("rosa", "jti-0001", 2e9)


def test_events_are_numbered_without_a_gap_though_many_write(store: CoordinatorStore) -> None:
    def tell() -> None:
        for number in range(5):
            store.add_event(JOB, {"event": "step", "number": number})

    threads = [threading.Thread(target=tell) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [number for number, _, _ in store.events(JOB)] == list(range(1, 16))
    assert [number for number, _, _ in store.events(JOB, after=12)] == [13, 14, 15]


def test_jobs_are_listed_newest_first_and_by_owner(store: CoordinatorStore) -> None:
    store.add_job(_row("ef" * 16, owner="eve", created=2.0))
    assert [row.owner for row in store.jobs()] == ["eve", "rosa"]
    assert [row.id for row in store.jobs(owner="rosa")] == [JOB]
    assert store.jobs(states=["finished"]) == []


def test_an_ended_job_keeps_its_result_and_no_other_body(store: CoordinatorStore) -> None:
    store.keep_reply("r" * 32, JOB, FACTS, [b"cipher", memoryview(b"text")])
    (store.folder(JOB) / "result").write_bytes(b"sealed")
    store.forget_bodies(JOB)
    assert [path.name for path in store.folder(JOB).iterdir()] == ["result"]
    assert store.costs(JOB)["requests"] == 1


def test_the_newest_catalogue_of_a_party_replaces_the_older(store: CoordinatorStore) -> None:
    store.keep_catalogue("p1", "old")
    store.keep_catalogue("p1", "new")
    assert store.catalogues() == {"p1": "new"}
