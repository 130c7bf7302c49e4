"""Packed BFV encryption of slots and the addition of ciphertexts, over SEAL as TenSEAL ships it.

Who learns what: the adder sees ciphertexts only; whoever holds the secret key opens sums. Relies on Ring-LWE
at the parameters of `params` (Brakerski, Crypto 2012; Fan and Vercauteren, ePrint 2012/144).

SEAL's own container is zstd inside nested headers, and SEAL 4.3 has known defects in reading hostile ones.
So no peer's ciphertext container ever reaches SEAL: on the wire a ciphertext is its bare coefficients, cut
to whole bytes, which we check against the primes and put into a template that our own SEAL wrote. A fresh
symmetric ciphertext has its second polynomial as the 64-byte seed of SEAL's generator, and so has a sum: the
added first polynomials and every summand's seed, half the bytes of a full sum. Thus adding takes no SEAL and
no key at all. Keys, which come from one signed peer, do pass through SEAL: outside tests and benchmarks
encrypt and decrypt in `inbond.cipher_process`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import tenseal.sealapi as seal

from protocols.containers import CIPHER_PREFIX, PLAIN_PREFIX, SEED_BYTES, SEED_PREFIX, U8, Bytes, Scratch, narrow, widen
from protocols.errors import MisuseError, PeerViolation
from protocols.packing import U64
from protocols.params import BfvParams, check_security

FRESH, SUM, SECRET, PUBLIC = 1, 2, 3, 4  # what a blob holds
MAX_ROWS = 1 << 14  # 67 million parameters at SHARED_2048; larger updates go by slices
_HEADER = struct.Struct("<4sBBHI8s")  # magic, version, kind, summands, rows, parameter tag
_MAGIC, _VERSION = b"IBHE", 1
_EXPAND = True  # let SEAL make its whole chain; with these primes that is one level
_BLOCK = 64  # rows unpacked at a time: 1-5 MB, whatever the number of rows


class _Ring:
    """SEAL's context for one parameter set, and the templates that turn coefficients into its objects."""

    def __init__(self, params: BfvParams) -> None:
        self.params = check_security(params)
        self.context = _context(params)
        self.scratch = Scratch()
        self.words = params.degree * len(params.primes)  # coefficients of one polynomial
        self._zeros = np.zeros(self.words, np.uint64)
        self._make_templates()

    def _make_templates(self) -> None:
        """Let SEAL write one ciphertext of zero under a throwaway key, and keep all but its coefficients."""
        key = seal.KeyGenerator(self.context).secret_key()
        fresh = seal.Encryptor(self.context, key).encrypt_zero_symmetric()
        seeded, raw = self.scratch.template(fresh, CIPHER_PREFIX + 8 * self.words + SEED_PREFIX + SEED_BYTES)
        self._seeded = seeded + raw[:CIPHER_PREFIX]
        self._seed_prefix = raw[CIPHER_PREFIX + 8 * self.words : -SEED_BYTES]
        cipher = seal.Ciphertext()
        cipher.load(self.context, self.scratch.path)
        full, raw = self.scratch.template(cipher, CIPHER_PREFIX + 16 * self.words)
        self._full = full + raw[:CIPHER_PREFIX]
        plain = seal.Plaintext()
        plain.resize(self.params.degree)
        head, raw = self.scratch.template(plain, PLAIN_PREFIX + 8 * self.params.degree)
        self._plain = head + raw[:PLAIN_PREFIX]

    def plaintext(self, slots: U64) -> Any:
        """One row of slots (degree,) as SEAL's plaintext."""
        plain = seal.Plaintext()
        self.scratch.put(self._plain, slots.data)
        plain.load(self.context, self.scratch.path)
        return plain

    def slots(self, plain: Any, row: U64) -> None:
        """Write SEAL's plaintext to one row of slots (degree,); SEAL leaves leading zeros out."""
        count = plain.coeff_count()
        raw = self.scratch.raw(plain, PLAIN_PREFIX + 8 * count)
        row[:count] = np.frombuffer(raw, "<u8", count, PLAIN_PREFIX)
        row[count:] = 0

    def split_seeded(self, fresh: Any) -> tuple[U64, bytes]:
        """A fresh symmetric ciphertext as its first polynomial (primes * degree,) and its seed."""
        raw = self.scratch.raw(fresh, CIPHER_PREFIX + 8 * self.words + SEED_PREFIX + SEED_BYTES)
        return np.frombuffer(raw, "<u8", self.words, CIPHER_PREFIX), bytes(raw[-SEED_BYTES:])

    def split_full(self, cipher: Any) -> U64:
        """A ciphertext as its two polynomials (2 * primes * degree,)."""
        raw = self.scratch.raw(cipher, CIPHER_PREFIX + 16 * self.words)
        return np.frombuffer(raw, "<u8", 2 * self.words, CIPHER_PREFIX)

    def load_full(self, words: U64) -> Any:
        """The ciphertext of two polynomials `words` (2, primes, degree)."""
        cipher = seal.Ciphertext()
        self.scratch.put(self._full, words.data)
        cipher.load(self.context, self.scratch.path)
        return cipher

    def load_seeded(self, words: U64, seeds: Iterable[U8]) -> Any:
        """The ciphertext of first polynomial `words` and the sum of what the seeds expand to."""
        total, evaluator = None, seal.Evaluator(self.context)
        for seed in seeds:
            cipher = seal.Ciphertext()
            self.scratch.put(self._seeded, words.data, self._seed_prefix, seed.data)
            cipher.load(self.context, self.scratch.path)
            if total is None:
                total, words = cipher, self._zeros
            else:
                evaluator.add_inplace(total, cipher)
        return total


