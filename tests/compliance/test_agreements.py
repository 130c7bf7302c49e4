"""Agreements hold when every side has signed just these terms, until one ends them, the days are over or uses are."""

import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from compliance.agreements import AgreementStore, Kept, Standing
from compliance.errors import InvalidLawEntry, LawStoreUnavailable, LogUnavailable, NotAgreed
from policies.agreement import Act, Agreement, SignedAgreement, sign_agreement
from policies.envelope import Signer
from policies.errors import InvalidIdentity
from policies.identity import TrustStore
from tests.policies.test_agreement import ACME, M1, NOW, P1, P2, agreement
from tests.policies.test_agreement_rules import SHARE
from tests.support.authority import TestAuthority


@dataclass
class World:
    """A store with a clock that the test moves and a log that the test reads."""

    path: Path
    now: datetime = NOW
    told: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def open(self) -> AgreementStore:
        return AgreementStore.open(self.path, lambda *told: self.told.append(told), clock=lambda: self.now)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "agreements.db")


def signed(terms: Agreement, *signers: Signer, act: Act = "agree") -> SignedAgreement:
    tokens = tuple(sign_agreement(terms, act, signer, NOW) for signer in signers)
    key = "signatures" if act == "agree" else "revocations"
    return SignedAgreement(agreement=terms).model_copy(update={key: tokens})


def standing(store: AgreementStore, trust: TrustStore = ACME.trust, now: datetime = NOW) -> list[Standing]:
    return [kept.standing(now) for kept in store.all(trust)]


def both(store: AgreementStore, terms: Agreement | None = None) -> Kept:
    return store.take(signed(terms or agreement(), M1, P1), ACME.trust)


def test_an_agreement_holds_when_the_last_side_has_signed_and_is_there_after_a_restart(world: World) -> None:
    with world.open() as store:
        assert store.take(signed(agreement(), M1), ACME.trust).standing(NOW) is Standing.PROPOSED
        assert store.take(signed(agreement(), P1), ACME.trust).standing(NOW) is Standing.HOLDS
    with AgreementStore.read_only(world.path) as reader:
        (kept,) = reader.all(ACME.trust)
        assert (kept.agreement, kept.agreed, kept.used) == (agreement(), frozenset({"m1", "p1"}), 0)
        assert reader.one(agreement().id[:4], ACME.trust) == kept
        assert len(kept.signed.signatures) == 2


def test_comparing_uses_nothing_and_says_of_each_whether_it_covers(world: World) -> None:
    with world.open() as store:
        both(store)
        store.take(signed(agreement(name="proposed"), M1), ACME.trust)
        both(store, agreement(name="narrow", leaks=["intersection size"]))
        told = len(world.told)
        found = store.compare([SHARE], ACME.trust)
        assert [(one.kept.agreement.name, one.covers) for one in found] == [
            ("fraud-2026", True),
            ("proposed", False),
            ("narrow", False),
        ]
        assert "proposed is proposed" in found[1].cause
        assert "narrow: the agreement does not allow this to become known" in found[2].cause
        assert store.uses_of(agreement().id) == []
        assert len(world.told) == told


def test_by_its_key_a_use_is_compared_with_the_agreement_that_it_is_of(world: World) -> None:
    with world.open() as store:
        both(store, agreement(uses=1))
        store.use("job-1", [SHARE], ACME.trust)
        both(store, agreement(name="later"))
        assert store.compare([SHARE], ACME.trust, key="job-2") == []
        (one,) = store.compare([SHARE], ACME.trust, key="job-1")
        assert (one.kept.agreement.uses, one.covers) == (1, True), "its own use does not stand in its way"
        with pytest.raises(InvalidLawEntry, match="something else"):
            store.compare([replace(SHARE, country="DE")], ACME.trust, key="job-1")
        store.take(signed(agreement(uses=1), P1, act="revoke"), ACME.trust)
        assert [one.covers for one in store.compare([SHARE], ACME.trust, key="job-1")] == [False]


def test_uses_are_told_by_key_with_their_state_newest_first(world: World) -> None:
    with world.open() as store:
        both(store)
        for key in ("job-1", "job-2", "job-3"):
            store.use(key, [SHARE], ACME.trust)
        store.commit("job-1")
        store.rollback("job-2")
        found = store.uses_of(agreement().id)
    states = [(one.key, one.state) for one in found]
    assert states == [("job-3", "open"), ("job-2", "rolled_back"), ("job-1", "committed")]
    assert {one.at for one in found} == {NOW}


def test_terms_that_cannot_be_read_stop_everything_that_rests_on_them(world: World) -> None:
    with world.open() as store:
        both(store)
    altered(world.path, "UPDATE agreements SET agreement = '{}'")
    with world.open() as store:
        for act in (
            store.all,
            lambda trust: store.compare([SHARE], trust),
            lambda trust: store.use("j", [SHARE], trust),
        ):
            with pytest.raises(LawStoreUnavailable, match="cannot be read"):
                act(ACME.trust)


