"""The egress guard: what a reply may hold is what the plan promised for its step, exactly.

A contribution must be a ciphertext of the promised parameter set and, to the byte, of the promised number of rows. A
record that no promise names stops the reply, whoever put it there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import RecordDict

from inbond.errors import Refused
from inbond.records import FIELD, TO, vector
from policies.protocols import ANSWER_STEP
from protocols.bfv import blob_bytes
from protocols.pair import OVERHEAD
from protocols.secure_sum import SumSpec

MAX_BOX = 512 * 1024 * 1024  # a sealed model
MAX_TOKEN = 64 * 1024
SHARE_BYTES = 8  # of one number of an answer, in a share of it


@dataclass(frozen=True, slots=True)
class Promise:
    """Names of the records of a reply: arrays (`contribution`, or plain `arrays`), metrics, and config records.

    With `mail` it may besides hold one sealed mail for each correspondent.
    """

    arrays: frozenset[str] = frozenset()
    metrics: frozenset[str] = frozenset()
    configs: frozenset[str] = frozenset()
    mail: bool = False


def _promise(arrays: str = "", configs: str = "", metrics: str = "", *, mail: bool = False) -> Promise:
    return Promise(frozenset(arrays.split()), frozenset(metrics.split()), frozenset(configs.split()), mail)


PLACED = "placed"  # instead of the protection's mode, where parties read the answer of a join
_ENCRYPTED = {
    "query.start": _promise(configs="roster boxes"),
    "query.census": _promise("contribution"),
    "query.join": _promise(mail=True),
    "train": _promise("contribution", "progress"),
    "evaluate": _promise("contribution", "progress"),
    "query.finish": _promise(configs="receipt result"),
    "query.count": _promise("contribution"),
    "query.release": _promise("contribution", "receipt"),
}
PROMISES: Mapping[str, Mapping[str, Promise]] = {
    "encrypted": _ENCRYPTED,
    PLACED: _ENCRYPTED | {"query.release": _promise(configs="receipt", mail=True), ANSWER_STEP: _promise()},
    "plain": {
        "query.initial": _promise("arrays"),
        "train": _promise("arrays", metrics="metrics"),
        "evaluate": _promise(metrics="metrics"),
    },
}
RELEASES = frozenset({"query.release", "query.finish", "train"})  # steps whose reply somebody can in the end read


def check(
    mode: str, step: str, content: RecordDict, spec: SumSpec | None, correspondents: frozenset[str] = frozenset()
) -> RecordDict:
    """`content`, if it is what a plan of protection `mode` (or PLACED) promises for `step`; raises Refused.

    `spec` describes the sum that the step contributes to, None for a step without a contribution; a share of one, sent
    as mail, has its size. In the rounds of a join a reply holds nothing but sealed mail for `correspondents`.
    """
    promise = PROMISES[mode].get(step)
    if promise is None:
        raise _stop(step, "nothing is promised for this step")
    mail = {TO + name for name in correspondents} if promise.mail else set()
    arrays = frozenset(content.array_records) - mail
    found = Promise(arrays, frozenset(content.metric_records), frozenset(content.config_records), promise.mail)
    if found != promise:
        raise _stop(step, f"it holds {sorted(found.arrays | found.metrics | found.configs)}")
    for name in mail & set(content.array_records):
        _check_mail(step, content, name, spec)
    if "contribution" in promise.arrays:
        _check_contribution(step, content, spec)
    for record in content.config_records.values():
        _check_sizes(step, record)
    return content


def _check_mail(step: str, content: RecordDict, name: str, spec: SumSpec | None) -> None:
    box = vector(content, name) if set(content.array_records[name]) == {FIELD} else None
    least, most = (OVERHEAD, MAX_BOX) if spec is None else (OVERHEAD + SHARE_BYTES * spec.exact,) * 2
    if box is None or box.dtype != np.uint8 or box.ndim != 1 or not least <= box.nbytes <= most:
        raise _stop(step, f"{name} is not one sealed mail")


def _check_contribution(step: str, content: RecordDict, spec: SumSpec | None) -> None:
    if spec is None:
        raise _stop(step, "no sum is described for this contribution")
    promised = blob_bytes(spec.parameters, spec.rows)
    if set(content.array_records["contribution"]) != {FIELD}:
        raise _stop(step, "the contribution is not one array")
    blob = vector(content, "contribution")
    fits = blob.dtype == np.uint8 and blob.ndim == 1 and blob.nbytes == promised
    if not fits or spec.parameters.tag not in blob[:32].tobytes():
        raise _stop(step, f"the contribution is not {spec.rows} ciphertexts of {spec.params}")


def _check_sizes(step: str, record: Mapping[str, Any]) -> None:
    for value in record.values():
        items = value if isinstance(value, list) else [value]
        for item in items:
            limit = MAX_TOKEN if isinstance(item, str) else MAX_BOX
            if isinstance(item, (str, bytes)) and len(item) > limit:
                raise _stop(step, f"a value of {len(item)} bytes")


def _stop(step: str, what: str) -> Refused:
    return Refused(f"the egress guard stopped a reply: {what}", where=step, right="a reply as the plan promises it")