@lru_cache(maxsize=4)
def _ring(params: BfvParams) -> _Ring:
    return _Ring(params)


def _context(params: BfvParams) -> Any:
    settings = seal.EncryptionParameters(seal.SCHEME_TYPE.BFV)
    settings.set_poly_modulus_degree(params.degree)
    settings.set_coeff_modulus([seal.Modulus(prime) for prime in params.primes])
    settings.set_plain_modulus(seal.Modulus(params.plain_modulus))
    context = seal.SEALContext(settings, _EXPAND, seal.SEC_LEVEL_TYPE.TC128)
    if not context.parameters_set() or context.using_keyswitching():
        raise MisuseError(
            f"SEAL refuses the parameters ({context.parameters_error_name()})",
            where=params.name,
            right="use a set from protocols.params",
        )
    return context


# ---- blobs
# --------------------------------------------------------------------------------------------------


def blob_bytes(params: BfvParams, rows: int, summands: int = 1) -> int:
    """Exact length of a FRESH blob (one summand) or a SUM blob of `rows` ciphertexts."""
    polynomials = 1 if params.symmetric else 2
    seeds = SEED_BYTES * summands if params.symmetric else 0
    words = polynomials * params.degree * len(params.primes)
    return _HEADER.size + rows * (words * params.word_bytes + seeds)


@dataclass(frozen=True)
class _Blob:
    """A blob whose header and length have been checked.

    `body` is (rows, bytes); `seeds` is (summands, rows, 64), with no summands for public-key parameter sets.
    """

    params: BfvParams
    rows: int
    body: U8
    seeds: U8

    @classmethod
    def parse(cls, params: BfvParams, blob: Bytes, kind: int) -> _Blob:
        """Read a blob; lengths are compared before anything of its size is allocated.

        Raises:
            PeerViolation: another kind or parameter set, a length that does not follow from the header.
        """
        found, summands, rows = _read_header(params, blob)
        _require(found == kind, "a ciphertext blob of the wrong kind", "add fresh ones, decrypt sums")
        _require(
            1 <= summands <= (params.max_summands if kind == SUM else 1),
            "a ciphertext blob has a wrong number of summands",
            f"add at most {params.max_summands}",
        )
        fits = 1 <= rows <= MAX_ROWS and len(blob) == blob_bytes(params, rows, summands)
        _require(fits, "a ciphertext blob has the wrong length", "send it whole")
        data = np.frombuffer(blob, np.uint8, offset=_HEADER.size)
        split = blob_bytes(params, rows, 0) - _HEADER.size
        seeds = data[split:].reshape(-1, rows, SEED_BYTES)
        return cls(params, rows, data[:split].reshape(rows, -1), seeds)

    def words(self, start: int) -> U64:
        """Coefficients (block, polynomials, primes, degree) of a block of rows, each below its prime.

        Raises:
            PeerViolation: a coefficient is not reduced, or a second polynomial is zero (a transparent
            ciphertext,
                which would be readable by anybody).
        """
        block = widen(self.body[start : start + _BLOCK], self.params.word_bytes)
        words = block.reshape(len(block), -1, len(self.params.primes), self.params.degree)
        limit = np.array(self.params.primes, np.uint64)[:, None]
        _require(bool((words < limit).all()), "a coefficient exceeds its prime", "reduce it")
        if not self.params.symmetric:
            _require(bool(words[:, 1].any(axis=(1, 2)).all()), "a ciphertext is transparent", "encrypt it")
        return words


