"""A role of a join in a process of its own: two give shares of the table; what goes wrong is told in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from inbond.errors import JobFailed
from parties.join_process import JoinProcess, Turned, join_child
from protocols.errors import PeerViolation
from protocols.join.shares import open_table
from protocols.join.terms import JoinTerms
from protocols.join.turns import Engine, turns
from protocols.psi.items import distinct

MEMORY = 8 << 30
ITEMS = [b"key %d" % number for number in range(60)]
GROUPS = np.arange(40) % 2
AMOUNTS = np.stack([np.ones(40, np.int64), np.arange(40)], axis=1)


def terms(engine: Engine, **changes: Any) -> JoinTerms:
    fields: dict[str, Any] = {
        "groups": 2,
        "outputs": ((0, 0), (0, 1)),
        "left_limits": (1,),
        "right_limits": (1, 100),
        **changes,
    }
    return JoinTerms(bytes(32), engine, **fields)


@contextmanager
def pair(engine: Engine, **changes: int) -> Iterator[tuple[JoinProcess, JoinProcess]]:
    """An attribute side with keys 0 to 39 and a value side with keys 20 to 59."""
    left, right = JoinProcess(60.0, join_child(MEMORY)), JoinProcess(60.0, join_child(MEMORY))
    try:
        left.open("b", terms(engine, **changes), distinct(ITEMS[:40]), GROUPS, np.ones((40, 1), np.int64))
        right.open("a", terms(engine, **changes), distinct(ITEMS[20:]), None, AMOUNTS)
        yield left, right
    finally:
        left.kill()
        right.kill()


def talk(left: JoinProcess, right: JoinProcess, engine: Engine) -> tuple[list[Turned], list[Turned]]:
    """Without parts both sides have as many turns, and none waits for a later one."""
    sent: tuple[list[Turned], list[Turned]] = ([], [])
    for number, (ours, theirs) in enumerate(zip(*turns(engine, 1), strict=True), 1):
        sent[0].append(left.step("b", number, sent[1][ours - 1].mail if ours else None))
        sent[1].append(right.step("a", number, sent[0][theirs - 1].mail if theirs else None))
    return sent


@pytest.mark.parametrize("engine", ["ot", "ec-hidden"])
def test_two_processes_end_with_shares_of_the_table(engine: Engine) -> None:
    with pair(engine) as (left, right):
        talk(left, right, engine)
        ours, theirs = left.end("b"), right.end("a")
    table = open_table(ours.shares + theirs.shares, terms(engine).moduli)
    assert table[:, 0].tolist() == [10, 10]
    assert table[:, 1].tolist() == [sum(range(0, 20, 2)), sum(range(1, 20, 2))]
    assert ours.matched.tolist() == ([False] * 20 + [True] * 20 if engine == "ot" else [])
    assert (theirs.matched.tolist(), ours.left_out) == ([], ())


@pytest.mark.parametrize("engine", ["ot", "ec-hidden"])
def test_both_processes_tell_to_what_the_value_side_is_bound_and_only_its_own_tells_the_keys(engine: Engine) -> None:
    with pair(engine) as (left, right):
        sent = talk(left, right, engine)
    assert [one.committed is not None for one in sent[0]] == [False, False, False, True]
    assert [one.committed is not None for one in sent[1]] == [False, False, True, True]
    ours, theirs, mail = sent[0][3].committed, sent[1][2].committed, sent[1][2].mail
    assert ours is not None
    assert theirs is not None
    assert mail is not None
    assert ours[:3] == theirs[:3]
    assert [one.bound > 0 for one in sent[1]] == [False, True, True, False]
    assert sum(one.bound for one in sent[1]) == ours.size
    assert len(mail) > sent[1][2].bound
    assert (ours.shape, ours.keys, len(theirs.keys)) == ((1, 2, 1), b"", 8192)


def test_lists_below_the_minimum_are_left_out_of_a_hidden_join() -> None:
    with pair("ec-hidden", minimum=21) as (left, right):
        talk(left, right, "ec-hidden")
        assert left.end("b").left_out == (0, 1)


def test_a_hostile_mail_is_a_violation_and_the_process_goes_no_further() -> None:
    with pair("ot") as (left, right):
        right.step("a", 1, None)
        left.step("b", 1, None)
        with pytest.raises(PeerViolation, match="wrong length"):
            left.step("b", 2, b"\0" * 9)
        with pytest.raises(PeerViolation, match="out of order"):
            left.step("b", 3, b"")


def test_a_set_ten_times_the_agreed_one_ends_the_join_at_both() -> None:
    """Attack 7: whoever blows its set up is stopped by itself, or else by its counterpart."""
    with pair("ot") as (left, right):
        with pytest.raises(JobFailed, match="larger than agreed"):
            left.open("c", terms("ot", largest=(4, 4)), distinct(ITEMS[:40]), GROUPS, np.ones((40, 1), np.int64))
        opening = left.step("b", 1, None).mail
        right.open("c", terms("ot", largest=(4, 64)), distinct(ITEMS[20:]), None, AMOUNTS)
        right.step("c", 1, None)
        with pytest.raises(PeerViolation, match="announced size is not allowed"):
            right.step("c", 2, opening)


def test_rows_beyond_what_the_contract_says_are_this_partys_own_fault() -> None:
    with pair("ot") as (left, _), pytest.raises(JobFailed, match="left column passes its limit"):
        left.open("c", terms("ot"), distinct(ITEMS[:40]), GROUPS, np.full((40, 1), 2, np.int64))


def test_a_process_that_is_gone_is_told_in_one_line() -> None:
    with pair("ot") as (left, _):
        left.kill()
        with pytest.raises(JobFailed, match="gone or too slow"):
            left.step("b", 1, None)
