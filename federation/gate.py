"""The coordinator's gate for people: every call is a policy decision, logged before anything is done or shown.

The log learns who asked for what about which job, in which role, and what was decided; nothing of what was answered.
"""

import threading
import time
from collections import OrderedDict

from compliance.audit.entry import EntryType
from federation.store import JobRow
from inbond.errors import InbondError, Refused
from inbond.node import Node
from policies.calls import Call, decide_call, role_of
from policies.engine import Engine
from policies.explain import explain
from policies.identity import PeerIdentity
from policies.request import Decision

REPEAT_SECONDS = 3600.0
MAX_REMEMBERED = 10_000
_Said = tuple[str, str, Call, str, str]


class Gate:
    """Decides calls; thread-safe. The same decision about the same person, call and job is logged once an hour."""

    def __init__(self, node: Node, engine: Engine) -> None:
        self._node, self._engine = node, engine
        self._logged: OrderedDict[_Said, float] = OrderedDict()
        self._lock = threading.Lock()

    def enter(self, person: PeerIdentity, call: Call) -> None:
        """Let `person` make `call` on no job, or on the person's own; raises Refused with the rule."""
        decision = decide_call(self._engine, person, call, own=True)
        self._log(person, call, decision)
        _check(decision)

    def everyones(self, person: PeerIdentity, call: Call) -> bool:
        """Whether `person` may make `call` on everyone's jobs; a no is no refusal, the own ones may be left."""
        decision = decide_call(self._engine, person, call, own=False)
        if decision.permitted:
            self._log(person, call, decision)
        return decision.permitted

    def job(self, person: PeerIdentity, call: Call, job: str, row: JobRow | None) -> JobRow:
        """The `row` of `job` if `person` may make `call` on it; else raises Refused, or InbondError.

        Who may on their own jobs is not told whether there is another's.
        """
        if row is not None:
            own = row.owner == str(person.spiffe_id)
            decision = decide_call(self._engine, person, call, own=own)
            self._log(person, call, decision, row.id)
            if decision.permitted:
                return row
        _check(decide_call(self._engine, person, call, own=True))
        raise InbondError(f"no job {job[:64]} of yours", where="job", right="see `inbond job list`")

    def _log(self, person: PeerIdentity, call: Call, decision: Decision, job: str = "") -> None:
        """Write the decision down; raises LogUnavailable, and then the call is not answered."""
        role, effect = role_of(person), decision.effect.value
        said: _Said = (str(person.spiffe_id), role, call, job, effect)
        if self._said(said):
            return
        data = {"call": call, "role": role, **decision.logged()}
        kind = EntryType.DECISION if decision.permitted else EntryType.REFUSAL
        self._node.record(kind, job=job or None, subject=str(person.spiffe_id), data=data)
        self._remember(said)

    def _said(self, said: _Said) -> bool:
        """Whether the log has it already, of this hour."""
        with self._lock:
            at = self._logged.get(said)
        return at is not None and time.monotonic() - at < REPEAT_SECONDS

    def _remember(self, said: _Said) -> None:
        with self._lock:
            self._logged[said] = time.monotonic()
            self._logged.move_to_end(said)
            while len(self._logged) > MAX_REMEMBERED:
                self._logged.popitem(last=False)


def _check(decision: Decision) -> None:
    if not decision.permitted:
        raise Refused(" ".join(explain(decision)))