def _read_header(params: BfvParams, blob: Bytes) -> tuple[int, int, int]:
    """Kind, summands and rows of a blob of this parameter set."""
    _require(len(blob) >= _HEADER.size, "a blob is shorter than its header", "send it whole")
    magic, version, kind, summands, rows, tag = _HEADER.unpack_from(blob)
    _require((magic, version) == (_MAGIC, _VERSION), "not a blob of this version", "send IBHE version 1")
    _require(tag == params.tag, "a blob has other parameters", f"use {params.name}")
    return kind, summands, rows


def _header(params: BfvParams, kind: int, rows: int, summands: int = 0) -> bytes:
    return _HEADER.pack(_MAGIC, _VERSION, kind, summands, rows, params.tag)


def _require(condition: bool, what: str, right: str) -> None:
    if not condition:
        raise PeerViolation(what, where="bfv", right=right)


# ---- keys
# ---------------------------------------------------------------------------------------------------


def generate_secret_key(params: BfvParams) -> bytes:
    """Make a secret key."""
    return generate_key_pair(params)[0]


def generate_key_pair(params: BfvParams) -> tuple[bytes, bytes]:
    """Make a key pair: (secret, public)."""
    ring = _ring(params)
    generator = seal.KeyGenerator(ring.context)
    public = seal.PublicKey()
    generator.create_public_key(public)
    secret = _header(params, SECRET, 0) + ring.scratch.save(generator.secret_key())
    return secret, _header(params, PUBLIC, 0) + ring.scratch.save(public)


def is_secret(params: BfvParams, key: Bytes) -> bool:
    """Whether a key blob announces a secret key.

    Raises:
        PeerViolation: it is not a key blob of this parameter set.
    """
    kind, _, _ = _read_header(params, key)
    _require(kind in (SECRET, PUBLIC), "not a key", "send a key blob")
    return kind == SECRET


def _load_key(params: BfvParams, key: Bytes, kinds: Sequence[int]) -> tuple[int, Any]:
    """SEAL's key object from a key blob; sizes are checked before SEAL reads."""
    kind, _, _ = _read_header(params, key)
    _require(kind in kinds, "a key of the wrong kind", "secret keys open, public ones do not")
    limit = 1024 + 16 * params.degree * len(params.primes)
    _require(len(key) <= _HEADER.size + limit, "a key is too long", f"send at most {limit} bytes")
    ring = _ring(params)
    loaded = seal.SecretKey() if kind == SECRET else seal.PublicKey()
    ring.scratch.put(memoryview(key)[_HEADER.size :])
    try:
        loaded.load(ring.context, ring.scratch.path)
    except (RuntimeError, ValueError):
        raise PeerViolation("a key does not load", where="bfv", right=f"send a key of {params.name}") from None
    return kind, loaded


# ---- encrypt, add, decrypt
# ----------------------------------------------------------------------------------


class Encryptor:
    """Encrypts slots under one key: the secret one for symmetric parameter sets, else the public one.

    Raises:
        PeerViolation: the key is not one of this parameter set.
    """

    def __init__(self, params: BfvParams, key: Bytes) -> None:
        self._params, self._ring = params, _ring(params)
        _, loaded = _load_key(params, key, [SECRET if params.symmetric else PUBLIC])
        self._seal = seal.Encryptor(self._ring.context, loaded)

    def encrypt(self, slots: U64) -> bytes:
        """Slots (rows, degree) below the plaintext modulus to one FRESH blob of `blob_bytes` bytes.

        Raises:
            MisuseError: another shape or type, a slot out of range, too many rows.
        """
        params = self._params
        if slots.ndim != 2 or slots.shape[1] != params.degree or slots.dtype != np.uint64:
            raise MisuseError("not rows of slots", where="bfv", right=f"give (rows, {params.degree}) uint64")
        if not 1 <= len(slots) <= MAX_ROWS or int(slots.max()) >= params.plain_modulus:
            raise MisuseError(
                "too many rows or a slot out of range",
                where="bfv",
                right=f"stay below {params.plain_modulus}",
            )
        body = self._seeded(slots) if params.symmetric else self._full(slots)
        return b"".join((_header(params, FRESH, len(slots), 1), *body))

    def _seeded(self, slots: U64) -> tuple[bytes, bytes]:
        width, prime = self._params.word_bytes, np.uint64(self._params.modulus)
        body, seeds = np.empty((len(slots), self._ring.words * width), np.uint8), []
        for row, target in zip(slots, body, strict=True):
            zero, seed = self._ring.split_seeded(self._seal.encrypt_zero_symmetric())
            words = zero + _scale(self._params, row)
            np.minimum(words, words - prime, out=words)
            narrow(words, width, target)
            seeds.append(seed)
        return body.tobytes(), b"".join(seeds)

    def _full(self, slots: U64) -> tuple[bytes]:
        width = self._params.word_bytes
        body = np.empty((len(slots), 2 * self._ring.words * width), np.uint8)
        cipher = seal.Ciphertext()
        for row, target in zip(slots, body, strict=True):
            self._seal.encrypt(self._ring.plaintext(row), cipher)
            narrow(self._ring.split_full(cipher), width, target)
        return (body.tobytes(),)


