"""The tree of RFC 6962: golden vectors, and proofs that hold for every size and fail when touched."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compliance.errors import InvalidProof
from compliance.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    nodes_of,
    root_of,
    verify_consistency,
    verify_inclusion,
)

VECTORS = Path(__file__).parents[1] / "vectors" / "merkle"
LEAVES = [leaf_hash(bytes([number])) for number in range(70)]


def vector(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text())


def standard_leaves() -> list[bytes]:
    texts = vector("roots_of_the_first_n_standard_leaves")["leaves"]
    return [leaf_hash(bytes.fromhex(text)) for text in texts]


def test_leaf_and_node_hashes_are_those_of_the_rfc() -> None:
    known = vector("single_leaf_and_node_hashes")
    assert leaf_hash(known["leaf"]["data"].encode()).hex() == known["leaf"]["hash"]
    assert node_hash(known["node"]["left"].encode(), known["node"]["right"].encode()).hex() == known["node"]["hash"]


def test_roots_of_the_standard_leaves() -> None:
    leaves = standard_leaves()
    for size, root in enumerate(vector("roots_of_the_first_n_standard_leaves")["roots"]):
        assert root_of(leaves[:size]).hex() == root
    assert root_of([]) == EMPTY_ROOT


def test_inclusion_proofs_of_the_standard_tree() -> None:
    leaves = standard_leaves()
    for known in vector("inclusion_proofs_in_the_standard_tree")["proofs"]:
        proof = inclusion_proof(known["index"], known["size"], nodes_of(leaves))
        assert [each.hex() for each in proof] == known["hashes"]


def test_consistency_proofs_of_the_standard_tree() -> None:
    leaves = standard_leaves()
    for known in vector("consistency_proofs_in_the_standard_tree")["proofs"]:
        proof = consistency_proof(known["old"], known["new"], nodes_of(leaves))
        assert [each.hex() for each in proof] == known["hashes"]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13, 31, 32, 33])
def test_every_leaf_of_every_size_has_a_proof_of_exact_length(size: int) -> None:
    root = root_of(LEAVES[:size])
    for index in range(size):
        proof = inclusion_proof(index, size, nodes_of(LEAVES[:size]))
        verify_inclusion(LEAVES[index], index, size, proof, root)
        for wrong in ([*proof, proof[-1] if proof else root], proof[:-1] if proof else [root]):
            with pytest.raises(InvalidProof):
                verify_inclusion(LEAVES[index], index, size, wrong, root)


@pytest.mark.parametrize("new", [1, 2, 3, 7, 8, 9, 21, 32, 33])
def test_every_prefix_of_every_size_is_consistent_with_a_proof_of_exact_length(new: int) -> None:
    new_root = root_of(LEAVES[:new])
    for old in range(1, new + 1):
        old_root = root_of(LEAVES[:old])
        proof = consistency_proof(old, new, nodes_of(LEAVES[:new]))
        verify_consistency(old, new, old_root, new_root, proof)
        with pytest.raises(InvalidProof):
            verify_consistency(old, new, old_root, new_root, [*proof, new_root])
        if proof:
            with pytest.raises(InvalidProof):
                verify_consistency(old, new, old_root, new_root, proof[:-1])
            with pytest.raises(InvalidProof):
                verify_consistency(old, new, root_of(LEAVES[1 : old + 1]), new_root, proof)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_proof_with_any_bit_flipped_is_refused(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 70))
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(index, size, nodes_of(LEAVES[:size]))
    at, bit = data.draw(st.integers(0, len(proof) - 1)), data.draw(st.integers(0, 255))
    flipped = bytearray(proof[at])
    flipped[bit // 8] ^= 1 << bit % 8
    with pytest.raises(InvalidProof):
        verify_inclusion(
            LEAVES[index],
            index,
            size,
            [*proof[:at], bytes(flipped), *proof[at + 1 :]],
            root_of(LEAVES[:size]),
        )


@settings(max_examples=60, deadline=None)
@given(
    st.integers(-2, 2**70),
    st.integers(-2, 2**70),
    st.lists(st.binary(min_size=0, max_size=33), max_size=80),
)
def test_whatever_arrives_as_a_proof_is_answered_with_invalid_proof(a: int, b: int, proof: list[bytes]) -> None:
    with pytest.raises(InvalidProof):
        verify_inclusion(LEAVES[0], a, b, proof, LEAVES[1])
    with pytest.raises(InvalidProof):
        verify_consistency(a, b, LEAVES[0], LEAVES[1], proof)


def test_a_frontier_survives_its_bytes_and_keeps_at_most_one_hash_per_level() -> None:
    frontier = Frontier()
    for size, leaf in enumerate(LEAVES, start=1):
        frontier.append(leaf)
        again = Frontier.from_bytes(size, frontier.to_bytes())
        assert again.root() == frontier.root() == root_of(LEAVES[:size])
        assert len(frontier.to_bytes()) == 32 * size.bit_count()


@pytest.mark.parametrize(("size", "data"), [(1, b""), (2, bytes(64)), (3, bytes(63)), (-1, bytes(32))])
def test_a_frontier_that_does_not_fit_its_size_is_refused(size: int, data: bytes) -> None:
    with pytest.raises(InvalidProof, match="frontier"):
        Frontier.from_bytes(size, data)
