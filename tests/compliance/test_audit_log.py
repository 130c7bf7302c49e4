"""The log: acknowledged means durable, nothing is half written, and a changed log does not open."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.audit import AuditLog, EntryType, verify
from compliance.checkpoint import open_checkpoint
from compliance.errors import InvalidEntry, InvalidProof, LogTampered, LogUnavailable
from compliance.merkle import leaf_hash, root_of, verify_consistency, verify_inclusion
from compliance.note import VerifierKey
from tests.compliance.audit_fixtures import KEY, ORIGIN, OTHER_KEY, entry, open_log, signed_log


def change(path: Path, *statements: str) -> None:
    """What somebody with a database tool does to a log."""
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def test_numbers_root_and_entries_are_those_of_what_was_appended(tmp_path: Path) -> None:
    with open_log(tmp_path / "audit.db") as log:
        assert [log.append(entry(n)) for n in range(3)] == [0, 1, 2]
        assert log.append_many([entry(n) for n in range(3, 40)]) == range(3, 40)
        assert log.append_many([]) == range(40, 40)
        assert log.size == 40
        assert log.root == root_of(leaf_hash(entry(n).to_bytes()) for n in range(40))
        assert list(log.entries()) == [(n, entry(n)) for n in range(40)]
        assert [number for number, _ in log.entries(5, 8)] == [5, 6, 7]


def test_entries_are_found_by_type_and_job(tmp_path: Path) -> None:
    with open_log(tmp_path / "audit.db") as log:
        log.append_many([entry(0), entry(1, job="job-2"), entry(2, kind=EntryType.RELEASE), entry(3, job=None)])
        assert [n for n, _ in log.entries(job="job-1")] == [0, 2]
        assert [n for n, _ in log.entries(entry_type=EntryType.RELEASE, job="job-1")] == [2]


def test_a_log_goes_on_where_it_was_closed(tmp_path: Path) -> None:
    path = signed_log(tmp_path / "audit.db", 300)
    with open_log(path) as log:
        assert log.append(entry(300)) == 300
        assert log.root == root_of(leaf_hash(entry(n).to_bytes()) for n in range(301))


@pytest.mark.parametrize("size", [1, 16, 17, 300])
def test_every_proof_verifies(tmp_path: Path, size: int) -> None:
    with open_log(tmp_path / "audit.db") as log:
        log.append_many([entry(n) for n in range(size)])
        for number in {0, size // 2, size - 1}:
            leaf = leaf_hash(entry(number).to_bytes())
            verify_inclusion(leaf, number, size, log.inclusion_proof(number), log.root)
        old = (size + 1) // 2
        old_root = root_of(leaf_hash(entry(n).to_bytes()) for n in range(old))
        verify_consistency(old, size, old_root, log.root, log.consistency_proof(old))
        with pytest.raises(InvalidProof):
            log.inclusion_proof(size)
        with pytest.raises(InvalidProof):
            log.inclusion_proof(0, size + 1)


def test_one_size_has_one_checkpoint(tmp_path: Path) -> None:
    with open_log(tmp_path / "audit.db") as log:
        log.append(entry())
        note = log.checkpoint()
        assert log.checkpoint() == note
        signed = open_checkpoint(str(note).encode(), VerifierKey.parse(log.vkey))
        assert (signed.origin, signed.size, signed.root) == (ORIGIN, 1, log.root)
    with open_log(tmp_path / "audit.db") as log:
        assert log.checkpoint() == note


def test_threads_share_transactions_and_every_entry_is_there_once(tmp_path: Path) -> None:
    with open_log(tmp_path / "audit.db") as log:
        with ThreadPoolExecutor(16) as pool:
            numbers = list(pool.map(lambda n: log.append(entry(n)), range(400)))
        assert sorted(numbers) == list(range(400))
        kept = {number: each.subject for number, each in log.entries()}
        assert all(kept[number] == f"plan:{n}" for n, number in enumerate(numbers))
    assert verify(tmp_path / "audit.db").ok


def test_one_bad_entry_of_many_leaves_nothing(tmp_path: Path) -> None:
    with open_log(tmp_path / "audit.db") as log:
        bad = entry(1)
        object.__setattr__(bad, "data", {"x": "y" * 70_000})
        with pytest.raises(InvalidEntry):
            log.append_many([entry(0), bad])
        assert log.size == 0


def test_two_processes_may_append_to_one_log(tmp_path: Path) -> None:
    with open_log(tmp_path / "audit.db") as one, open_log(tmp_path / "audit.db") as two:
        assert [one.append(entry(0)), two.append(entry(1)), two.append(entry(2)), one.append(entry(3))] == [
            0,
            1,
            2,
            3,
        ]
    assert verify(tmp_path / "audit.db").ok


CRASHING = """
    import os, sys
    from pathlib import Path
    from tests.compliance.audit_fixtures import entry, open_log
    log = open_log(Path(sys.argv[1]))
    for number in range(10_000):
        print(log.append(entry(number)), flush=True)
