"""Independent check of an audit log: from an export or an audit.db alone, recomputing every hash.

Shares the hash formulas and the entry's shape with the log, nothing else: it reads neither its store nor its
writer, needs no network, and streams. What it relies on: SHA-256, Ed25519, and that the verifier key is the
log's own. A key taken from the file itself proves only that the file is whole, so compare it with the one the
party published (`expected_vkey`).

What a checker cannot see: entries after the last checkpoint the reader holds. Ask a witness for a newer one.

Steps: (0) size limits, then framing; (1) header and key; (2) certificates; (3) each entry: its number, leaf,
link and shape; (4) signature and origin of the checkpoint; (5) number of entries; (6) root.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, NoReturn
from urllib.parse import quote

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from compliance.audit.entry import FIRST_LINK, Entry, next_link
from compliance.checkpoint import Checkpoint, open_checkpoint
from compliance.errors import ComplianceError, LogTampered, LogUnavailable
from compliance.merkle import Frontier, leaf_hash
from compliance.note import VerifierKey, strict_base64

FORMAT = "inbond-audit-export/1"
MAX_LINE_BYTES = 512 * 1024
"""The longest entry, 65,535 bytes, takes six times as much where every byte is escaped."""
MAX_CERTIFICATES = 8

_SQLITE_MAGIC = b"SQLite format 3\x00"
_canonical = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


@dataclass(frozen=True)
class Report:
    """What the check found; `ok` is the verdict.

    `size` entries were read and found good, `unsigned` of them after the last checkpoint; `root` (hex) is
    theirs. `signer` is the SPIFFE ID in the signer's certificate and `anchor` the SHA-256 (hex) of the
    chain's last certificate, for comparison with the consortium's. `trusted_key` says whether the key was the
    expected one rather than the file's own. `problem` says what is wrong, and `first_bad` names the first bad
    entry (None where no single entry can be named).
    """

    origin: str | None
    vkey: str | None
    size: int
    root: str
    unsigned: int
    first_time: str | None
    last_time: str | None
    signer: str | None
    anchor: str | None
    trusted_key: bool
    problem: str | None
    first_bad: int | None

    @property
    def ok(self) -> bool:
        """Whether everything verified."""
        return self.problem is None


class _Checker:
    """The running recomputation: what has been seen and found good so far."""

    def __init__(self, expected: VerifierKey | None) -> None:
        self.expected = expected
        self.key: VerifierKey | None = None
        self.frontier = Frontier()
        self.link = FIRST_LINK
        self.signed = 0
        self.times: list[str | None] = [None, None]
        self.signer: str | None = None
        self.anchor: str | None = None

    def identify(self, origin: object, vkey: object) -> VerifierKey:
        """(1) The log's key is the expected one, and named like its origin."""
        if not isinstance(origin, str) or not isinstance(vkey, str):
            _fail("the origin or the key is missing")
        self.key = VerifierKey.parse(vkey)
        if self.key.name != origin:
            _fail(f"the key belongs to {self.key.name}, not to the origin {origin}")
        if self.expected is not None and self.key != self.expected:
            _fail(f"the log is signed by {vkey}, not by the expected {self.expected}")
        return self.key

    def take(self, number: object, data: object, leaf: object, link: object) -> None:
        """(3) One entry: in its place, hashing to its leaf, following the one before, and well formed."""
        at = self.frontier.size
        if type(number) is not int or number != at:
            _fail(f"entry {number} stands in the place of entry {at}: removed, repeated or moved", at)
        if not isinstance(data, bytes) or leaf_hash(data) != leaf:
            _fail(f"entry {at} does not hash to its leaf: one of them was changed", at)
        following = next_link(self.link, leaf)
        if following != link:
            _fail(f"entry {at} does not follow from the entries before it", at)
        try:
            time = Entry.from_bytes(data).time.isoformat()
        except ComplianceError as error:
            _fail(f"entry {at} is malformed ({error.what})", at)
        self.times = [self.times[0] or time, time]
        self.link = following
        self.frontier.append(leaf)

    def read_signed(self, note: object) -> Checkpoint:
        """(4) A checkpoint signed by the log's key, of its origin."""
        if self.key is None or not isinstance(note, str):
            _fail("the checkpoint is missing")
        return open_checkpoint(note.encode(), self.key)

    def compare(self, signed: Checkpoint) -> None:
        """(6) The entries so far lead to the signed root."""
        if self.frontier.root() != signed.root:
            _fail(
                f"the entries {self.signed} to {signed.size - 1} agree with each other but not with the "
                "signed root: all from some entry on were rewritten"
            )
        self.signed = signed.size

    def report(self, problem: str | None, first_bad: int | None) -> Report:
        key, size = self.key, self.frontier.size
        return Report(
            origin=key.name if key else None,
            vkey=str(key) if key else None,
            size=size,
            root=self.frontier.root().hex(),
            unsigned=size - self.signed,
            first_time=self.times[0],
            last_time=self.times[1],
            signer=self.signer,
            anchor=self.anchor,
            trusted_key=key is not None and key == self.expected,
            problem=problem,
            first_bad=first_bad,
        )


