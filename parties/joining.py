"""A joint query over two sides at a party: it joins with every party of the other side, and keeps its share.

Who learns what: as in `protocols.join.matching`, by pair; the coordinator carries sealed mail and sees its sizes. After
the last turn every party has a share of each joint number, made uniform among all parties; from there on the query
goes on like any other. Where the parties of one side read the answer, every party seals its share of the released
cells for each of them: they learn the released numbers, the researcher none. A join lives in one process: a party that
stops in mid-join cannot go on with it.
"""

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from flwr.app import RecordDict
from numpy.typing import NDArray

from inbond.answers import answer_of
from inbond.errors import JobFailed
from inbond.joined_query import JoinLayout, Rows
from inbond.joint_query import Hidden, Table, joint_numbers, moduli_of
from inbond.messages import Buffer
from inbond.records import FROM, TO, blob_record, blob_view
from parties.answering import QueryJob
from parties.job_context import JobContext
from parties.join_process import JoinProcess, Part, Turned
from parties.openings import Facts
from policies.contract import PublishedContract
from policies.plan import JoinPlan
from policies.protocols import ANSWER_STEP
from policies.query.compiled import Keyed
from protocols.errors import PeerViolation
from protocols.join.shares import combine, rerandomised
from protocols.join.terms import JoinTerms, session_of
from protocols.join.turns import turns
from protocols.masking import pair_seed
from protocols.pair import PairChannel
from protocols.secure_sum import SumSpec

MAX_MAIL = 512 * 1024 * 1024
_LEFT_OUT, _RELEASED, _HIDDEN, _SPEC = "left_out", "released", "hidden", "spec"


