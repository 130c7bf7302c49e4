"""The encrypted sum of a float32 update by three parties, beside CKKS as NVFLARE sets it up, in one process.

Times are minima over passes: the least disturbed one on a machine that other programs share.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import tenseal

from benchmarks.row import Row
from protocols import bfv
from protocols.masking import EpochKey
from protocols.packing import F32
from protocols.params import SHARED_2048
from protocols.secure_sum import SumSpec, contribute, open_sum

PARTIES = ("bonded-warehouse", "merchant", "payments")
CLIP = 0.25
PASSES = 9
PEER_PASSES = 3
CKKS = "NVFLARE 2.9 default CKKS parameters (TenSEAL)"
NVFLARE = "NVFLARE 2.9 weighted helper and FOBS"

T = TypeVar("T")


@dataclass(frozen=True)
class Figures:
    """Seconds of one client and of the coordinator, bytes up per parameter, largest error of the sum."""

    client: float
    coordinator: float
    up: float
    error: float | None


def run(params: int = 1_000_000) -> list[Row]:
    """Measure ours, TenSEAL's CKKS under NVFLARE's parameters, and NVFLARE itself where it is installed."""
    updates = [np.random.default_rng(i).normal(0, 0.02, params).astype(np.float32) for i in range(len(PARTIES))]
    ours = _ours(updates)
    rows = _rows(ours, CKKS, _ckks(updates), "TenSEAL with one thread; sum error about 1e-9, ours a 16-bit grid")
    if find_spec("nvflare"):
        return rows + _rows(ours, NVFLARE, _nvflare(updates), "")
    note = "not installed: pip install nvflare==2.9.0 in an environment of its own, and run this there"
    return rows + _rows(ours, NVFLARE, None, note)


def _rows(ours: Figures, peer: str, theirs: Figures | None, note: str) -> list[Row]:
    def row(metric: str, unit: str, name: str, goal: str) -> Row:
        mine, other = getattr(ours, name), getattr(theirs, name, None)
        return Row(metric, unit, mine, peer, other, mine / other if other else None, goal, note)

    return [
        row("sum_client_s_1M", "s", "client", "<= 0.09"),
        row("sum_up_bytes_per_param", "B", "up", "<= 3.9"),
        row("sum_coordinator_s_1M_3p", "s", "coordinator", "<= 0.08"),
        row("sum_max_abs_error", "", "error", f"< {len(PARTIES)} steps of {2 * CLIP / (2**16 - 1):.1e}"),
    ]


def _least(work: Callable[[], T], passes: int) -> tuple[float, T]:
    """Least seconds over some passes, and the last result."""
    times = []
    for _ in range(passes):
        start = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - start)
    return min(times), result


def _error(total: npt.NDArray[np.floating[Any]], updates: list[F32]) -> float:
    return float(np.abs(total - np.sum(updates, axis=0, dtype=np.float64)).max())


def _ours(updates: list[F32]) -> Figures:
    keys = {name: EpochKey.generate() for name in PARTIES}
    public = {name: key.public for name, key in keys.items()}
    count = updates[0].size
    spec = SumSpec("benchmark", bytes(32), "round", 1, 0, PARTIES, public, count, CLIP, 1, SHARED_2048.name, bytes(32))
    secret = bfv.generate_secret_key(SHARED_2048)
    encryptor, one = bfv.Encryptor(SHARED_2048, secret), np.ones(1, np.int64)

    def client(index: int) -> bytes:
        name = PARTIES[index]
        return encryptor.encrypt(contribute(spec, name, keys[name], updates[index], one))

    seconds, first = _least(lambda: client(0), PASSES)
    blobs = [first, client(1), client(2)]
    coordinator, total = _least(lambda: bfv.add(SHARED_2048, blobs), PASSES)
    opened = open_sum(spec, bfv.Decryptor(SHARED_2048, secret).decrypt(total))
    return Figures(seconds, coordinator, len(first) / count, _error(opened.reals, updates))


def _ckks_context() -> Any:
    """What NVFLARE's provisioning builds: degree 8192, coefficient bits 60/40/40, scale 2**40, symmetric."""
    context = tenseal.context(
        tenseal.SCHEME_TYPE.CKKS,
        8192,
        coeff_mod_bit_sizes=[60, 40, 40],
        encryption_type=tenseal.ENCRYPTION_TYPE.SYMMETRIC,
        n_threads=1,
    )
    context.generate_relin_keys()
    context.global_scale = 2**40
    return context


def _ckks(updates: list[F32]) -> Figures:
    context = _ckks_context()
    public = tenseal.context_from(context.serialize(save_secret_key=False))

    def add(blobs: list[bytes]) -> bytes:
        first, *rest = (tenseal.ckks_vector_from(public, blob) for blob in blobs)
        return bytes(sum(rest, first).serialize())

    client, first = _least(lambda: tenseal.ckks_vector(context, updates[0]).serialize(), PEER_PASSES)
    blobs = [first, *(tenseal.ckks_vector(context, u).serialize() for u in updates[1:])]
    coordinator, total = _least(lambda: add(blobs), PEER_PASSES)
    opened = np.array(tenseal.ckks_vector_from(context, total).decrypt(), np.float64)
    return Figures(client, coordinator, len(first) / updates[0].size, _error(opened, updates))


def _nvflare(updates: list[F32]) -> Figures:
    from nvflare.app_common.aggregators.weighted_aggregation_helper import WeightedAggregationHelper
    from nvflare.app_opt.he import decomposers
    from nvflare.fuel.utils import fobs

    decomposers.register()
    context = _ckks_context()

    def client(index: int) -> bytes:
        return bytes(fobs.dumps({"w": tenseal.ckks_vector(context, updates[index] * np.float64(10))}))

    def add(blobs: list[bytes]) -> bytes:
        helper = WeightedAggregationHelper(weigh_by_local_iter=False)
        for index, blob in enumerate(blobs):
            helper.add(fobs.loads(blob), 10.0, PARTIES[index], 0)
        return bytes(fobs.dumps(helper.get_result()))

    seconds, first = _least(lambda: client(0), PEER_PASSES)
    coordinator, _ = _least(lambda: add([first, client(1), client(2)]), PEER_PASSES)
    return Figures(seconds, coordinator, len(first) / updates[0].size, None)
