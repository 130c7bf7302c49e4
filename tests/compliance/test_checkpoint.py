"""Checkpoints: three lines, one spelling, signed by the log whose origin they carry."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.checkpoint import Checkpoint, open_checkpoint
from compliance.errors import InvalidNote
from compliance.merkle import EMPTY_ROOT
from compliance.note import VerifierKey, sign_note

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
ORIGIN = "inbond.example/audit/acme"
VERIFIER = VerifierKey.of(ORIGIN, KEY)
EMPTY = Checkpoint(ORIGIN, 0, EMPTY_ROOT)


def test_a_checkpoint_reads_back_from_its_note() -> None:
    assert open_checkpoint(str(EMPTY.sign(KEY)).encode(), VERIFIER) == EMPTY
    assert str(EMPTY) == f"{ORIGIN}\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"


def test_a_checkpoint_of_another_origin_is_refused_even_under_the_same_key() -> None:
    other = Checkpoint("inbond.example/audit/other", 0, EMPTY_ROOT)
    with pytest.raises(InvalidNote, match="known key"):
        open_checkpoint(str(other.sign(KEY)).encode(), VERIFIER)
    crossed = sign_note(str(other), ORIGIN, KEY)
    with pytest.raises(InvalidNote, match="other"):
        open_checkpoint(str(crossed).encode(), VERIFIER)


@pytest.mark.parametrize(
    "text",
    [
        f"{ORIGIN}\n00\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        f"{ORIGIN}\n-1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        f"{ORIGIN}\n٣\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        f"{ORIGIN}\n9999999999999999999\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        f"{ORIGIN}\n0\n47DEQpj8HBSa\n",
        f"{ORIGIN}\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\nextension\n",
        f"{ORIGIN}\n0\n",
        "\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
    ],
)
def test_any_other_spelling_is_refused(text: str) -> None:
    with pytest.raises(InvalidNote):
        Checkpoint.parse(text)
