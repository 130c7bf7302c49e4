"""A join between two parties, as their logs know it, and an auditor who asks both sides about it."""

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
from click.testing import Result as Ran
from typer.testing import CliRunner

from compliance.audit.entry import Entry
from inbond.keystore import KeyStore, Unlock
from inbond.node import Node, utc_now
from parties.audit_cli import app
from parties.catalogue import Catalogue
from parties.join_process import Committed
from parties.openings import Facts, Openings
from policies.identity import Standing
from protocols.join.commitment import Commitment
from protocols.join.roles import AttributeSide, ValueSide
from protocols.join.terms import JoinTerms
from protocols.psi.items import I64
from tests.bad_input.homes import CONSORTIUM, certified_home, furnish
from tests.policies.samples import CONTRACT
from tests.protocols.join import pairs
from tests.support.authority import TestAuthority
from tests.system.world import evidence

JOB, PLAN = "0123456789abcdef", "ab" * 32
MOST = 50_000
RANGES = ((0, 1), (0, MOST))
AUDIT = "audit: {values_to: [ada], blocks: 4}\n"


@dataclass
class Audited:
    """m1 received values of p1, whose contract names the auditor ada and not bob."""

    folder: Path
    authority: TestAuthority

    @classmethod
    def make(cls, folder: Path, contract: str = CONTRACT + AUDIT, country: str = "DE", office: str = "auditor") -> Self:
        made = cls(folder, TestAuthority(CONSORTIUM))
        for name in ("m1", "p1"):
            certified_home(made.authority, "party", name, made.home(name), country="DE")
        furnish(made.home("p1"), contract)
        for name in ("ada", "bob"):
            certified_home(made.authority, "user", name, made.home(name))
            keys = made.home(name) / "keys"
            store = KeyStore.open(keys, Unlock.from_file(keys / "unlock.key"))
            standing = Standing("supervision", office, country)
            certified = made.authority.certify(f"user/{name}", store, now=utc_now(), standing=standing)
            certified.save(made.home(name) / "certs")
        return made

    def home(self, name: str) -> Path:
        return self.folder / name

    def join(self, column: I64, sent: I64 | None = None) -> None:
        """A join over p1's `column`, or what it `sent` instead of it past its own clip; both sides log."""
        a, b = sides(column, column if sent is None else sent)
        sent_pieces = talk(a, b)
        assert a.commitment is not None
        assert b.commitment is not None
        self.log("p1", "m1", b.commitment, sent_pieces, b.keys())
        self.log("m1", "p1", a.commitment)

    def log(self, me: str, peer: str, found: Commitment, sent: list[bytes] | None = None, keys: bytes = b"") -> None:
        """What a party's agent does with a commitment."""
        node = Node.open(self.home(me))
        shape = found.shape
        committed = Committed(found.root, (shape.moduli, shape.columns, shape.blocks), shape.bytes, keys)
        facts = Facts(peer, committed, RANGES, Catalogue(self.home(me)).contracts if sent is not None else {})
        plan = SimpleNamespace(digest=lambda: PLAN)
        order = SimpleNamespace(iss=f"spiffe://{CONSORTIUM}/user/rosa")
        Openings(node).commit(SimpleNamespace(job=JOB, plan=plan, order=order), facts, sent)  # type: ignore[arg-type]
        node.close()

    def file(self, name: str) -> Path:
        return self.folder / name

    def run(self, home: str, *arguments: object) -> Ran:
        return CliRunner().invoke(app, [*map(str, arguments), "--home", str(self.home(home))])

    def did(self, home: str, *arguments: object) -> Any:
        ran = self.run(home, *arguments, "--json")
        assert ran.exit_code == 0, (ran.output, ran.exception)
        return json.loads(ran.stdout)

    def ask(self, *options: object, by: str = "ada", name: str = "request") -> Any:
        wanted = ("--values", "p1", "--counterpart", "m1", "--blocks", 4, "--out", self.file(name))
        return self.did(by, "ask", JOB, *wanted, *options)

    def open(self, party: str, name: str = "request") -> Any:
        return self.did(party, "open", self.file(name), "--out", self.file(f"{party}-{name}"))

    def answers(self) -> tuple[object, ...]:
        """Options that name both parties' answers."""
        return "--values", self.file("p1-request"), "--counterpart", self.file("m1-request")

    def check(self, *options: object, values: bool = True) -> tuple[int, dict[str, Any]]:
        """Exit code and result of the auditor's check."""
        named = self.answers() if values else self.answers()[2:]
        ran = self.run("ada", "check-opening", self.file("request"), *named, *options, "--json")
        assert ran.exit_code in {0, 5}, (ran.output, ran.exception)
        return ran.exit_code, json.loads(ran.stdout)

    def audit(self) -> tuple[int, dict[str, Any]]:
        """All of it."""
        self.ask()
        for party in ("p1", "m1"):
            self.open(party)
        return self.check()

    def entries(self, name: str) -> list[Entry]:
        return evidence(self.home(name), JOB)


def sides(column: I64, sent: I64) -> tuple[AttributeSide, ValueSide]:
    """Both sides of a join over amounts (keys,); the value side encrypts `sent`, whatever passed its checks."""
    terms = JoinTerms(bytes(32), "ot", 1, ((0, 0), (0, 1)), (1,), (1, MOST))
    items = [b"key %d" % number for number in range(len(column))]
    a = AttributeSide(terms, items, np.zeros(len(items), np.int64), np.ones((len(items), 1), np.int64))
    b = ValueSide(terms, items, np.stack([np.ones_like(column), np.clip(column, 0, MOST)], axis=1))
    b._right = np.stack([np.ones_like(sent), sent], axis=1)
    return a, b


def talk(a: AttributeSide, b: ValueSide) -> list[bytes]:
    """Go through all turns; the keys and encrypted columns that were sent."""
    return pairs.committed(b, pairs.talk(a, b))
