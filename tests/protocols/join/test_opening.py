"""An opening shows just the values that were sent; whatever was altered, in values, keys, noise or choice, is found."""

from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest

from protocols.errors import MisuseError, PeerViolation
from protocols.join.commitment import DIGEST, Commitment, Shape, challenged
from protocols.join.masked import ValueKey
from protocols.join.opening import Asked, Finding, check_opening, make_opening, ranges_of
from protocols.join.ring import DATA, DEGREE, FRESH_BYTES, KEY_BYTES
from protocols.join.roles import ValueSide
from protocols.join.terms import MODULI, JoinTerms
from protocols.psi.items import I64
from tests.protocols.join.pairs import HIDDEN, TERMS, committed, many_to_one, talk

MOST = 50_000
NONCE = bytes(range(32))


class Sender:
    """What a value side sends of `columns` (columns, rows), and what of it an auditor asks to see."""

    def __init__(self, columns: list[I64], moduli: int = 1, count: int = 8) -> None:
        self.keys = [ValueKey(modulus) for modulus in MODULI[:moduli]]
        blocks = np.stack([[key.encrypt(column) for column in columns] for key in self.keys])
        self.sent = b"".join(key.public for key in self.keys) + np.moveaxis(blocks, 2, 0).tobytes()
        self.shape = Shape(moduli, len(columns), -(-len(columns[0]) // DEGREE))
        self.secrets = b"".join(key.secret() for key in self.keys)
        root, ranges = Commitment.of(self.shape, self.sent).root, ((0, MOST),) * len(columns)
        self.asked = Asked(self.shape, root, NONCE, count, ranges)

    def opening(self) -> bytearray:
        return bytearray(make_opening(self.asked, self.sent, self.secrets))

    def found(self) -> tuple[Finding, ...]:
        return check_opening(self.asked, self.opening())


def column(rows: int = 100, seed: int = 0) -> I64:
    return np.random.default_rng(seed).integers(0, MOST, rows, endpoint=True)


@pytest.mark.parametrize("moduli", [1, 2])
def test_an_honest_opening_has_no_fault(moduli: int) -> None:
    assert Sender([column(), column(seed=1)], moduli).found() == ()


WIDE = replace(TERMS, wide=True)
TWO = replace(TERMS, wide=True, parts=2)


@pytest.mark.parametrize("terms", [TERMS, HIDDEN, WIDE, TWO], ids=["ot", "ec-hidden", "wide", "parts"])
def test_both_sides_of_a_join_commit_to_the_same_and_it_opens(terms: JoinTerms) -> None:
    a, b = many_to_one(terms, 300).sides()
    sent = b"".join(committed(b, talk(a, b)))
    assert a.commitment is not None
    assert b.commitment is not None
    assert (a.commitment.root, a.commitment.shape) == (b.commitment.root, b.commitment.shape)
    shape = b.commitment.shape
    assert len(sent) == shape.bytes
    asked = Asked(shape, a.commitment.root, NONCE, 8, ranges_of([(-(10**4), 10**4)], shape.columns))
    opening = make_opening(asked, sent, b.keys())
    assert check_opening(asked, opening) == ()
    close = replace(asked, ranges=((-(10**3), 10**3),) * shape.columns)
    found = check_opening(close, opening)
    assert {one.fault for one in found} == {"bounds"}, "the true values are what is judged"
    right = many_to_one(terms, 300).right
    first = [one for one in found if one.column == 0]
    assert sum(one.values for one in first) == int((abs(right[:, 0]) > 10**3).sum())


def test_values_out_of_bounds_are_counted_by_block_and_column() -> None:
    marked = np.minimum(2 ** np.arange(40), 2**38)
    sender = Sender([column(), np.concatenate([marked, column(60)])])
    assert sender.found() == (Finding("bounds", 0, 1, int((marked > MOST).sum())),)
    assert Sender([np.array([-1, 0, MOST, MOST + 1])]).found() == (Finding("bounds", 0, 0, 2),)


def test_a_number_beyond_one_modulus_is_found_in_both() -> None:
    assert Sender([np.array([2**41 + 7, 1])], 2).found() == (Finding("bounds", 0, 0, 1),)


def test_only_what_the_challenge_names_is_opened() -> None:
    sender = Sender([column(3 * DEGREE)], count=2)
    blocks = sender.asked.blocks
    assert len(set(blocks)) == 2
    assert set(blocks) <= {0, 1, 2}
    opening = sender.opening()
    assert len(opening) == 4 * DIGEST + DEGREE + KEY_BYTES + 2 * FRESH_BYTES
    (hidden,) = {0, 1, 2} - set(blocks)
    assert sender.sent[sender.shape.at(sender.shape.part(0, 0, hidden))] not in opening
    assert check_opening(sender.asked, opening) == ()


def test_challenges_follow_from_commitment_and_nonce_and_reach_every_block() -> None:
    root = sha256(b"root").digest()
    drawn = [challenged(root, bytes([nonce]) * 32, 50, 5) for nonce in range(200)]
    assert all(len(set(one)) == 5 and one == tuple(sorted(one)) for one in drawn)
    assert {block for one in drawn for block in one} == set(range(50))
    assert challenged(root, bytes(32), 50, 5) == challenged(root, bytes(32), 50, 5)
    assert challenged(bytes(32), bytes(32), 50, 5) != challenged(root, bytes(32), 50, 5)
    assert challenged(root, bytes(32), 3, 8) == (0, 1, 2)


@pytest.mark.parametrize("place", [0, 500 * 7, FRESH_BYTES - 65, FRESH_BYTES - 1])
def test_an_altered_ciphertext_is_found(place: int) -> None:
    sender = Sender([column()])
    opening = sender.opening()
    opening[len(opening) - FRESH_BYTES + place] ^= 1
    assert check_opening(sender.asked, opening) == (Finding("altered", 0, 0),)


def test_an_altered_key_is_found() -> None:
    sender = Sender([column()])
    for secret in (bytes(DEGREE), b"\2" * DEGREE, ValueKey(MODULI[0]).secret()):
        opening = sender.opening()
        opening[2 * DIGEST : 2 * DIGEST + DEGREE] = secret
        assert check_opening(sender.asked, opening) == (Finding("key"),)


def test_a_public_key_of_another_secret_is_found() -> None:
    """Its owner could choose the replies' second polynomials."""
    sender, other = Sender([column()]), ValueKey(MODULI[0])
    sender.sent = other.public + sender.sent[KEY_BYTES:]
    sender.asked = replace(sender.asked, root=Commitment.of(sender.shape, sender.sent).root)
    assert sender.found() == (Finding("key"),)


def test_blocks_under_different_keys_are_found() -> None:
    sender, other = Sender([column(), column()]), ValueKey(MODULI[0])
    sender.sent = sender.sent[:-FRESH_BYTES] + other.encrypt(column()).tobytes()
    sender.asked = replace(sender.asked, root=Commitment.of(sender.shape, sender.sent).root)
    assert sender.found() == (Finding("noise", 0, 1),)


def test_noise_that_is_not_seals_is_found() -> None:
    """It would show weights through the flood, if it were large."""
    sender = Sender([column()])
    body = bytearray(sender.sent)
    at = sender.shape.at(1).start
    for number, prime in enumerate(DATA):  # the same small number added modulo each prime
        place = at + number * DEGREE * 7
        word = (int.from_bytes(body[place : place + 7], "little") + 100) % prime
        body[place : place + 7] = word.to_bytes(7, "little")
    sender.sent = bytes(body)
    sender.asked = replace(sender.asked, root=Commitment.of(sender.shape, sender.sent).root)
    assert sender.found() == (Finding("noise", 0, 0),)


def test_an_opening_of_something_else_or_of_a_part_is_refused() -> None:
    sender, other = Sender([column()]), Sender([column()])
    with pytest.raises(MisuseError, match="committed"):
        make_opening(sender.asked, other.sent, other.secrets)
    with pytest.raises(PeerViolation, match="something else"):
        check_opening(sender.asked, other.opening())
    for cut in (0, 1, FRESH_BYTES):
        with pytest.raises(PeerViolation, match="wrong length"):
            check_opening(sender.asked, sender.opening()[: -1 - cut])
    with pytest.raises(PeerViolation, match="wrong length"):
        check_opening(sender.asked, sender.opening() + b"\0")


def test_there_are_no_keys_before_the_columns_are_sent() -> None:
    with pytest.raises(MisuseError, match="no keys yet"):
        ValueSide(TERMS, [b"a"], np.ones((1, 2), np.int64)).keys()


def test_the_root_is_bound_to_the_shape() -> None:
    digests = bytes(2 * DIGEST * 3)
    roots = {Commitment(shape, digests).root for shape in (Shape(1, 5, 1), Shape(1, 1, 5), Shape(2, 2, 1))}
    assert len(roots) == 3
