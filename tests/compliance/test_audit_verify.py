"""The checker: from the file alone it finds what was changed, and names the first bad entry."""

import base64
import io
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from compliance.audit import export, verify
from compliance.audit.entry import FIRST_LINK, next_link
from compliance.audit.verify import MAX_LINE_BYTES
from compliance.checkpoint import Checkpoint
from compliance.errors import ExportFailed, InvalidNote, LogUnavailable
from compliance.merkle import leaf_hash, root_of
from compliance.note import VerifierKey
from tests.compliance.audit_fixtures import KEY, NOON, ORIGIN, OTHER_KEY, entry, open_log, signed_log

SIZE = 20
VKEY = str(VerifierKey.of(ORIGIN, KEY))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("export")
    assert export(signed_log(folder / "audit.db", SIZE), folder / "audit.jsonl") == SIZE
    return (folder / "audit.jsonl").read_bytes()


def check(data: bytes, vkey: str | None = VKEY) -> Any:
    return verify(io.BytesIO(data), vkey)


def line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def edit(exported: bytes, at: int, **fields: Any) -> bytes:
    """Change fields of the line of one entry, keeping its form."""
    lines = exported.splitlines(keepends=True)
    lines[at + 1] = line({**json.loads(lines[at + 1]), **fields})
    return b"".join(lines)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_an_untouched_export_verifies_under_the_expected_key(exported: bytes) -> None:
    report = check(exported)
    assert report.ok
    assert report.trusted_key
    assert (report.origin, report.vkey, report.size, report.unsigned) == (ORIGIN, VKEY, SIZE, 0)
    assert report.root == root_of(leaf_hash(entry(n).to_bytes()) for n in range(SIZE)).hex()
    assert (report.first_time, report.last_time) == ("2026-03-01T12:00:00+00:00", "2026-03-01T12:00:19+00:00")


