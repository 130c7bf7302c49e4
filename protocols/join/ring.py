"""The BFV ring of a join: parameters with their reasons, and SEAL's objects from bare coefficients.

Who learns what: nothing is sent here. No container of a peer's reaches SEAL (`protocols.containers`): coefficients are
checked against the primes, and a second polynomial of zeros (a transparent ciphertext or key) is refused.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
import tenseal.sealapi as seal

from protocols.containers import CIPHER_PREFIX, PLAIN_PREFIX, SEED_BYTES, SEED_PREFIX, U8, Bytes, Scratch, narrow, widen
from protocols.errors import MisuseError, PeerViolation
from protocols.packing import U64
from protocols.psi.items import I64

# Ring degree, and primes that are 1 modulo 2 * 8192: three of 56 bits for data, the largest, so that a coefficient
# takes exactly 7 bytes, and a small one, for SEAL sets the last prime of a chain aside for keys. 188 bits in all: the
# table of the HomomorphicEncryption organisation allows 214 (Bossuat et al., ePrint 2024/463).
DEGREE = 8192
DATA = (72057594037616641, 72057594037370881, 72057594037338113)
SPECIAL = 1032193
WIDTH = 7
_EXPAND = True

FRESH_BYTES = len(DATA) * DEGREE * WIDTH + SEED_BYTES  # a fresh ciphertext on the wire: 21 bytes a slot
KEY_BYTES = 2 * (len(DATA) + 1) * DEGREE * WIDTH  # a public key
REPLY_BYTES = 2 * DEGREE * WIDTH  # a reply, switched down to the first prime


class Ring:
    """SEAL's context for one plaintext modulus, its helpers, and templates of what travels."""

    def __init__(self, modulus: int) -> None:
        self.modulus = modulus
        self.context = _context(modulus)
        self.evaluator = seal.Evaluator(self.context)
        self._scratch = Scratch()
        self._encoder = seal.BatchEncoder(self.context)
        generator = seal.KeyGenerator(self.context)
        fresh, public = seal.Ciphertext(), seal.PublicKey()
        self._seeded, self._seed_prefix = self._seeded_template(generator.secret_key(), fresh)
        self.level = fresh.parms_id()
        self._full = self._full_template(fresh, len(DATA))
        generator.create_public_key(public)
        self._public = self._full_template(public, len(DATA) + 1)
        self._reply = self._full_template(self.switch_down(fresh), 1)
        plain = seal.Plaintext()
        plain.resize(DEGREE)
        head, raw = self._scratch.template(plain, PLAIN_PREFIX + 8 * DEGREE)
        self._plain = head + raw[:PLAIN_PREFIX]

    def _seeded_template(self, secret: Any, cipher: Any) -> tuple[bytes, bytes]:
        """All but coefficients and seed of a fresh ciphertext, which is loaded into `cipher` as well."""
        words = len(DATA) * DEGREE
        zero = seal.Encryptor(self.context, secret).encrypt_zero_symmetric()
        head, raw = self._scratch.template(zero, CIPHER_PREFIX + 8 * words + SEED_PREFIX + SEED_BYTES)
        cipher.load(self.context, self._scratch.path)
        return head + raw[:CIPHER_PREFIX], raw[CIPHER_PREFIX + 8 * words : -SEED_BYTES]

    def _full_template(self, thing: Any, primes: int) -> bytes:
        head, raw = self._scratch.template(thing, CIPHER_PREFIX + 16 * primes * DEGREE)
        return head + raw[:CIPHER_PREFIX]

    def switch_down(self, cipher: Any) -> Any:
        """The ciphertext modulo the first prime alone, which is what a reply is."""
        switched = seal.Ciphertext()
        self.evaluator.mod_switch_to_next(cipher, switched)
        self.evaluator.mod_switch_to_next_inplace(switched)
        return switched

    def encode(self, slots: U64) -> Any:
        """Slots (8192,) below the modulus as a plaintext."""
        plain = seal.Plaintext()
        self._encoder.encode(slots.tolist(), plain)
        return plain

    def decode(self, plain: Any) -> U64:
        """The slots (8192,) of a plaintext."""
        return np.array(self._encoder.decode_uint64(plain), np.uint64)

    def dump_fresh(self, fresh: Any, body: U8) -> None:
        """Write a fresh symmetric ciphertext to `body` (FRESH_BYTES,)."""
        words = len(DATA) * DEGREE
        raw = self._scratch.raw(fresh, CIPHER_PREFIX + 8 * words + SEED_PREFIX + SEED_BYTES)
        narrow(np.frombuffer(raw, "<u8", words, CIPHER_PREFIX), WIDTH, body[:-SEED_BYTES])
        body[-SEED_BYTES:] = np.frombuffer(raw[-SEED_BYTES:], np.uint8)

    def load_fresh(self, body: U8) -> Any:
        """The ciphertext of FRESH_BYTES from a peer; raises PeerViolation for an unreduced coefficient."""
        words = _checked(body[:-SEED_BYTES].reshape(1, -1), DATA)
        return self._load(seal.Ciphertext(), self._seeded, words.data, self._seed_prefix, body[-SEED_BYTES:].tobytes())

    def dump_key(self, public: Any) -> bytes:
        """A public key as KEY_BYTES."""
        return self._dump(public, len(DATA) + 1)

    def load_key(self, body: Bytes) -> Any:
        """The public key of KEY_BYTES from a peer; raises PeerViolation if it is unreduced or transparent."""
        return self._load_full(seal.PublicKey(), self._public, body, (*DATA, SPECIAL))

    def dump_reply(self, cipher: Any) -> bytes:
        """A ciphertext that was switched down as REPLY_BYTES."""
        return self._dump(cipher, 1)

    def load_reply(self, body: Bytes) -> Any:
        """The reply of REPLY_BYTES from a peer; raises PeerViolation if it is unreduced or transparent."""
        return self._load_full(seal.Ciphertext(), self._reply, body, DATA[:1])

    def load_constant(self, words: U64) -> Any:
        """Our own noise polynomial (primes, degree) as a ciphertext whose second polynomial is zero: only to add."""
        return self._load(seal.Ciphertext(), self._full, words.data, bytes(words.nbytes))

    def secret_of(self, decryptor: Any) -> I64:
        """The coefficients (8192,) of a secret key s, each -1, 0 or 1: (0, q/t) decrypts to s."""
        words, plain = np.zeros((2, len(DATA), DEGREE), np.uint64), seal.Plaintext()
        scale = prod(DATA) // self.modulus
        words[1, :, 0] = [scale % prime for prime in DATA]
        decryptor.decrypt(self._load(seal.Ciphertext(), self._full, words.data), plain)
        found = np.zeros(DEGREE, np.int64)
        count = plain.coeff_count()
        raw = self._scratch.raw(plain, PLAIN_PREFIX + 8 * count)
        found[:count] = np.frombuffer(raw, "<i8", count, PLAIN_PREFIX)
        found[found > 1] -= self.modulus
        return found

    def multiplier(self, secret: I64) -> Any:
        """A secret key's coefficients as a plaintext for `phase`."""
        ready = seal.Plaintext()
        self.evaluator.transform_to_ntt(self._polynomial((secret % self.modulus).astype(np.uint64)), self.level, ready)
        return ready

    def phase(self, cipher: Any, multiplier: Any) -> U64:
        """c0 + c1 s modulo each prime (primes, 8192): the scaled plaintext and its noise."""
        moved, product = seal.Ciphertext(), seal.Ciphertext()
        self.evaluator.transform_to_ntt(cipher, moved)
        self.evaluator.multiply_plain(moved, multiplier, product)
        self.evaluator.transform_from_ntt_inplace(product)
        total: U64 = (self._words(cipher)[0] + self._words(product)[1]) % np.array(DATA, np.uint64)[:, None]
        return total

    def zero(self, public: Any) -> Any:
        """A fresh encryption of zero under a public key."""
        cipher = seal.Ciphertext()
        seal.Encryptor(self.context, public).encrypt_zero(cipher)
        return cipher

    def slots_of(self, coefficients: U64) -> U64:
        """The slots (8192,) of the plaintext with these coefficients below the modulus."""
        return self.decode(self._polynomial(coefficients))

    def _polynomial(self, coefficients: U64) -> Any:
        return self._load(seal.Plaintext(), self._plain, np.ascontiguousarray(coefficients).data)

    def _words(self, cipher: Any) -> U64:
        """Both polynomials (2, primes, degree) of a ciphertext modulo all of `DATA`."""
        count = 2 * len(DATA) * DEGREE
        raw = self._scratch.raw(cipher, CIPHER_PREFIX + 8 * count)
        return np.frombuffer(raw, "<u8", count, CIPHER_PREFIX).reshape(2, len(DATA), DEGREE)

    def _dump(self, thing: Any, primes: int) -> bytes:
        body = np.empty(2 * primes * DEGREE * WIDTH, np.uint8)
        raw = self._scratch.raw(thing, CIPHER_PREFIX + 16 * primes * DEGREE)
        narrow(np.frombuffer(raw, "<u8", 2 * primes * DEGREE, CIPHER_PREFIX), WIDTH, body)
        return body.tobytes()

    def _load_full(self, thing: Any, template: bytes, body: Bytes, primes: tuple[int, ...]) -> Any:
        words = _checked(np.frombuffer(body, np.uint8).reshape(2, -1), primes)
        _require(bool(words[1].any(axis=1).all()), "a ciphertext is transparent", "encrypt it")
        return self._load(thing, template, words.data)

    def _load(self, thing: Any, *parts: Bytes) -> Any:
        self._scratch.put(*parts)
        try:
            thing.load(self.context, self._scratch.path)
        except (RuntimeError, ValueError):
            raise PeerViolation("a ciphertext does not load", where="join", right="send one of this ring") from None
        return thing


