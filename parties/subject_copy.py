"""A copy of one person's data, for the person: every row of every table of this node that can tell people apart.

| who | learns |
|---|---|
| who can read the folder (the user of this node, mode 0700) | the rows, and what `parties.subject_about` tells |
| the engine that holds a table | the id, as a parameter of a statement that only reads |
| the evidence log, the registry | a keyed hash of the person and the digest of the copy, which holds a random value |
| everybody else | nothing |

Masks and row rules of a contract are for those who compute; the person sees everything. So does who is withheld from
jobs: their data are theirs. Whole or not at all: written aside, kept on record, then put in its place.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from compliance.subject_requests import Request, SubjectRequests
from inbond.answers import as_json
from inbond.errors import ConfigError
from inbond.keystore import write_private
from inbond.node import Node
from inbond.result_files import check_new_folder
from parties.catalogue import Catalogue
from parties.connectors.base import relation, run_pushdown
from parties.connectors.person import RELATION, rows_of
from parties.subject_about import about
from parties.withheld import rows_about
from policies.contract import DataContract

ABOUT, README, SUMS, TABLES = "about.json", "README.txt", "SHA256SUMS", "tables"
_README = """\
A copy of the data that {party} holds of one person, made {made}.

{tables}

about.json says what the data are used for and on which basis, who received something that was made with them and in
which country, what the person has said, and which rights there are. Under `for_the_controller_to_add` it lists what the
controller must add.

Columns that a table's contract does not list are not in this copy: this node does not read them. Tables under
`not_searched` of about.json may hold data of this person as well; nothing in them tells people apart. A job that read
such a table counts as one that read this person.

The files are JSON (RFC 8259) in UTF-8. Amounts of money are text with two decimals, dates and times ISO 8601 in UTC,
numbers that JSON does not have "NaN", "Infinity" or "-Infinity"; null is no value. `sha256sum -c SHA256SUMS` checks the
files; the SHA-256 of SHA256SUMS itself is kept on record.
"""


@dataclass(frozen=True)
class Made:
    """A copy that is in its place: the SHA-256 of its list of sums, and how many rows of which table it has."""

    folder: Path
    digest: str
    rows: Mapping[str, int]
    not_searched: Sequence[str]


def copy_of(
    node: Node,
    registry: SubjectRequests,
    person: str,
    out: Path,
    *,
    request: int | None = None,
    now: datetime,
    reading: Callable[[str, int], None] = lambda _dataset, _tables: None,
) -> Made:
    """Write everything that this node's tables have of `person` to the new folder `out`, and keep its digest.

    `request` is the number of the open request that it answers; `reading` is told each table before it is read, and
    how many there are. Raises ConfigError, InvalidLawEntry, DataError, or what `SubjectRequests.copied` raises; then
    there is no folder and nothing on record.
    """
    check_new_folder(out)
    asked = None if request is None else registry.asked(request, person)
    registry.of(person)  # what is no id is told as such
    contracts = Catalogue(node.home).contracts
    found = dict(_found(contracts, person, node.home, reading))
    if not found:
        right = "an id as it is in the tables; who has nothing here is answered with --given-otherwise"
        raise ConfigError("no table here has rows of that id", where="subject", right=right)
    with TemporaryDirectory(dir=out.parent, prefix=".subject-copy-") as scratch:  # made for this user alone
        made = Path(scratch) / "copy"
        made.mkdir(mode=0o700)
        told = _write(made, node, registry, person, contracts, found, asked, now)
        digest = _sealed(made)
        try:
            with registry.copied(person, digest, request):
                _put(made, out)
        except BaseException:
            if not made.exists():
                out.rename(made)  # it was not kept on record: it is not there either
            raise
    rows = {name: table.num_rows for name, table in found.items()}
    return Made(out, digest, rows, [one["dataset"] for one in told["not_searched"]])


def _found(
    contracts: Mapping[str, DataContract], person: str, folder: Path, reading: Callable[[str, int], None]
) -> Iterator[tuple[str, pa.Table]]:
    """The tables that have rows of the person, and these rows."""
    searched = {name: one for name, one in contracts.items() if one.law is not None and one.law.subject is not None}
    if not searched:
        right = "name the column that tells people apart as `law: subject` of a contract"
        raise ConfigError("no table of this node can tell people apart", where=str(folder / "contracts"), right=right)
    for name, contract in searched.items():
        reading(name, len(searched))
        theirs = rows_about(contract, [person], only=True)
        for value in theirs.values:
            source = relation(contract, list(contract.columns))
            table = run_pushdown({RELATION: source}, rows_of(value, theirs.column, source.columns), folder)
            if table.num_rows:
                yield name, table


def _write(
    folder: Path,
    node: Node,
    registry: SubjectRequests,
    person: str,
    contracts: Mapping[str, DataContract],
    found: Mapping[str, pa.Table],
    request: Request | None,
    now: datetime,
) -> dict[str, Any]:
    files = {f"{TABLES}/{name}.json": (contracts[name], table.num_rows) for name, table in found.items()}
    others = [one for name, one in contracts.items() if name not in found]
    told = about(node, registry, person, files, others, request, now)
    for file, (contract, _) in files.items():
        write_private(folder / file, _json({"dataset": contract.dataset, "rows": _rows(found[contract.dataset])}))
    write_private(folder / ABOUT, _json(told))
    listed = "\n".join(f"{file}: {rows} rows of {one.dataset}" for file, (one, rows) in files.items())
    text = _README.format(party=node.name, made=told["made"], tables=listed)
    write_private(folder / README, text.encode())
    return told


def _json(value: object) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    return [{name: _cell(value) for name, value in row.items()} for row in table.to_pylist()]


def _cell(value: Any) -> Any:
    if isinstance(value, date):  # a datetime is one as well
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return as_json(value)


def _sealed(folder: Path) -> str:
    """Write the list of the files' sums, as `sha256sum` has it, and return its own."""
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    lines = (f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in files)
    content = "".join(lines).encode()
    write_private(folder / SUMS, content)
    return hashlib.sha256(content).hexdigest()


def _put(made: Path, out: Path) -> None:
    try:
        made.rename(out)
    except OSError as error:
        raise ConfigError(f"cannot be made ({error.strerror})", where=str(out), right="another name") from None
