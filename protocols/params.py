"""Parameter sets of the additive encryption, as plain values, each number with its reason.

Who learns what: nothing here touches data. Relies on the Ring-LWE tables of the HomomorphicEncryption.org
guidelines (Bossuat et al., "Security Guidelines for Implementing Homomorphic Encryption", ePrint 2024/463).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

from protocols.errors import MisuseError

# log2 of the largest ciphertext modulus for 128-bit classical security with a ternary secret (ePrint
# 2024/463, table of the HomomorphicEncryption organisation). SEAL's own limits (54, 109, ...) are about 2 %
# looser.
MAX_MODULUS_BITS = {2048: 53, 4096: 106, 8192: 214, 16384: 430, 32768: 868}

# SEAL draws errors from a centred binomial distribution over 2 x 21 bits: no error exceeds 21, ever.
MAX_ERROR = 21


@dataclass(frozen=True)
class BfvParams:
    """One BFV parameter set: ring degree, the primes of q, the plaintext modulus 2**plain_bits.

    `fields` is how many quantised values share one slot; `symmetric` says that encrypting takes the secret
    key (its ciphertexts carry a 64-byte seed for their second polynomial). A slot is one plaintext
    coefficient: sums need no batching, so the plaintext modulus may be a power of two, and then a mask is
    uniform by cutting bits. Primes and modulus are written out, so that both ends cannot differ by version.
    """

    name: str
    degree: int
    primes: tuple[int, ...]
    plain_bits: int
    fields: int
    symmetric: bool

    @property
    def modulus(self) -> int:
        """Ciphertext modulus q, the product of the primes."""
        return math.prod(self.primes)

    @property
    def plain_modulus(self) -> int:
        """Plaintext modulus t."""
        return 1 << self.plain_bits

    @property
    def word_bytes(self) -> int:
        """Bytes that one ciphertext coefficient takes on the wire."""
        return -(-max(p.bit_length() for p in self.primes) // 8)

    @property
    def fresh_error_bound(self) -> float:
        """Largest possible noise of one fresh ciphertext, as an integer modulo q: the worst case.

        Symmetric: one error plus the rounding of q*m/t. Public key: e*u + e1 + e2*s with ternary u and s, so
        (2*degree + 1) errors (Brakerski 2012; Fan and Vercauteren 2012, section 3).
        """
        errors = 1 if self.symmetric else 2 * self.degree + 1
        return errors * MAX_ERROR + 0.5

    @property
    def max_summands(self) -> int:
        """How many fresh ciphertexts add up with decryption failure impossible: noise below q / 2t.

        A failure that cannot happen leaks nothing about the key either (IND-CPA-D, Li and Micciancio 2021).
        """
        return int(self.modulus / (2 * self.plain_modulus) / self.fresh_error_bound)

    @cached_property
    def tag(self) -> bytes:
        """Eight bytes that name every number of this set in the headers of keys and ciphertexts."""
        numbers = (self.name, self.degree, self.primes, self.plain_bits, self.fields, self.symmetric)
        return sha256(repr(numbers).encode()).digest()[:8]


def check_security(params: BfvParams) -> BfvParams:
    """Return `params` if they keep 128-bit security by the 2024 table and can sum 16 parties.

    Raises:
        MisuseError: an unknown degree, a modulus above the table, or a noise margin that is too thin.
    """
    limit = MAX_MODULUS_BITS.get(params.degree)
    bits = params.modulus.bit_length()
    if limit is None:
        raise MisuseError(
            f"ring degree {params.degree} is not in the security table",
            where=params.name,
            right=f"use one of {sorted(MAX_MODULUS_BITS)}",
        )
    if bits > limit:
        raise MisuseError(
            f"a modulus of {bits} bits is less than 128-bit secure",
            where=params.name,
            right=f"at degree {params.degree} use at most {limit} bits",
        )
    if params.max_summands < 16:
        raise MisuseError(
            f"the noise margin allows {params.max_summands} summands",
            where=params.name,
            right="widen the modulus or narrow the plaintext until it allows 16",
        )
    return params


# Shared job key. q is the largest prime below 2**48 that is 1 modulo 2*2048: 5 bits under the table's 53
# (SEAL's own limit is 54), and exactly 6 bytes a coefficient. t = 2**38 holds two fields of 19 bits: 16-bit
# codes for 3-4 parties, 14-bit codes for 9-16. Noise: 512 / 21.5 allows 23 summands with no failure possible.
SHARED_2048 = check_security(
    BfvParams("SHARED_2048", 2048, (281474976694273,), plain_bits=38, fields=2, symmetric=True)
)

# Separate key holder. q is the product of the two largest primes below 2**40 that are 1 modulo 2*4096: 80
# bits, 26 under the table's 106 (and its limit for quantum attackers), exactly 5 bytes a coefficient: 6.7
# bytes a parameter, where (35, 35, 36) bits with t near 2**40 take 10.4. t = 2**57 holds three fields of 19
# bits. Noise: 2**22 / 172,053 allows 24 summands. Both primes are used for data: one alone is below t, so
# SEAL keeps no key-switching prime, and none is needed.
PUBLIC_4096 = check_security(
    BfvParams("PUBLIC_4096", 4096, (1099511390209, 1099511480321), plain_bits=57, fields=3, symmetric=False)
)

PARAMETER_SETS = {params.name: params for params in (SHARED_2048, PUBLIC_4096)}


def named(name: str) -> BfvParams:
    """Return the parameter set called `name`.

    Raises:
        MisuseError: no such set; sets are installed, never sent.
    """
    if name not in PARAMETER_SETS:
        raise MisuseError("unknown parameter set", where="params", right=f"use one of {sorted(PARAMETER_SETS)}")
    return PARAMETER_SETS[name]