def test_what_was_agreed_can_be_used_and_each_act_is_told(world: World) -> None:
    with world.open() as store:
        both(store)
        found = store.use("job-1", [SHARE], ACME.trust)
        store.commit("job-1")
        assert (found.agreement, found.left, found.decision.permitted) == (agreement().id, 2, True)
    events = [(data["event"], data.get("by")) for _, data in world.told]
    assert events == [
        ("agreement kept", None),
        ("agreement signed", "m1"),
        ("agreement signed", "p1"),
        ("agreement used", None),
        ("agreement use committed", None),
    ]


def test_with_one_signature_only_nothing_is_agreed(world: World) -> None:
    with world.open() as store:
        store.take(signed(agreement(), M1, M1), ACME.trust)
        with pytest.raises(NotAgreed, match="fraud-2026 is proposed"):
            store.use("job-1", [SHARE], ACME.trust)


def test_a_signature_on_other_terms_or_of_a_stranger_keeps_nothing(world: World) -> None:
    better = agreement(uses=1000)
    mixed = signed(better, M1).model_copy(
        update={"signatures": (*signed(better, M1).signatures, *signed(agreement(), P1).signatures)}
    )
    with world.open() as store:
        with pytest.raises(InvalidIdentity, match="other terms"):
            store.take(mixed, ACME.trust)
        stranger = signed(agreement(parties=["m1", "p1", "p2"]), P2).model_copy(update={"agreement": agreement()})
        with pytest.raises(InvalidIdentity):
            store.take(stranger, ACME.trust)
        assert store.all(ACME.trust) == []
    assert world.told == []


def altered(path: Path, statement: str) -> None:
    """What somebody with the file and without a key can do."""
    with closing(sqlite3.connect(path)) as base, base:
        for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            base.execute(f"DROP TRIGGER {name}")
        base.execute(statement)


def test_terms_that_were_altered_in_the_file_after_signing_are_signed_by_nobody(world: World) -> None:
    with world.open() as store:
        both(store)
    altered(world.path, "UPDATE agreements SET agreement = replace(agreement, '\"uses\":3', '\"uses\":99')")
    with world.open() as store:
        (kept,) = store.all(ACME.trust)
        assert (kept.agreement.uses, kept.agreed) == (99, frozenset())
        with pytest.raises(NotAgreed, match="proposed"):
            store.use("job-1", [SHARE], ACME.trust)


def test_a_signature_that_was_put_under_another_name_counts_for_its_signer(world: World) -> None:
    with world.open() as store:
        store.take(signed(agreement(), M1, M1), ACME.trust)
    altered(world.path, "UPDATE signatures SET signer = 'p1'")
    with world.open() as store:
        assert [kept.agreed for kept in store.all(ACME.trust)] == [{"m1"}]


def test_an_expired_agreement_covers_nothing(world: World) -> None:
    with world.open() as store:
        both(store)
        world.now = NOW.replace(year=2027)
        assert standing(store, now=world.now) == [Standing.OVER]
        with pytest.raises(NotAgreed, match="does not hold on this day"):
            store.use("job-1", [SHARE], ACME.trust)


def test_one_that_begins_later_is_ahead(world: World) -> None:
    with world.open() as store:
        assert both(store, agreement(valid_from="2026-06-16")).standing(NOW) is Standing.AHEAD
        with pytest.raises(NotAgreed, match="this day"):
            store.use("job-1", [SHARE], ACME.trust)


@pytest.mark.parametrize("ender", [M1, P1])
def test_any_side_ends_it_for_good(world: World, ender: Signer) -> None:
    with world.open() as store:
        both(store)
        store.use("job-1", [SHARE], ACME.trust)
        store.take(signed(agreement(), ender, act="revoke"), ACME.trust)
        both(store)  # signing again does not bring it back
        assert standing(store) == [Standing.REVOKED]
        for key in ("job-1", "job-2"):  # nor may a job go on that has begun
            with pytest.raises(NotAgreed, match="is revoked"):
                store.use(key, [SHARE], ACME.trust)


def test_nobody_ends_what_others_have_agreed(world: World) -> None:
    with world.open() as store:
        both(store)
        other = signed(agreement(parties=["m1", "p1", "p2"]), P2, act="revoke")
        with pytest.raises(InvalidIdentity):
            store.take(other.model_copy(update={"agreement": agreement()}), ACME.trust)
        assert standing(store) == [Standing.HOLDS]


def test_a_signer_who_is_denied_by_now_has_not_signed(world: World) -> None:
    authority = TestAuthority("acme.example", now=NOW)
    pair = [authority.node(f"party/{name}").signer for name in ("m1", "p1")]
    with world.open() as store:
        store.take(signed(agreement(), *pair), authority.trust)
        assert standing(store, authority.trust) == [Standing.HOLDS]
        authority.revoke(path="party/p1")
        assert standing(store, authority.trust) == [Standing.PROPOSED]
        with pytest.raises(NotAgreed):
            store.use("job-1", [SHARE], authority.trust)


