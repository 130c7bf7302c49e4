"""The floor of elliptic-curve matching: what its calls of libsodium take alone, one after the other on one core.

Each side hashes and blinds every item of its own, and raises every item of the other's; both do so at the same time.
Nothing is sent, compared or kept here. Usage: python -m benchmarks.ristretto [ITEMS]
"""

import os
import sys
import time
from collections.abc import Callable

import numpy as np

from protocols.psi import ristretto

ITEMS = 4000


def microseconds(call: Callable[[], object], items: int) -> float:
    """Of one item, in the best of three passes."""
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best / items * 1e6


def main(items: int) -> None:
    """Print the microseconds of each call, and the seconds that a side needs for 100,000 items."""
    uniform = np.frombuffer(os.urandom(ristretto.UNIFORM * items), np.uint8).reshape(items, -1)
    points, scalar = ristretto.random_points(items), ristretto.random_scalar()
    hashed = microseconds(lambda: ristretto.hash_all(uniform, threads=1), items)
    blinded = microseconds(lambda: ristretto.multiply_all(scalar, points, threads=1), items)
    raised = microseconds(lambda: ristretto.agree_all(scalar, points, threads=1), items)
    print(f"hash {hashed:.1f} us, blind {blinded:.1f} us, raise {raised:.1f} us an item")
    print(f"a side of 100,000 items needs {(hashed + blinded + raised) / 10:.2f} s of one core")


if __name__ == "__main__":
    asked = sys.argv[1] if len(sys.argv) > 1 else str(ITEMS)
    if not (asked.isascii() and asked.isdigit() and 0 < int(asked) <= 1_000_000):
        sys.exit(f"benchmarks.ristretto: {asked} is no number of items; write one from 1 to 1000000")
    main(int(asked))