def add(params: BfvParams, blobs: Sequence[Bytes]) -> bytes:
    """Add FRESH blobs row by row to one SUM blob, a block of rows at a time; takes no key and no SEAL.

    Raises:
        PeerViolation: a blob is malformed, of other parameters, transparent, or has another number of rows.
        MisuseError: nothing to add, or more blobs than the noise allows.
    """
    if not 1 <= len(blobs) <= params.max_summands:
        raise MisuseError(
            f"cannot add {len(blobs)} ciphertexts", where=params.name, right=f"add 1 to {params.max_summands}"
        )
    parsed = [_Blob.parse(params, blob, FRESH) for blob in blobs]
    rows = parsed[0].rows
    _require(all(blob.rows == rows for blob in parsed), "blobs differ in rows", "send one row count")
    body = np.empty_like(parsed[0].body)
    for start in range(0, rows, _BLOCK):
        narrow(_add_block(params, parsed, start), params.word_bytes, body[start : start + _BLOCK])
    seeds = (blob.seeds.tobytes() for blob in parsed)
    return b"".join((_header(params, SUM, rows, len(blobs)), body.tobytes(), *seeds))


def _add_block(params: BfvParams, blobs: Sequence[_Blob], start: int) -> U64:
    """Coefficient-wise sum, modulo the primes, of one block of rows."""
    primes = np.array(params.primes, np.uint64)[:, None]
    total = blobs[0].words(start)
    for blob in blobs[1:]:
        total += blob.words(start)
        np.minimum(total, total - primes, out=total)  # below the prime the difference wraps, and is the larger
    return total


def _scale(params: BfvParams, slots: U64) -> U64:
    """round(q * m / t) for slots m below t, exactly, for one prime q just below a multiple of t.

    With q = c*t - d that is c*m - round(d*m / t), and d*m stays below 2**64 because d is below 2**26.
    """
    factor = -(-params.modulus // params.plain_modulus)
    lack = factor * params.plain_modulus - params.modulus
    half, shift = np.uint64(params.plain_modulus // 2), np.uint64(params.plain_bits)
    return slots * np.uint64(factor) - ((slots * np.uint64(lack) + half) >> shift)


class Decryptor:
    """Opens sums under the secret key. Its errors never tell why: noise and failures stay here.

    Raises:
        PeerViolation: the key is not a secret key of this parameter set.
    """

    def __init__(self, params: BfvParams, secret: Bytes) -> None:
        self._params, self._ring = params, _ring(params)
        _, loaded = _load_key(params, secret, [SECRET])
        self._seal = seal.Decryptor(self._ring.context, loaded)

    def decrypt(self, blob: Bytes) -> U64:
        """A SUM blob to slots (rows, degree); a fresh ciphertext is refused.

        Raises:
            PeerViolation: the blob is malformed, of other parameters or transparent.
        """
        parsed = _Blob.parse(self._params, blob, SUM)
        slots, plain = np.empty((parsed.rows, self._params.degree), np.uint64), seal.Plaintext()
        try:
            for row, cipher in enumerate(self._ciphertexts(parsed)):
                self._seal.decrypt(cipher, plain)
                self._ring.slots(plain, slots[row])
        except (RuntimeError, ValueError):
            raise PeerViolation("a sum does not decrypt", where="bfv", right="add fresh ciphertexts") from None
        return slots

    def _ciphertexts(self, blob: _Blob) -> Iterator[Any]:
        for start in range(0, blob.rows, _BLOCK):
            for row, words in enumerate(blob.words(start), start):
                if self._params.symmetric:
                    yield self._ring.load_seeded(words, blob.seeds[:, row])
                else:
                    yield self._ring.load_full(words)
