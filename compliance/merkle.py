"""Merkle tree of RFC 6962 section 2.1 (RFC 9162 section 2.1 is the same): roots, frontier, proofs.

Relies on SHA-256 being collision resistant. A proof shows its reader only sibling hashes, so a leaf that
can be guessed (few possible values) can be confirmed by whoever holds its neighbour's proof.

A node is named by its level (0: leaf hashes) and its index at that level; node (l, i) covers the leaves
[i * 2^l, (i + 1) * 2^l). Every hash is 32 bytes.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence

from compliance.errors import InvalidProof

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
"""MTH({}) of RFC 6962 section 2.1."""

NodeReader = Callable[[int, int], bytes]
"""(level, index) -> hash of that perfect subtree."""

_sha256 = hashlib.sha256


def leaf_hash(data: bytes) -> bytes:
    """Hash of one entry: SHA-256(0x00 || data), RFC 6962 section 2.1."""
    return _sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an interior node: SHA-256(0x01 || left || right), RFC 6962 section 2.1."""
    return _sha256(b"\x01" + left + right).digest()


def perfect_subtrees(start: int, end: int) -> list[tuple[int, int]]:
    """Split the leaves [start, end) into the fewest whole nodes, as (level, index), left to right."""
    nodes = []
    while start < end:
        level = (end - start).bit_length() - 1
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        nodes.append((level, start >> level))
        start += 1 << level
    return nodes


class Frontier:
    """The right edge of a growing tree: the roots of its perfect subtrees, largest first (log2(size) hashes).

    It is all that a log must remember in order to append and to compute its root.
    """

    __slots__ = ("_nodes", "_size")

    def __init__(self, size: int = 0, nodes: Iterable[bytes] = ()) -> None:
        """Take `size` leaves and their subtree roots; raises InvalidProof where the two do not fit."""
        self._size, self._nodes = size, list(nodes)
        if size < 0 or len(self._nodes) != size.bit_count():
            raise InvalidProof(
                f"{len(self._nodes)} nodes cannot be the frontier of {size} leaves",
                where="frontier",
                right="one node per one-bit of the size",
            )

    @property
    def size(self) -> int:
        """Number of leaves."""
        return self._size

    def append(self, leaf: bytes) -> list[bytes]:
        """Add a leaf hash; return the roots of the subtrees it completed, level 1 first (amortised one)."""
        completed = []
        rest = self._size
        while rest & 1:
            leaf = node_hash(self._nodes.pop(), leaf)
            completed.append(leaf)
            rest >>= 1
        self._nodes.append(leaf)
        self._size += 1
        return completed

    def root(self) -> bytes:
        """Root of the tree so far, in O(log size)."""
        return _fold(self._nodes)

    def copy(self) -> "Frontier":
        """Return an independent frontier of the same tree."""
        return Frontier(self._size, self._nodes)

    def to_bytes(self) -> bytes:
        """Serialise: the node hashes in order; the size travels beside it."""
        return b"".join(self._nodes)

    @classmethod
    def from_bytes(cls, size: int, data: bytes) -> "Frontier":
        """Read what `to_bytes` wrote; raises InvalidProof where size and bytes do not fit."""
        if len(data) % HASH_BYTES:
            raise InvalidProof(f"{len(data)} bytes", where="frontier", right=f"a multiple of {HASH_BYTES} bytes")
        return cls(size, [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)])


def _fold(nodes: Sequence[bytes]) -> bytes:
    """Join subtree roots, largest first, from the right, as the split at k in RFC 6962 section 2.1 does."""
    if not nodes:
        return EMPTY_ROOT
    root = nodes[-1]
    for left in reversed(nodes[:-1]):
        root = node_hash(left, root)
    return root


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Root over an iterable of leaf hashes, streaming."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()


def range_root(start: int, end: int, node: NodeReader) -> bytes:
    """MTH(D[start:end]) for a range that is a subtree of some tree (as those of proofs are)."""
    return _fold([node(level, index) for level, index in perfect_subtrees(start, end)])


def nodes_of(leaves: Sequence[bytes]) -> NodeReader:
    """Return a reader over leaf hashes held in memory; costs O(2^level) hashes per node."""
    return lambda level, index: root_of(leaves[index << level : (index + 1) << level])


