"""Write a log to one file that an officer can check offline, with no trust in the node that kept it.

Whoever gets the file learns every entry up to the last signed checkpoint, and who signed it.

The format, `inbond-audit-export/1`, is JSON lines in canonical form, so that one log has one spelling:
1. `format`, `origin`, `vkey`, `size`, and `certificates` (base64 DER, the signer's first, possibly none);
2. per entry `number`, `entry` (its exact bytes as text), `leaf` and `link` (base64). The root pins them all;
   leaf and link are there so that the checker can say which entry was changed first;
3. `checkpoint`: the signed note over exactly these entries, last, so that a shortened file has none.
"""

import base64
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from compliance.audit.store import AuditStore, Row
from compliance.audit.verify import FORMAT
from compliance.checkpoint import Checkpoint
from compliance.database import translated
from compliance.errors import ExportFailed, LogTampered
from compliance.note import parse_note

_canonical = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


def export(database: Path, out: Path, *, certificates: Sequence[bytes] = ()) -> int:
    """Write the signed part of audit.db to the new file `out`; return the number of entries.

    `certificates` is the signer's chain in DER, leaf first. Raises ExportFailed where nothing is signed yet
    or `out` exists or cannot be written, LogUnavailable where the log cannot be read, LogTampered where an
    entry is not even text.
    """
    store = AuditStore.read_only(database)
    try:
        note = store.last_checkpoint()
        if note is None:
            raise ExportFailed("no checkpoint is signed yet", where=str(database), right="a node that signed one")
        with translated(out, ExportFailed), out.open("xb") as file:
            try:
                return _write(store, note, certificates, file)
            except BaseException:
                out.unlink()
                raise
    finally:
        store.close()


def _write(store: AuditStore, note: str, certificates: Sequence[bytes], file: BinaryIO) -> int:
    head = store.head()
    size = Checkpoint.parse(parse_note(note.encode()).text).size
    if head is None:
        raise LogTampered("it has checkpoints and no head", where=str(store.path), right="restore it")
    header = {
        "format": FORMAT,
        "origin": head.origin,
        "vkey": head.vkey,
        "size": size,
        "certificates": list(map(_text, certificates)),
    }
    file.write(_line(header))
    for row in store.rows(0, size):
        file.write(_entry_line(store, row))
    file.write(_line({"checkpoint": note}))
    file.flush()
    os.fsync(file.fileno())
    return size


def _entry_line(store: AuditStore, row: Row) -> bytes:
    try:
        entry = row.data.decode()
    except UnicodeDecodeError as error:
        raise LogTampered(
            f"entry {row.number} is not text",
            where=str(store.path),
            right="the log as it was written",
            index=row.number,
        ) from error
    return _line({"number": row.number, "entry": entry, "leaf": _text(row.leaf), "link": _text(row.link)})


def _line(value: dict[str, object]) -> bytes:
    return _canonical(value).encode() + b"\n"


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
