"""Where a table came from: the label on an answer's Parquet file, and what a contract over such a table may allow.

Who learns what: whoever has the file reads of which job it is the answer, for which purpose, for readers in which
countries. The label follows the data into a catalogue: derived data may be used for no other purpose, and read nowhere
else, than the answer itself. It keeps honest people from forgetting; a file can be written anew without it.
"""

from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from inbond.answers import Answer
from inbond.errors import ConfigError
from policies.contract import Country, PublishedContract, Purpose
from policies.document import Value, read_document, validate
from policies.errors import InvalidInput
from policies.job import Hex32

KEY = b"inbond.origin"


class Origin(Value):
    """The answer of `job` under `plan`, asked for one purpose, for readers in `countries`."""

    job: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{8,64}$")]
    plan: Hex32
    purpose: Purpose
    countries: tuple[Country, ...] = Field(min_length=1, max_length=256)


def origin_of(answer: Answer) -> Origin:
    """The label of an answer."""
    plan = answer.plan
    countries = tuple(sorted({reader.country for reader in plan.readers}))
    return Origin(job=answer.job, plan=plan.digest(), purpose=plan.purpose, countries=countries)


def labelled(table: pa.Table, origin: Origin) -> pa.Table:
    """The table with its label."""
    return table.replace_schema_metadata({KEY: origin.model_dump_json().encode()})


def read_origin(path: Path) -> Origin | None:
    """The label of a Parquet file; None for one without. Raises ConfigError or InvalidInput for one that is damaged."""
    try:
        found = (pq.read_schema(path).metadata or {}).get(KEY)
        text = None if found is None else found.decode()
    except (OSError, pa.ArrowException, UnicodeDecodeError):
        raise ConfigError("cannot be read", where=str(path), right="a Parquet file") from None
    return None if text is None else validate(Origin, read_document(text, f"{path}: {KEY.decode()}"))


def check_origin(contract: PublishedContract, origin: Origin) -> None:
    """Raise InvalidInput where `contract` allows more of derived data than the answer was made for."""
    more = sorted(contract.purposes - {origin.purpose})
    abroad = sorted(set(contract.recipients.countries) - set(origin.countries))
    if more or abroad:
        what = f"purposes {', '.join(more)}" if more else f"readers in {', '.join(abroad)}"
        right = f"{origin.purpose} alone, readers in {', '.join(origin.countries)} alone"
        told = f"the table is the answer of job {origin.job[:12]} and was not made for {what}"
        raise InvalidInput(told, where=contract.dataset, right=right)