def inclusion_proof(index: int, size: int, node: NodeReader) -> list[bytes]:
    """PATH(index, D[size]) of RFC 6962 section 2.1.1, leaf to root; raises InvalidProof for no such leaf."""
    _require(0 <= index < size, f"no leaf {index} in a tree of {size}")
    start, end, ranges = 0, size, []
    while end - start > 1:
        split = start + _split(end - start)
        if index < split:
            ranges.append((split, end))
            end = split
        else:
            ranges.append((start, split))
            start = split
    return [range_root(first, last, node) for first, last in reversed(ranges)]


def consistency_proof(old: int, new: int, node: NodeReader) -> list[bytes]:
    """PROOF(old, D[new]) of RFC 6962 section 2.1.2; empty for old = new; raises InvalidProof otherwise."""
    _require(0 < old <= new, f"no consistency proof from size {old} to size {new}")
    start, end, ranges = 0, new, []
    while end != old:
        split = start + _split(end - start)
        if old <= split:
            ranges.append((split, end))
            end = split
        else:
            ranges.append((start, split))
            start = split
    # SUBPROOF(m, D[m], true) is empty: the verifier knows the old root when it is itself a whole subtree.
    if start:
        ranges.append((start, end))
    return [range_root(first, last, node) for first, last in reversed(ranges)]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that leaf hash `leaf` is number `index` of the tree (RFC 9162 section 2.1.3.2).

    Raises InvalidProof unless the proof has the exact length and leads to `root`.
    """
    _require(0 <= index < size, f"no leaf {index} in a tree of {size}")
    _require_hashes([leaf, root, *proof])
    position, last, computed = index, size - 1, leaf
    for sibling in proof:
        _require(last != 0, "the inclusion proof is too long")
        if position & 1 or position == last:
            computed = node_hash(sibling, computed)
            position, last = _climb(position, last)
        else:
            computed = node_hash(computed, sibling)
        position, last = position >> 1, last >> 1
    _require(last == 0, "the inclusion proof is too short")
    _require(computed == root, f"the inclusion proof of leaf {index} does not lead to the root")


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of `old` leaves is a prefix of that of `new` (RFC 9162 section 2.1.4.2).

    Raises InvalidProof unless the proof has the exact length and leads to both roots.
    """
    _require(0 < old <= new, f"no consistency from size {old} to size {new}")
    _require_hashes([old_root, new_root, *proof])
    if old == new:
        _require(not proof, "the consistency proof of equal sizes is not empty")
        _require(old_root == new_root, f"two different roots for size {new}")
        return
    # An old tree that is one whole subtree is its own first proof element (step 2).
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    _require(len(path) > 0, "the consistency proof is too short")
    computed_old, computed_new = _walk_consistency(old - 1, new - 1, path)
    _require(computed_old == old_root, f"the consistency proof does not lead to the root of size {old}")
    _require(computed_new == new_root, f"the consistency proof does not lead to the root of size {new}")


def _walk_consistency(position: int, last: int, path: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Steps 3 to 6 of RFC 9162 section 2.1.4.2: the old and the new root that the path leads to."""
    while position & 1:
        position, last = position >> 1, last >> 1
    old_root = new_root = path[0]
    for sibling in path[1:]:
        _require(last != 0, "the consistency proof is too long")
        if position & 1 or position == last:
            old_root, new_root = node_hash(sibling, old_root), node_hash(sibling, new_root)
            position, last = _climb(position, last)
        else:
            new_root = node_hash(new_root, sibling)
        position, last = position >> 1, last >> 1
    _require(last == 0, "the consistency proof is too short")
    return old_root, new_root


def _climb(position: int, last: int) -> tuple[int, int]:
    """Skip the levels at which a right-edge node has no sibling, until `position` is odd or zero."""
    while not position & 1 and position:
        position, last = position >> 1, last >> 1
    return position, last


def _split(width: int) -> int:
    """Largest power of two smaller than `width`: the k of RFC 6962 section 2.1."""
    return 1 << ((width - 1).bit_length() - 1)


def _require_hashes(hashes: Iterable[bytes]) -> None:
    _require(all(len(each) == HASH_BYTES for each in hashes), "a hash is not of 32 bytes")


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise InvalidProof(what, where="Merkle proof", right="ask the log for a fresh proof")
