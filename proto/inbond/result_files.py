"""Results as files on the reader's machine: the ending says how, and no file is ever half written or lost.

What is written is the reader's own result; on the machine, too, only its user may read it (mode 0600).
"""

import csv
import io
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from inbond.answers import Answer, as_json, as_text
from inbond.errors import ConfigError
from inbond.keystore import check_folder, write_private
from inbond.origin import labelled, origin_of

ENDINGS = {"query": (".csv", ".json", ".parquet"), "train": (".safetensors",)}


def check_out(out: Path | None, kind: str = "", *, force: bool = False) -> None:
    """Raise ConfigError where the result of a job of that kind (any where empty) could not be written to `out`.

    A file that is there is replaced only with `force`.
    """
    if out is None:
        return
    endings = [ending for one, known in ENDINGS.items() if kind in {one, ""} for ending in known]
    if out.suffix not in endings:
        right = f"a name that ends in {', '.join(endings)}"
        raise ConfigError(f"no way to write {out.suffix or 'a file without an ending'}", where=str(out), right=right)
    _check_writable(out)
    if out.is_dir() or (out.exists() and not force):
        right = "another name" if out.is_dir() else "another name, or --force to replace it"
        raise ConfigError("is there already", where=str(out), right=right)


def check_new_folder(out: Path) -> None:
    """Raise ConfigError where no new folder `out` could be made."""
    _check_writable(out)
    if os.path.lexists(out):
        raise ConfigError("is there already", where=str(out), right="another name")


def _check_writable(out: Path) -> None:
    check_folder(out)
    if not os.access(out.parent, os.W_OK):
        raise ConfigError("nothing can be written there", where=str(out.parent), right="a folder of your own")


def write_answer(found: Answer, out: Path, *, force: bool = False) -> None:
    """Write an answer (.csv, .json, .parquet) to `out`, whole or not at all.

    In CSV what is suppressed or NULL is empty, and a histogram is JSON text; Parquet says where it came from. Raises
    ConfigError.
    """
    check_out(out, "query", force=force)
    write_private(out, _WRITERS[out.suffix](found))  # beside it first, then renamed


def write_model(content: bytes, out: Path, *, force: bool = False) -> None:
    """Write a model (.safetensors) to `out`, whole or not at all. Raises ConfigError."""
    check_out(out, "train", force=force)
    write_private(out, content)


def _csv(found: Answer) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(found.columns)
    writer.writerows([as_text(row[name]) for name in found.columns] for row in found.rows)
    return text.getvalue().encode()


def _json(found: Answer) -> bytes:
    rows = [{name: as_json(row[name]) for name in found.columns} for row in found.rows]
    return (json.dumps(rows, ensure_ascii=False, indent=1) + "\n").encode()


def _parquet(found: Answer) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(labelled(found.to_arrow(), origin_of(found)), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


_WRITERS = {".csv": _csv, ".json": _json, ".parquet": _parquet}