def blocks_of(positions: int) -> int:
    """Ciphertexts of a column of so many positions."""
    return -(-positions // DEGREE)


@lru_cache(maxsize=2)
def ring(modulus: int) -> Ring:
    """The ring for a plaintext modulus, made once."""
    return Ring(modulus)


def _context(modulus: int) -> Any:
    settings = seal.EncryptionParameters(seal.SCHEME_TYPE.BFV)
    settings.set_poly_modulus_degree(DEGREE)
    settings.set_coeff_modulus([seal.Modulus(prime) for prime in (*DATA, SPECIAL)])
    settings.set_plain_modulus(seal.Modulus(modulus))
    context = seal.SEALContext(settings, _EXPAND, seal.SEC_LEVEL_TYPE.TC128)
    if not context.parameters_set():
        raise MisuseError(
            f"SEAL refuses the parameters ({context.parameters_error_name()})",
            where="join",
            right="use a modulus of protocols.join.terms",
        )
    return context


def _checked(body: U8, primes: tuple[int, ...]) -> U64:
    """Coefficients (polynomials, primes, degree) of bytes (polynomials, ...), each below its prime."""
    words = widen(body, WIDTH).reshape(len(body), len(primes), DEGREE)
    limit = np.array(primes, np.uint64)[:, None]
    _require(bool((words < limit).all()), "a coefficient exceeds its prime", "reduce it")
    return words


def _require(condition: bool, what: str, right: str) -> None:
    if not condition:
        raise PeerViolation(what, where="join", right=right)