def test_a_key_from_the_file_alone_is_not_called_trusted(exported: bytes) -> None:
    assert check(exported, None).ok
    assert not check(exported, None).trusted_key


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_flipped_bit_is_found_and_inside_an_entry_names_that_entry(exported: bytes, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(exported) * 8 - 1))
    raw = bytearray(exported)
    raw[position // 8] ^= 1 << position % 8
    report = check(bytes(raw))
    assert not report.ok
    number = exported[: position // 8].count(b"\n") - 1
    if 0 <= number < SIZE:
        assert report.first_bad == number


def test_an_entry_changed_together_with_its_leaf_is_named(exported: bytes) -> None:
    forged = entry(99).to_bytes()
    report = check(edit(exported, 17, entry=forged.decode(), leaf=b64(leaf_hash(forged))))
    assert report.first_bad == 17


def without(lines: list[bytes]) -> list[bytes]:
    return lines[:8] + lines[9:]


def repeated(lines: list[bytes]) -> list[bytes]:
    return [*lines[:9], lines[8], *lines[9:]]


def swapped(lines: list[bytes]) -> list[bytes]:
    return [*lines[:8], lines[9], lines[8], *lines[10:]]


@pytest.mark.parametrize(("damage", "first"), [(without, 7), (repeated, 8), (swapped, 7)])
def test_a_removed_repeated_or_moved_entry_is_named(
    exported: bytes, damage: Callable[[list[bytes]], list[bytes]], first: int
) -> None:
    lines = damage(exported.splitlines(keepends=True))
    report = check(b"".join(lines))
    assert report.first_bad == first
    renumbered = [
        lines[0],
        *(line({**json.loads(raw), "number": n}) for n, raw in enumerate(lines[1:-1])),
        lines[-1],
    ]
    assert check(b"".join(renumbered)).first_bad == first


@pytest.mark.parametrize("keep", [0, 1, 5, SIZE + 1])
def test_a_file_cut_off_anywhere_says_where(exported: bytes, keep: int) -> None:
    report = check(b"".join(exported.splitlines(keepends=True)[:keep]))
    assert "cut off" in report.problem
    assert report.first_bad == (keep - 1 if keep else None)


def test_entries_missing_before_the_checkpoint_are_missed(exported: bytes) -> None:
    lines = exported.splitlines(keepends=True)
    report = check(b"".join([*lines[:15], lines[-1]]))
    assert report.first_bad == 14
    assert "14 entries remain of 20" in report.problem


def rewrite(exported: bytes, key: Ed25519PrivateKey, origin: str, count: int) -> bytes:
    """What whoever holds `key` can make of any entries: consistent in itself."""
    link, lines = FIRST_LINK, []
    leaves = []
    for n in range(count):
        data = entry(n + 1).to_bytes()
        leaves.append(leaf_hash(data))
        link = next_link(link, leaves[-1])
        lines.append(line({"number": n, "entry": data.decode(), "leaf": b64(leaves[-1]), "link": b64(link)}))
    vkey = str(VerifierKey.of(origin, key))
    header = {**json.loads(exported.splitlines()[0]), "size": count, "origin": origin, "vkey": vkey}
    note = str(Checkpoint(origin, count, root_of(leaves)).sign(key))
    return b"".join([line(header), *lines, line({"checkpoint": note})])


def test_a_log_rewritten_under_another_key_is_not_the_expected_one(exported: bytes) -> None:
    forged = rewrite(exported, OTHER_KEY, ORIGIN, SIZE)
    assert check(forged, None).ok
    assert "not by the expected" in check(forged).problem


def test_a_log_rewritten_whole_does_not_lead_to_the_signed_root(exported: bytes) -> None:
    forged = rewrite(exported, OTHER_KEY, ORIGIN, SIZE).splitlines(keepends=True)
    own = exported.splitlines(keepends=True)
    report = check(b"".join([own[0], *forged[1:-1], own[-1]]))
    assert "signed root" in report.problem
    assert report.first_bad is None


def test_a_checkpoint_of_another_origin_or_key_is_refused(exported: bytes) -> None:
    own = exported.splitlines(keepends=True)
    for key, origin in [(KEY, "inbond.example/audit/other"), (OTHER_KEY, ORIGIN)]:
        root = root_of(leaf_hash(entry(n).to_bytes()) for n in range(SIZE))
        foreign = line({"checkpoint": str(Checkpoint(origin, SIZE, root).sign(key))})
        assert "known key" in check(b"".join([*own[:-1], foreign])).problem


def test_something_after_the_checkpoint_is_refused(exported: bytes) -> None:
    assert "follows the checkpoint" in check(exported + exported).problem


def test_a_signed_entry_that_is_no_entry_is_named(exported: bytes) -> None:
    data = b'{"rows":["anything"]}'
    leaf = leaf_hash(data)
    link = base64.b64decode(json.loads(exported.splitlines()[SIZE])["link"])
    raw = exported.splitlines(keepends=True)
    extra = {"number": SIZE, "entry": data.decode(), "leaf": b64(leaf), "link": b64(next_link(link, leaf))}
    report = check(b"".join([*raw[:-1], line(extra), raw[-1]]))
    assert report.first_bad == SIZE
    assert "malformed" in report.problem


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\n",
        b"{}\n",
        b"[" * 200_000,
        b"x" * (MAX_LINE_BYTES + 2),
        b'{"format":1}\n',
        b"\xff\xfe\n",
        b"null\n",
    ],
)
def test_hostile_bytes_are_answered_with_a_report(raw: bytes) -> None:
    assert not check(raw).ok


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["entry", "leaf", "link", "number"]),
        st.none() | st.integers() | st.text() | st.lists(st.integers()),
        max_size=4,
    )
)
def test_hostile_fields_are_answered_with_a_report(exported: bytes, fields: dict[str, Any]) -> None:
    raw = edit(exported, 3, **fields)
    report = check(raw)
    assert report.ok == (raw == exported)
    assert report.first_bad == (None if report.ok else 3)


def test_the_checker_imports_neither_the_log_nor_its_store() -> None:
    source = (Path(__file__).parents[2] / "compliance" / "audit" / "verify.py").read_text()
    assert "audit.log" not in source
    assert "audit.store" not in source


# a live database


def change(path: Path, statement: str) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()
    return path


