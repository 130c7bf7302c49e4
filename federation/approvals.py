"""The jobs that wait for people, at the coordinator: what is missing, from whom, until when.

The coordinator carries approvals and counts them only to know when to go on, and to tell people early; every party
counts again for itself. It learns who approved which plan.
"""

import json
import threading
from collections.abc import Mapping
from datetime import UTC, datetime

from federation.store import CoordinatorStore, JobRow
from inbond.approvals import MAX_APPROVALS, count, open_approval, question
from inbond.errors import Refused
from inbond.node import Node, utc_now
from policies.approval import Given, Question, Tally, objection, stranger
from policies.approval_rule import ApprovalRule
from policies.contract import PublishedContract
from policies.document import Document, validate
from policies.identity import PeerIdentity
from policies.job_state import JobState
from policies.plan import Plan, load_plan

Rules = dict[str, ApprovalRule]
_NOBODY_ASKED = "nobody is asked about it"


def approval_rules(plan: Plan, contracts: Mapping[str, Mapping[str, PublishedContract]]) -> Rules:
    """What the owners of a plan's tables ask of people, by table, as the parties' published `contracts` say."""
    found: Rules = {}
    for party, table in ((one.name, table) for one in plan.participants for table in one.tables):
        contract = contracts.get(party, {}).get(table.dataset)
        if contract is not None and contract.approval is not None:
            found[f"{table.dataset} of {party}"] = contract.approval
    return found


class Approvals:
    """Waiting jobs and what people have signed about them; thread-safe."""

    def __init__(self, node: Node, store: CoordinatorStore) -> None:
        self._node, self._store = node, store
        self._until: dict[str, float] = {}
        self._lock = threading.Lock()

    def expect(self, row: JobRow, plan: Plan, rules: Rules) -> Tally:
        """Note the rules of a job; how it stands. It waits until its deadline, or the end of its shortest rule."""
        until = min(row.expires, row.created + 3600 * min(rule.hours for rule in rules.values()))
        self._store.keep_wait(row.id, until, json.dumps({name: rule.model_dump() for name, rule in rules.items()}))
        with self._lock:
            self._until[row.id] = until
        return self._count(row, plan, rules)

    def resume(self, job: str) -> None:
        """Take up a waiting job after a restart."""
        kept = self._store.wait(job)
        with self._lock:
            self._until[job] = kept[0] if kept else 0.0

    def over(self, job: str) -> None:
        """Forget a job that waits no longer; what was signed about it stays."""
        with self._lock:
            self._until.pop(job, None)

    def waiting(self) -> list[str]:
        """The jobs that wait."""
        with self._lock:
            return list(self._until)

    def expired(self, now: float) -> list[str]:
        """The jobs whose time to be approved is over, at `now` in seconds since 1970."""
        with self._lock:
            return [job for job, until in self._until.items() if until <= now]

    def tally(self, row: JobRow) -> Tally:
        """How a waiting job stands now."""
        return self._count(row, load_plan(row.plan or ""), self._rules(row.id))

    def waits_for(self, job: str, found: Tally) -> str:
        """What is missing, from whom and until when, in one line."""
        with self._lock:
            until = datetime.fromtimestamp(self._until.get(job, 0.0), UTC)
        return f"{'; '.join(found.lines)}; until {until:%Y-%m-%d %H:%M} UTC"

    def may_decide(self, row: JobRow, caller: PeerIdentity) -> bool:
        """Whether `caller` may approve or refuse a waiting job, and so see its plan."""
        if row.state != JobState.NEEDS_APPROVAL:
            return False
        return not self._objections(row, caller)

    def take(self, row: JobRow | None, token: str, caller: PeerIdentity) -> Given:
        """The yes or no in `token`, signed by `caller` for this job; raises Refused or PolicyError."""
        why = self._objections(row, caller) if row else _NOBODY_ASKED
        if row is None or why:
            raise Refused(f"not yours to decide: {why}", where="approval", right="see `inbond approvals`")
        if row.state != JobState.NEEDS_APPROVAL:
            raise Refused(f"the job is {row.state}", where="approval", right="see `inbond approvals`")
        given = open_approval(token, trust=self._node.trust, now=utc_now())
        if given.approval.iss != str(caller.spiffe_id):
            raise Refused("the approval is somebody else's", where="approval", right=f"signed by {caller.spiffe_id}")
        asked = self._question(row, load_plan(row.plan or ""))
        objections = [objection(rule, given, asked) for rule in self._rules(row.id).values()]
        if all(objections):
            raise Refused(f"it does not count: {objections[0]}", where="approval", right="see `inbond approvals`")
        if len(self._store.approvals(row.id)) >= MAX_APPROVALS:
            raise Refused("the job has too many approvals", where="approval", right=f"at most {MAX_APPROVALS}")
        return given

    def _objections(self, row: JobRow, caller: PeerIdentity) -> str:
        """Why `caller` may decide under none of the job's rules; empty when it may."""
        rules = self._rules(row.id)
        if not rules or row.plan is None:
            return _NOBODY_ASKED
        asked = self._question(row, load_plan(row.plan))
        found = [stranger(rule, str(caller.spiffe_id), caller.standing, asked) for rule in rules.values()]
        return found[0] if all(found) else ""

    def _rules(self, job: str) -> Rules:
        kept = self._store.wait(job)
        said = json.loads(kept[1]) if kept else {}
        return {name: validate(ApprovalRule, Document(rule, "rule", {})) for name, rule in said.items()}

    def _question(self, row: JobRow, plan: Plan) -> Question:
        return question(row.token, job=row.id, plan=plan.digest(), trust=self._node.trust, now=utc_now())

    def _count(self, row: JobRow, plan: Plan, rules: Rules) -> Tally:
        return count(rules, self._store.approvals(row.id), self._question(row, plan), trust=self._node.trust)