def verify(source: Path | str | BinaryIO, expected_vkey: str | None = None) -> Report:
    """Check an export (path or binary stream) or an audit.db (path), read-only.

    Raises InvalidNote where `expected_vkey` itself is malformed and LogUnavailable where the file cannot be
    opened; whatever is wrong with its content is in the report.
    """
    checker = _Checker(None if expected_vkey is None else VerifierKey.parse(expected_vkey))
    try:
        if isinstance(source, str | Path):
            _check_file(Path(source), checker)
        else:
            _check_export(source, checker)
    except LogUnavailable:
        raise
    except ComplianceError as error:
        return checker.report(str(error), getattr(error, "index", None))
    return checker.report(None, None)


def _check_file(path: Path, checker: _Checker) -> None:
    try:
        with path.open("rb") as stream:
            if stream.peek(len(_SQLITE_MAGIC)).startswith(_SQLITE_MAGIC):
                _check_database(path, checker)
            else:
                _check_export(stream, checker)
    except OSError as error:
        raise LogUnavailable(
            error.strerror or "cannot be read", where=str(path), right="an export or an audit.db"
        ) from error


def _check_export(stream: BinaryIO, checker: _Checker) -> None:
    header = _read_line(stream, None, {"certificates", "format", "origin", "size", "vkey"})
    if header["format"] != FORMAT:
        _fail("the format is unknown", right=FORMAT)
    key = checker.identify(header["origin"], header["vkey"])
    checker.signer, checker.anchor = _check_certificates(header["certificates"], key)
    while "checkpoint" not in (line := _read_line(stream, checker.frontier.size)):
        _take_line(checker, line)
    _check_last(checker, line, header["size"])
    if stream.read(1):
        _fail("something follows the checkpoint", checker.frontier.size)


def _take_line(checker: _Checker, line: dict[str, object]) -> None:
    at = checker.frontier.size
    values = [line.get(name) for name in ("entry", "leaf", "link")]
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) != 3 or len(line) != 4 or "number" not in line:
        _fail(f"the line of entry {at} has other fields than entry, leaf, link and number", at)
    try:
        leaf, link = (strict_base64(text, f"entry {at}") for text in texts[1:])
        data = texts[0].encode()
    except (ComplianceError, UnicodeEncodeError) as error:
        _fail(f"the line of entry {at} is damaged ({error})", at)
    checker.take(line["number"], data, leaf, link)


def _check_last(checker: _Checker, line: dict[str, object], size: object) -> None:
    """(4) to (6) for the one checkpoint at the end of an export."""
    seen = checker.frontier.size
    if len(line) != 1:
        _fail("the last line holds more than the checkpoint", seen)
    signed = checker.read_signed(line["checkpoint"])
    if signed.size > seen:
        _fail(f"{seen} entries remain of {signed.size} that were signed", seen)
    if signed.size < seen:
        _fail(f"only the first {signed.size} of {seen} entries are signed", signed.size)
    if type(size) is not int or size != seen:
        _fail(f"the header speaks of {size} entries, the checkpoint of {seen}")
    checker.compare(signed)