"""


def test_every_acknowledged_entry_survives_a_kill(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CRASHING), str(tmp_path / "audit.db")],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(50)][-1]
        process.send_signal(signal.SIGKILL)
        acknowledged = max([acknowledged, *map(int, process.stdout.read().split()[:-1])])
    with open_log(tmp_path / "audit.db") as log:
        assert log.size > acknowledged
        assert dict(log.entries())[acknowledged] == entry(acknowledged)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB, mounted for real where this user may; skipped elsewhere."""
    mount = shutil.which("mount")
    folder = tmp_path / "disk"
    folder.mkdir()
    if mount is None or os.geteuid() != 0:
        pytest.skip("mounting needs root")
    made = subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=False)
    if made.returncode:
        pytest.skip("mounting is not permitted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_stops_the_log_and_leaves_it_whole(small_disk: Path) -> None:
    path = small_disk / "audit.db"
    with open_log(path) as log:
        with pytest.raises(LogUnavailable, match="full"):
            fill(log)
        size = log.size
        assert size > 100
    report = verify(path)
    assert report.ok
    assert report.size == size


def fill(log: AuditLog) -> None:
    for start in range(0, 100_000, 50):
        log.append_many([entry(number) for number in range(start, start + 50)])


LIMITED = """
    import resource, signal, sys
    from pathlib import Path
    from compliance.errors import LogUnavailable
    from tests.compliance.audit_fixtures import entry, open_log
    log = open_log(Path(sys.argv[1]))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    try:
        for number in range(100_000):
            log.append(entry(number))
    except LogUnavailable:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert log.append(entry(number)) == number
        print(log.size)
"""


def test_a_write_the_system_refuses_is_not_acknowledged_and_the_log_recovers(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LIMITED), str(tmp_path / "audit.db")],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    report = verify(tmp_path / "audit.db")
    assert report.ok
    assert report.size == int(done.stdout) > 10


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(LogUnavailable, match=r"no/audit\.db"):
        open_log(tmp_path / "no" / "audit.db")


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "audit.db").write_bytes(b"something else entirely" * 100)
    with pytest.raises(LogUnavailable, match="not a database"):
        open_log(tmp_path / "audit.db")


def test_a_log_deleted_or_replaced_while_in_use_takes_nothing_more(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    with open_log(path) as log:
        log.append(entry())
        path.rename(tmp_path / "moved.db")
        with pytest.raises(LogUnavailable):
            log.append(entry(1))
        path.write_bytes(b"")
        with pytest.raises(LogUnavailable, match="replaced"):
            log.append(entry(1))


def test_a_locked_log_is_unavailable_until_it_is_free(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    with open_log(path) as log, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LogUnavailable, match="locked"):
            log.append(entry())
        other.execute("ROLLBACK")
        assert log.append(entry()) == 0


def test_a_read_only_log_is_unavailable(tmp_path: Path) -> None:
    path = signed_log(tmp_path / "audit.db", 2)
    with open_log(path) as log:
        log._store._connection.execute("PRAGMA query_only=ON")
        with pytest.raises(LogUnavailable, match="readonly"):
            log.append(entry())
        assert log.size == 2


def test_a_closed_log_takes_nothing(tmp_path: Path) -> None:
    log = open_log(tmp_path / "audit.db")
    log.close()
    log.close()
    with pytest.raises(LogUnavailable, match="closed"):
        log.append(entry())


def test_waiting_threads_all_learn_of_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    failed: list[LogUnavailable] = []

    def attempt(number: int) -> None:
        try:
            log.append(entry(number))
        except LogUnavailable as error:
            failed.append(error)

    with open_log(path) as log, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        threads = [threading.Thread(target=attempt, args=(number,)) for number in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({id(error) for error in failed}) == 5
        assert log.size == 0


@pytest.mark.parametrize(
    ("statements", "what"),
    [
        (["UPDATE entries SET data = x'7b7d' WHERE number = 39"], "entry 39 was changed"),
        (["DELETE FROM entries WHERE number = 39"], "39 entries are kept of 40"),
        (["DELETE FROM entries WHERE number = 3"], "39 entries are kept of 40"),
        (["UPDATE head SET size = 39"], "frontier does not fit"),
        (["UPDATE head SET frontier = zeroblob(64)"], "frontier does not match"),
        (["UPDATE head SET link = zeroblob(32)"], "head does not follow"),
        (["UPDATE nodes SET hash = zeroblob(32) WHERE number = 0"], "frontier does not match"),
        (["DELETE FROM nodes"], "missing"),
        (["UPDATE checkpoints SET note = replace(note, '40', '41')"], "last checkpoint"),
    ],
)
def test_a_log_changed_behind_its_back_does_not_open(tmp_path: Path, statements: list[str], what: str) -> None:
    path = signed_log(tmp_path / "audit.db", 40)
    change(path, *statements)
    with pytest.raises(LogTampered, match=what):
        open_log(path)


def test_a_log_cut_back_below_its_last_checkpoint_does_not_open_however_neatly(tmp_path: Path) -> None:
    path, shorter = signed_log(tmp_path / "audit.db", 40), tmp_path / "shorter.db"
    signed_log(shorter, 32)
    change(
        path,
        f"ATTACH '{shorter}' AS shorter",
        "DELETE FROM entries WHERE number >= 32",
        "DELETE FROM head",
        "INSERT INTO head SELECT * FROM shorter.head",
    )
    with pytest.raises(LogTampered, match="32 entries remain of 40 that were signed") as caught:
        open_log(path)
    assert caught.value.index == 32


@pytest.mark.parametrize(("origin", "key"), [("inbond.example/audit/other", KEY), (ORIGIN, OTHER_KEY)])
def test_a_log_opens_only_under_its_own_name_and_key(tmp_path: Path, origin: str, key: Ed25519PrivateKey) -> None:
    path = signed_log(tmp_path / "audit.db", 1)
    with pytest.raises(LogTampered, match="this is the log of"):
        open_log(path, origin=origin, key=key)


def test_the_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    path = signed_log(tmp_path / "audit.db", 1)
    assert path.stat().st_mode & 0o077 == 0


def test_an_altered_entry_is_not_handed_out(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    with open_log(path) as log:
        log.append_many([entry(0), entry(1)])
        change(path, "UPDATE entries SET data = replace(CAST(data AS TEXT), 'permit', 'forbid') WHERE number = 1")
        with pytest.raises(LogTampered) as caught:
            list(log.entries())
        assert caught.value.index == 1