def test_a_log_in_use_verifies_and_counts_what_is_not_signed_yet(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    with open_log(path) as log:
        log.append_many([entry(n) for n in range(5)])
        log.checkpoint()
        log.append(entry(5))
        report = verify(path, VKEY)
    assert report.ok
    assert (report.size, report.unsigned) == (6, 1)


@pytest.mark.parametrize(
    ("statement", "first"),
    [
        ("UPDATE entries SET data = replace(CAST(data AS TEXT), 'permit', 'forbid') WHERE number = 17", 17),
        (
            "UPDATE entries SET data = (SELECT data FROM entries WHERE number = 3), "
            "leaf = (SELECT leaf FROM entries WHERE number = 3) WHERE number = 17",
            17,
        ),
        ("UPDATE entries SET data = 'text' WHERE number = 17", 17),
        ("DELETE FROM entries WHERE number = 17", 17),
        ("DELETE FROM entries WHERE number = 19", 19),
        ("UPDATE head SET frontier = zeroblob(64)", 20),
        ("UPDATE checkpoints SET note = replace(note, 'acme', 'evil')", None),
        ("UPDATE checkpoints SET size = 7", None),
        ("DELETE FROM head", None),
        ("DROP TABLE entries", 0),
    ],
)
def test_a_changed_database_is_found(tmp_path: Path, statement: str, first: int | None) -> None:
    path = signed_log(tmp_path / "audit.db", SIZE)
    report = verify(change(path, statement), VKEY)
    assert not report.ok
    assert report.first_bad == first


def test_a_checkpoint_in_the_middle_pins_what_was_before_it(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    with open_log(path) as log:
        for start in (0, 10):
            log.append_many([entry(n) for n in range(start, start + 10)])
            log.checkpoint()
    assert verify(path).ok


# making an export


def test_an_export_needs_a_checkpoint_and_a_new_file(tmp_path: Path) -> None:
    with open_log(tmp_path / "audit.db") as log:
        log.append(entry())
        with pytest.raises(ExportFailed, match="no checkpoint"):
            export(tmp_path / "audit.db", tmp_path / "out")
        log.checkpoint()
    (tmp_path / "out").write_text("mine")
    with pytest.raises(ExportFailed, match="exists"):
        export(tmp_path / "audit.db", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_an_export_of_an_altered_log_is_made_and_does_not_verify(tmp_path: Path) -> None:
    path = signed_log(tmp_path / "audit.db", SIZE)
    change(path, "UPDATE entries SET data = replace(CAST(data AS TEXT), 'permit', 'forbid') WHERE number = 17")
    export(path, tmp_path / "out")
    assert verify(tmp_path / "out").first_bad == 17


def certificate(key: Ed25519PrivateKey, issuer: Ed25519PrivateKey, name: str, issuer_name: str) -> bytes:
    def called(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    builder = x509.CertificateBuilder(called(issuer_name), called(name), key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(NOON).not_valid_after(NOON + timedelta(hours=24))
    uri = x509.UniformResourceIdentifier("spiffe://acme.example/party/warehouse")
    builder = builder.add_extension(x509.SubjectAlternativeName([uri]), critical=False)
    return builder.sign(issuer, None).public_bytes(Encoding.DER)


def test_the_signer_s_certificates_travel_along_and_are_checked(tmp_path: Path) -> None:
    path, root = signed_log(tmp_path / "audit.db", 2), OTHER_KEY
    chain = [certificate(KEY, root, "leaf", "root"), certificate(root, root, "root", "root")]
    export(path, tmp_path / "good", certificates=chain)
    report = verify(tmp_path / "good")
    assert report.ok
    assert report.signer == "spiffe://acme.example/party/warehouse"
    for n, bad in enumerate([[chain[1]], [chain[0], certificate(KEY, KEY, "root", "root")], [b"junk"], chain * 5]):
        export(path, tmp_path / f"bad{n}", certificates=bad)
        assert "certificate" in (verify(tmp_path / f"bad{n}").problem or "")


def test_an_unreadable_file_or_expected_key_is_an_error_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(LogUnavailable, match="No such file"):
        verify(tmp_path / "none")
    with pytest.raises(InvalidNote):
        verify(tmp_path / "none", "not a key")