def _read_line(stream: BinaryIO, at: int | None, names: set[str] | None = None) -> dict[str, object]:
    """(0) One line of canonical JSON, an object; `at` is the entry expected here."""
    raw = stream.readline(MAX_LINE_BYTES + 1)
    place = "the header" if at is None else f"the line of entry {at}"
    if not raw:
        _fail(f"the file ends before {place}, without a checkpoint: it was cut off", at)
    if len(raw) > MAX_LINE_BYTES:
        _fail(f"{place} is longer than {MAX_LINE_BYTES} bytes", at)
    try:
        value = json.loads(raw)
        exact = isinstance(value, dict) and _canonical(value).encode() + b"\n" == raw
    except (ValueError, RecursionError):
        exact = False
    if not exact or (names is not None and set(value) != names):
        _fail(f"{place} is damaged: not one object of canonical JSON with the fields of {FORMAT}", at)
    return dict(value)


def _check_certificates(encoded: object, key: VerifierKey) -> tuple[str | None, str | None]:
    """(2) Each certificate is issued by the next and the first certifies the key: (SPIFFE ID, anchor)."""
    if not isinstance(encoded, list) or len(encoded) > MAX_CERTIFICATES:
        _fail(f"the certificates are no list of at most {MAX_CERTIFICATES}")
    if not encoded:
        return None, None
    try:
        ders = [strict_base64(str(text), "certificates") for text in encoded]
        chain = [x509.load_der_x509_certificate(der) for der in ders]
        for issued, issuer in zip(chain, chain[1:] + chain[-1:], strict=True):
            if issued is not chain[-1] or issued.issuer == issued.subject:
                issued.verify_directly_issued_by(issuer)
        public = chain[0].public_key()
        names = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound) as error:
        _fail(f"the certificate chain does not hold ({type(error).__name__})")
    if not isinstance(public, Ed25519PublicKey) or public.public_bytes_raw() != key.public:
        _fail("the signer's certificate is for another key than the log's")
    return (uris[0] if uris else None), sha256(ders[-1]).hexdigest()


def _check_database(path: Path, checker: _Checker) -> None:
    """The same steps on a live audit.db, in one snapshot, against every checkpoint it keeps."""
    try:
        with closing(_connect(path)) as connection:
            connection.execute("BEGIN")
            _check_tables(connection, checker)
    except sqlite3.Error as error:
        _fail(f"the database cannot be read through ({error})", checker.frontier.size)


def _check_tables(connection: sqlite3.Connection, checker: _Checker) -> None:
    head = connection.execute("SELECT origin, vkey, size, frontier, link FROM head").fetchone()
    if head is None:
        _fail("the log has no head")
    checker.identify(head[0], head[1])
    notes = connection.execute("SELECT size, note FROM checkpoints ORDER BY size")
    checkpoints = _signed_checkpoints(checker, notes)
    pending = next(checkpoints, None)
    for row in connection.execute("SELECT number, data, leaf, link FROM entries ORDER BY number"):
        while pending is not None and pending.size == checker.frontier.size:
            checker.compare(pending)
            pending = next(checkpoints, None)
        checker.take(*row)
    if pending is not None and pending.size == checker.frontier.size:
        checker.compare(pending)
        pending = next(checkpoints, None)
    seen = checker.frontier.size
    if pending is not None:
        _fail(f"{seen} entries remain of {pending.size} that were signed", seen)
    if head[2:] != (seen, checker.frontier.to_bytes(), checker.link):
        _fail(f"the head does not belong to these {seen} entries: some are missing at the end", seen)


def _signed_checkpoints(checker: _Checker, rows: Iterator[tuple[int, str]]) -> Iterator[Checkpoint]:
    for size, note in rows:
        signed = checker.read_signed(note)
        if signed.size != size:
            _fail(f"the checkpoint kept for size {size} is of size {signed.size}")
        yield signed


def _connect(path: Path) -> sqlite3.Connection:
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    try:
        connection.execute("SELECT 1 FROM sqlite_master")
    except sqlite3.OperationalError:
        connection.close()
        if path.with_name(path.name + "-wal").exists():
            raise
        # On a read-only medium a WAL file opens only with the promise that nobody writes it.
        return sqlite3.connect(uri + "&immutable=1", uri=True, isolation_level=None)
    return connection


def _fail(what: str, index: int | None = None, right: str = "the log as it was signed") -> NoReturn:
    raise LogTampered(what, where="audit log", right=right, index=index)
