"""Terms are checked when they are made, and everything in them changes the session."""

from dataclasses import replace

import pytest

from protocols.errors import MisuseError
from protocols.join.terms import MAX_REPLIES, MODULI, MOST, JoinTerms, session_of
from tests.protocols.join.pairs import TERMS


@pytest.mark.parametrize(
    "changes",
    [
        {"session": bytes(31)},
        {"engine": "plain"},
        {"groups": 0},
        {"groups": MAX_REPLIES},
        {"outputs": ()},
        {"outputs": ((0, 2),)},
        {"outputs": ((-1, 0),)},
        {"left_limits": (0, 1)},
        {"right_limits": (1 << 62, 1)},
        {"pairs": 0},
        {"minimum": 0},
        {"largest": (0, 1)},
        {"largest": (1, MOST + 1)},
    ],
    ids=str,
)
def test_terms_out_of_range_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(MisuseError):
        replace(TERMS, **changes)  # type: ignore[arg-type]


def test_every_term_and_size_changes_the_session_of_an_engine() -> None:
    changed: list[JoinTerms] = [
        TERMS,
        replace(TERMS, session=bytes(32)),
        replace(TERMS, engine="ec-hidden"),
        replace(TERMS, groups=4),
        replace(TERMS, outputs=((0, 0),)),
        replace(TERMS, left_limits=(1, 1)),
        replace(TERMS, right_limits=(1, 1)),
        replace(TERMS, wide=True),
        replace(TERMS, pairs=2),
        replace(TERMS, largest=(5, 5)),
        replace(TERMS, minimum=2),
    ]
    sessions = [terms.bound("ot", 1) for terms in changed]
    sessions += [TERMS.bound("ec-hidden", 1), TERMS.bound("ot", 2), TERMS.bound("ot", 1, 1)]
    assert len(set(sessions)) == len(sessions)


def test_sessions_name_the_job_and_both_parties_in_their_roles() -> None:
    names = [(bytes(32), "a", "b"), (bytes(32), "b", "a"), (bytes(32), "a", "bb"), (b"1" * 32, "a", "b")]
    assert len({session_of(*name) for name in names}) == 4


def test_sums_have_room_for_all_pairs() -> None:
    assert TERMS.largest_sum == MODULI[0] // 2
    assert replace(TERMS, pairs=3).largest_sum == MODULI[0] // 2 // 3
    assert replace(TERMS, wide=True).largest_sum == (1 << 63) - 1
    assert replace(TERMS, wide=True).shape == (2, 3, 3)