class JoinedJob(QueryJob):
    """The query steps: join in turns, count, release."""

    def __init__(self, context: JobContext, join: JoinPlan) -> None:
        super().__init__(context)
        self._layout = JoinLayout(self.query, join, context.contracts)
        self._own = self.query.sides[0 if context.me in self.query.sides[0].owners else 1]
        self._attribute = self._own.number == join.attributes
        self.correspondents = frozenset(self.query.sides[1 - self._own.number].owners)
        self._process: JoinProcess | None = None
        self._through = 0  # the last turn that this party went through
        self._resumed = context.vault.get("confirmed") is not None
        self._ready: Future[JoinProcess] | None = None
        self._rows: tuple[Keyed, Rows] | None = None
        self._waits = turns(join.engine, join.parts)[0 if self._attribute else 1]
        self._bound: dict[str, list[Buffer] | None] = {peer: [] for peer in self.correspondents}
        self.steps["query.join"] = self._join
        self._readers = frozenset(context.plan.answered())
        if context.me in self._readers:
            self.steps[ANSWER_STEP] = self._answer

    # --- the turns ---

    def due(self, step: str, round_: int) -> bool:
        """The turns of a join go one after the other; where it cannot go on at all, that is told at once."""
        stopped = self._resumed and self._process is None
        return step != "query.join" or round_ <= self._through + 1 or stopped

    def _join(self, turn: int, content: RecordDict) -> RecordDict:
        if turn == 1:
            self.confirm(content)
            self._process = self._opening().result()
        if self._process is None:
            right = "submit the job again"
            raise JobFailed("this party was stopped in the middle of the join", where="query.join", right=right)
        if turn > len(self._waits):
            raise PeerViolation("there are no more turns", where="query.join")
        waits = self._waits[turn - 1]
        mails = self._opened(self._label(waits), content, self.correspondents if waits else frozenset())
        reply = RecordDict()
        for peer in sorted(self.correspondents):
            made = self._process.step(peer, turn, mails.get(peer))
            self._commit(peer, made)
            if made.mail is not None:
                reply[TO + peer] = blob_record(self._channel(peer).seal(self._label(turn), made.mail))
        if turn == len(self._waits):
            self._end(self._process)
        self._through = turn
        return reply

    def _commit(self, peer: str, made: Turned) -> None:
        """Log what the value side is bound to before anything leaves that rests on it; keep what opens it."""
        own = self._own_contracts()
        pieces = self._bound[peer]
        if pieces is None:
            return
        if not self._attribute and made.bound and made.mail is not None and self.context.openings.wanted(own):
            pieces.append(made.mail[len(made.mail) - made.bound :])
        if made.committed is not None:
            facts = Facts(peer, made.committed, self._layout.value_ranges, own)
            self.context.openings.commit(self.context, facts, None if self._attribute else pieces)
            self._bound[peer] = None

    def begin(self) -> None:
        """Read while the roster goes round: nothing of it leaves before every party confirmed the same roster."""
        self._opening()
        super().begin()

    def _opening(self) -> Future[JoinProcess]:
        """The process with a role for every counterpart, once this party's fragment was run."""
        if self._ready is None:
            reading = ThreadPoolExecutor(1, "join")
            self._ready = reading.submit(self._open)
            reading.shutdown(wait=False)
        return self._ready

    def close(self) -> None:
        """End the job's processes, also one that a reading which still runs has just begun with."""
        super().close()
        if self._ready is not None:
            self._ready.add_done_callback(lambda done: done.result().kill() if done.exception() is None else None)

    def _open(self) -> JoinProcess:
        context = self.context
        process = context.start_join()  # it may still get ready while the engine reads
        self.processes.callback(process.kill)
        keyed = self._own.keyed(context.run_fragment(context, self._own.fragment))
        rows = self._layout.gather(keyed)
        keys, values = (rows.keys, rows.values) if self._attribute else self._layout.value_columns(rows)
        for peer in sorted(self.correspondents):
            process.open(peer, self._terms(peer), keys, rows.groups if self._attribute else None, values)
        self._rows = keyed, rows
        return process

    def _terms(self, peer: str) -> JoinTerms:
        pair = (self.context.me, peer) if self._attribute else (peer, self.context.me)
        pairs = len(self._layout.attribute.owners) * len(self._layout.value.owners)
        session = session_of(bytes.fromhex(self.roster.digest), *pair)
        return self._layout.terms(session, pairs, self.context.plan.minimum_group)

    def _opened(self, label: str, content: RecordDict, expected: frozenset[str]) -> dict[str, memoryview]:
        """The mails sealed under `label`, by sender; raises PeerViolation for one of nobody `expected`."""
        senders = {name.removeprefix(FROM) for name in content.array_records}
        if senders - expected:
            raise PeerViolation("mail of a party that has none to send to this one", where=label.rpartition(" ")[0])
        return {peer: self._channel(peer).open(label, blob_view(content, FROM + peer, MAX_MAIL)) for peer in senders}

    def _channel(self, peer: str) -> PairChannel:
        digest = bytes.fromhex(self.roster.digest)
        return PairChannel(self.context.epoch, self.roster.keys[peer], digest=digest, me=self.context.me, peer=peer)

    def _label(self, round_: int) -> str:
        return f"{self.context.job} query.join {round_}"

    # --- the table ---

    def _end(self, process: JoinProcess) -> None:
        """Take the shares of all pairs, add what this party counts itself and its noise, and keep them uniform."""
        parts = {peer: process.end(peer) for peer in sorted(self.correspondents)}
        process.kill()
        self._process = None
        moduli = moduli_of(self._layout.join)
        shares = self._layout.placed(combine([part.shares for part in parts.values()], moduli))
        own = self.noise(self._own_contracts()) + self._counted(list(parts.values()))
        column = np.array(moduli, np.int64)[:, None, None]
        shares = (shares + (own % column).astype(np.uint64)) % column.astype(np.uint64)
        left_out = sorted(set().union(*(part.left_out for part in parts.values())))
        self.context.vault.put(_LEFT_OUT, self._layout.joint_groups(left_out).tobytes())
        self.keep(rerandomised(shares, moduli, *self._seeds()).astype(np.int64))

    def _counted(self, parts: list[Part]) -> Table:
        """(groups, slots) what only this side can count: values that it has, among its rows that matched anybody's."""
        table = np.zeros(self.query.shape, np.int64)
        if self._attribute and self._layout.counted and self._rows is not None:
            keyed, rows = self._rows
            matched = np.logical_or.reduce([part.matched for part in parts])
            table += self._layout.count_once(keyed, rows.of, matched)  # the value side has one group
        self._rows = None
        return table

    def _seeds(self) -> Iterator[list[bytes]]:
        """Seeds of the masks to add (of parties after this one by name), and to subtract."""
        context, roster = self.context, self.roster
        digest = hashlib.sha256(b"inbond joined table v1" + bytes.fromhex(roster.digest) + self.query.agreed()).digest()

        def seed(peer: str) -> bytes:
            return pair_seed(context.epoch, roster.keys[peer], digest=digest, me=context.me, peer=peer)

        yield [seed(peer) for peer in roster.names if peer > context.me]
        yield [seed(peer) for peer in roster.names if peer < context.me]

    def _own_contracts(self) -> Mapping[str, PublishedContract]:
        return {name: self.context.contracts[name] for name in self._own.datasets}

    def rows_per_subject(self, contracts: Mapping[str, PublishedContract]) -> int:
        """Each of a subject's rows here may meet every row of the other side that has its key."""
        return super().rows_per_subject(contracts) * self._layout.rows(self.query.sides[1 - self._own.number])

    def prepare(self, content: RecordDict) -> None:
        """Nothing is left to do: the join confirmed the roster and kept the table."""

    # --- the answer, where the parties of one side read it ---

    def released(self, spec: SumSpec, table: Table, hidden: Hidden) -> RecordDict:
        """Under the researcher's key like any other, or sealed for each party that reads the answer."""
        if not self._readers:
            return super().released(spec, table, hidden)
        self.correspondents = self._readers - {self.context.me}
        self.promised = spec
        label, share = self._answer_label(spec.digest()), np.ascontiguousarray(table).tobytes()
        if self.context.me in self._readers:
            for name, kept in ((_RELEASED, share), (_HIDDEN, hidden.tobytes()), (_SPEC, spec.digest())):
                self.context.vault.put(name, kept)
        sealed = {TO + peer: blob_record(self._channel(peer).seal(label, share)) for peer in self.correspondents}
        return RecordDict(dict(sorted(sealed.items())))

    def _answer(self, round_: int, content: RecordDict) -> RecordDict:
        """Add up all shares, and keep the rows for this party's people."""
        del round_
        share, hidden, spec = (self.context.vault.get(name) for name in (_RELEASED, _HIDDEN, _SPEC))
        if share is None or hidden is None or spec is None:
            raise PeerViolation("a step came before the release", where=ANSWER_STEP)
        others = frozenset(self.roster.names) - {self.context.me}
        mails = self._opened(self._answer_label(spec), content, others)
        if mails.keys() != others or any(len(mail) != len(share) for mail in mails.values()):
            raise PeerViolation("not every party's share of the answer came", where=ANSWER_STEP)
        total: Table = np.sum([np.frombuffer(one, np.int64) for one in (share, *map(bytes, mails.values()))], axis=0)
        joint = joint_numbers(self.query, self._layout.join, total)
        suppressed = np.frombuffer(hidden, np.bool_).reshape(self.query.shape)
        self.context.keep_answer(answer_of(self.query, self.context.job, self.context.plan, joint, suppressed))
        return RecordDict()

    def _answer_label(self, spec: bytes) -> str:
        """Bound to which cells are hidden: parties that disagree on one cannot read each other's share."""
        return f"{self.context.job} {ANSWER_STEP} {spec.hex()}"

    def left_out(self) -> NDArray[np.int64]:
        """Groups that lack keys of lists too short to be matched."""
        kept = self.context.vault.get(_LEFT_OUT)
        return super().left_out() if kept is None else np.frombuffer(kept, np.int64)
