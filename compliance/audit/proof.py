"""One entry of a log and the proof that it stands there, for a reader who is to see no other entry.

Who learns what: whoever gets it learns this entry, its number, the log's size at a signed checkpoint, and the hashes of
neighbours (RFC 9162 section 2.1.3).
"""

import base64
from dataclasses import dataclass
from typing import Any

from compliance.audit.entry import Entry
from compliance.audit.log import AuditLog
from compliance.checkpoint import Checkpoint, open_checkpoint
from compliance.errors import ComplianceError, InvalidProof
from compliance.merkle import leaf_hash, verify_inclusion
from compliance.note import VerifierKey, strict_base64

MAX_PATH = 64
_FIELDS = {"number", "entry", "path", "checkpoint"}


@dataclass(frozen=True)
class ProvenEntry:
    """An entry with its number, and the checkpoint under which it was found."""

    number: int
    entry: Entry
    checkpoint: Checkpoint


def prove(log: AuditLog, number: int, entry: Entry) -> dict[str, Any]:
    """JSON data that proves `entry`, which is number `number` of `log`; signs a checkpoint where the log has grown."""
    note = log.checkpoint()
    size = Checkpoint.parse(note.text).size
    path = [base64.b64encode(each).decode() for each in log.inclusion_proof(number, size)]
    return {"number": number, "entry": entry.to_bytes().decode(), "path": path, "checkpoint": str(note)}


def read_proof(proof: object, key: VerifierKey) -> ProvenEntry:
    """The entry that `proof` shows in the log signed by `key`; raises InvalidProof where it does not."""
    if not isinstance(proof, dict) or set(proof) != _FIELDS:
        raise _invalid("the proof is malformed", "fields " + ", ".join(sorted(_FIELDS)))
    number, text, path, note = proof["number"], proof["entry"], proof["path"], proof["checkpoint"]
    if type(number) is not int or not isinstance(text, str) or not isinstance(note, str) or not isinstance(path, list):
        raise _invalid("the proof is malformed", "a number, two texts and a list of hashes")
    try:
        checkpoint = open_checkpoint(note.encode(), key)
        siblings = [strict_base64(str(each), "path") for each in path[: MAX_PATH + 1]]
        data = text.encode()
        verify_inclusion(leaf_hash(data), number, checkpoint.size, siblings, checkpoint.root)
        return ProvenEntry(number, Entry.from_bytes(data), checkpoint)
    except (ComplianceError, UnicodeEncodeError) as error:
        raise _invalid(f"the entry is not proven ({error})", "a proof of this log, unaltered") from error


def _invalid(what: str, right: str) -> InvalidProof:
    return InvalidProof(what, where="proof of an entry", right=right)