def test_it_is_used_up_and_uses_are_there_after_a_restart(world: World) -> None:
    with world.open() as store:
        both(store)
        for number in range(3):
            store.use(f"job-{number}", [SHARE], ACME.trust)
    with world.open() as store:
        assert standing(store) == [Standing.USED_UP]
        with pytest.raises(NotAgreed, match="used up"):
            store.use("job-3", [SHARE], ACME.trust)
        assert store.use("job-2", [SHARE], ACME.trust).left == 0  # a job that is taken up again is the same use


def test_what_was_not_shared_is_taken_back_once(world: World) -> None:
    with world.open() as store:
        both(store, agreement(uses=1))
        store.use("job-1", [SHARE], ACME.trust)
        store.rollback("job-1")
        store.rollback("job-1")
        assert store.use("job-2", [SHARE], ACME.trust).left == 0
        store.commit("job-2")
        for act, key, what in (
            (store.rollback, "job-2", "already committed"),
            (store.commit, "job-1", "already rolled_back"),
            (store.commit, "job-9", "nothing was used"),
        ):
            with pytest.raises(InvalidLawEntry, match=what):
                act(key)


def test_a_key_is_good_for_one_job(world: World) -> None:
    with world.open() as store:
        both(store)
        store.use("job-1", [SHARE], ACME.trust)
        with pytest.raises(InvalidLawEntry, match="one key for one job"):
            store.use("job-1", [replace(SHARE, country="DE")], ACME.trust)
        store.rollback("job-1")
        with pytest.raises(InvalidLawEntry, match="rolled back"):
            store.use("job-1", [SHARE], ACME.trust)


def test_one_agreement_must_cover_it_all_and_the_refusal_says_what_each_lacks(world: World) -> None:
    with world.open() as store:
        with pytest.raises(NotAgreed, match="there is no agreement"):
            store.use("job-1", [SHARE], ACME.trust)
        both(store)
        both(store, agreement(name="elsewhere", recipients={"countries": ["US"], "ids": ["*"]}))
        with pytest.raises(NotAgreed) as caught:
            store.use("job-1", [SHARE, replace(SHARE, country="US")], ACME.trust)
        assert "fraud-2026: it would become readable in a country" in str(caught.value)
        assert "elsewhere: " in str(caught.value)
        assert store.use("job-1", [replace(SHARE, country="US")], ACME.trust).left == 2


def test_of_many_at_once_no_more_than_agreed_get_a_use(world: World) -> None:
    with world.open() as store:
        both(store)

    def attempt(number: int) -> bool:
        with world.open() as own:
            try:
                own.use(f"job-{number}", [SHARE], ACME.trust)
            except NotAgreed:
                return False
            return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(attempt, range(6))) == 3


def test_a_use_counts_through_a_crash(world: World) -> None:
    with world.open() as store:
        both(store, agreement(uses=1))
    script = f"""
import os, sqlite3
from pathlib import Path
from compliance.agreements import AgreementStore
store = AgreementStore.open(Path({str(world.path)!r}), lambda *_: None)
with store._transaction() as base:
    store._count(base, {agreement(uses=1).id!r}, "job-1", "asked", store._now())
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    with world.open() as store:
        assert standing(store) == [Standing.USED_UP]


def test_what_the_log_cannot_take_is_not_kept(world: World) -> None:
    def full(*_: object) -> None:
        raise LogUnavailable("disk full")

    with AgreementStore.open(world.path, full, clock=lambda: NOW) as store:
        with pytest.raises(LogUnavailable):
            both(store)
        assert store.all(ACME.trust) == []


@pytest.mark.parametrize("table", ["agreements", "signatures", "revocations", "uses", "use_ends"])
@pytest.mark.parametrize("statement", ["DELETE FROM {}", "UPDATE {} SET number = 7"])
def test_the_file_itself_refuses_changes(world: World, table: str, statement: str) -> None:
    with world.open() as store:
        both(store)
        store.use("job-1", [SHARE], ACME.trust)
        store.commit("job-1")
        store.take(signed(agreement(), M1, act="revoke"), ACME.trust)
    column = "use" if table == "use_ends" else "number"
    with closing(sqlite3.connect(world.path)) as base, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        base.execute(statement.format(table).replace("number", column))


def test_a_name_must_be_that_of_one(world: World) -> None:
    with world.open() as store:
        both(store)
        for prefix in ("", "zz"):
            with pytest.raises(InvalidLawEntry, match="inbond agreement list"):
                store.one(prefix, ACME.trust)


def test_a_signature_is_read_after_its_certificate_has_ended(world: World) -> None:
    with world.open() as store:
        both(store)
        world.now = NOW + timedelta(days=90)
        assert standing(store, now=world.now) == [Standing.HOLDS]
        assert store.use("job-1", [SHARE], ACME.trust).left == 2
