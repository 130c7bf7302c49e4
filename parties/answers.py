"""Answers of joins that this party reads itself: kept under the node's key, for its own people.

Who learns what: whoever may use this node reads the released groups; nobody else has them, also not the person who
asked. They stay until somebody removes them here.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from inbond.answers import Answer
from inbond.errors import InbondError
from inbond.keystore import KeyStore, write_private
from policies.plan import load_plan
from policies.query.finishing import ValueType

_HEAD = b"inbond answer v1"
_ENDING = ".sealed"


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer, who asked for it, and when it came (aware)."""

    answer: Answer
    asked_by: str
    at: datetime


class Answers:
    """The answers in a party's `home`: one sealed file each."""

    def __init__(self, home: Path, keystore: KeyStore) -> None:
        self._folder, self._keys = home / "answers", keystore

    def put(self, kept: KeptAnswer) -> None:
        """Keep an answer. Raises InbondError for a number that no Arrow type holds."""
        answer = kept.answer
        head = {
            "asked_by": kept.asked_by,
            "at": kept.at.isoformat(),
            "plan": answer.plan.payload(),
            "suppressed": answer.suppressed,
            "types": answer.types,
        }
        rows = answer.to_arrow().replace_schema_metadata({_HEAD: json.dumps(head).encode()})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        write_private(self._path(answer.job), self._keys.encrypt(sink.getvalue().to_pybytes(), _label(answer.job)))

    def all(self) -> list[KeptAnswer]:
        """Every answer, the newest first. Raises InbondError for a file that this node did not write."""
        found = [self._read(path) for path in self._folder.glob(f"*{_ENDING}")]
        return sorted(found, key=lambda kept: kept.at, reverse=True)

    def find(self, prefix: str) -> KeptAnswer:
        """The one answer of a job whose id starts with `prefix`; raises InbondError."""
        found = [path for path in self._folder.glob(f"*{_ENDING}") if path.name.startswith(prefix)]
        if len(found) != 1:
            what = "no answer here is" if not found else f"{len(found)} answers here are"
            right = "inbond party answers list"
            raise InbondError(f"{what} of a job that starts with {prefix}", where="job", right=right)
        return self._read(found[0])

    def _path(self, job: str) -> Path:
        return self._folder / f"{job}{_ENDING}"

    def _read(self, path: Path) -> KeptAnswer:
        job = path.name.removesuffix(_ENDING)
        rows = pa.ipc.open_stream(self._keys.decrypt(path.read_bytes(), _label(job))).read_all()
        head = json.loads(rows.schema.metadata[_HEAD])
        types = tuple(ValueType(*one) for one in head["types"])
        maps = {name for name, of in zip(rows.column_names, types, strict=True) if of.kind == "map"}
        lines = [{name: _value(value, name in maps) for name, value in row.items()} for row in rows.to_pylist()]
        plan = load_plan(json.dumps(head["plan"]))
        answer = Answer(job, tuple(rows.column_names), lines, head["suppressed"], plan, types)
        return KeptAnswer(answer, head["asked_by"], datetime.fromisoformat(head["at"]))


def _value(value: Any, is_map: bool) -> Any:
    return dict(value) if is_map and value is not None else value


def _label(job: str) -> str:
    return f"answer of {job}"
