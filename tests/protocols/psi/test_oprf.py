"""OPRF and VOPRF: the vectors of RFC 9497, cheating servers, and an unbalanced intersection."""

from collections.abc import Callable

import numpy as np
import pytest

from protocols.errors import MisuseError, PeerViolation
from protocols.psi.oprf import (
    Blinded,
    KeyPair,
    Mode,
    blind,
    derive_key_pair,
    evaluate,
    evaluate_own,
    finalize,
    prove,
    verify,
)
from protocols.psi.ristretto import U8, random_points

SEED, INFO = b"\xa3" * 32, b"test key"
INPUTS = [b"\0", b"Z" * 17]
BLIND = "64d37aed22a27f5191de1c1d69fadb899d8862b58eb4220029e036ec4c1f6706"
NONCE = "222a5e897cf59db8145db8d16e597e8facb80ae7d4e26d9881aa6f61d645fc0e"


def drawing(*scalars: str) -> Callable[[int], bytes]:
    """A source of randomness from which `random_scalar` draws these scalars."""
    numbers = iter(int.from_bytes(bytes.fromhex(each), "little") - 1 for each in scalars)
    return lambda count: next(numbers).to_bytes(count, "little")


def hexes(rows: U8) -> list[str]:
    return [each.tobytes().hex() for each in rows]


def batch(count: int, key: KeyPair) -> tuple[list[bytes], Blinded, U8, bytes]:
    inputs = [str(i).encode() for i in range(count)]
    blinded = blind(inputs, Mode.VOPRF)
    evaluated = evaluate(key.private, blinded.points)
    return inputs, blinded, evaluated, prove(key, blinded.points, evaluated)


KEY = derive_key_pair(SEED, INFO, Mode.VOPRF)


def test_keys_derived_from_a_seed() -> None:
    """RFC 9497, A.1.1 and A.1.2."""
    assert derive_key_pair(SEED, INFO, Mode.OPRF).private.hex() == (
        "5ebcea5ee37023ccb9fc2d2019f9d7737be85591ae8652ffa9ef0f4d37063b0e"
    )
    assert KEY.private.hex() == "e6f73f344b79b379f1a0dd37e07ff62e38d9f71345ce62ae3a9bc60b04ccd909"
    assert KEY.public.hex() == "c803e2cc6b05fc15064549b5920659ca4a77b2cca6f04f6b357009335476ad4e"


@pytest.mark.parametrize(
    ("text", "blinded", "evaluated", "output"),
    [
        (
            INPUTS[0],
            "609a0ae68c15a3cf6903766461307e5c8bb2f95e7e6550e1ffa2dc99e412803c",
            "7ec6578ae5120958eb2db1745758ff379e77cb64fe77b0b2d8cc917ea0869c7e",
            "527759c3d9366f277d8c6020418d96bb393ba2afb20ff90df23fb7708264e2f3"
            "ab9135e3bd69955851de4b1f9fe8a0973396719b7912ba9ee8aa7d0b5e24bcf6",
        ),
        (
            INPUTS[1],
            "da27ef466870f5f15296299850aa088629945a17d1f5b7f5ff043f76b3c06418",
            "b4cbf5a4f1eeda5a63ce7b77c7d23f461db3fcab0dd28e4e17cecb5c90d02c25",
            "f4a74c9c592497375e796aa837e907b1a045d34306a749db9f34221f7e750cb4"
            "f2a6413a6bf6fa5e19ba6348eb673934a722a7ede2e7621306d18951e7cf2c73",
        ),
    ],
)
def test_oprf_vectors(text: bytes, blinded: str, evaluated: str, output: str) -> None:
    """RFC 9497, A.1.1."""
    key = derive_key_pair(SEED, INFO, Mode.OPRF)
    sent = blind([text], Mode.OPRF, drawing(BLIND))
    answer = evaluate(key.private, sent.points)
    assert hexes(sent.points) == [blinded]
    assert hexes(answer) == [evaluated]
    assert hexes(finalize([text], sent.blinds, answer)) == [output]
    assert hexes(evaluate_own(key.private, [text], Mode.OPRF)) == [output]


OUTPUTS = [
    "b58cfbe118e0cb94d79b5fd6a6dafb98764dff49c14e1770b566e42402da1a7d"
    "a4d8527693914139caee5bd03903af43a491351d23b430948dd50cde10d32b3c",
    "8a9a2f3c7f085b65933594309041fc1898d42d0858e59f90814ae90571a6df60"
    "356f4610bf816f27afdd84f47719e480906d27ecd994985890e5f539e7ea74b6",
]
FIRST = (
    "863f330cc1a1259ed5a5998a23acfd37fb4351a793a5b3c090b642ddc439b945",
    "aa8fa048764d5623868679402ff6108d2521884fa138cd7f9c7669a9a014267e",
)


@pytest.mark.parametrize(
    ("inputs", "blinds", "nonce", "blinded", "evaluated", "proof", "outputs"),
    [
        (
            INPUTS[:1],
            [BLIND],
            NONCE,
            [FIRST[0]],
            [FIRST[1]],
            "ddef93772692e535d1a53903db24367355cc2cc78de93b3be5a8ffcc6985dd06"
            "6d4346421d17bf5117a2a1ff0fcb2a759f58a539dfbe857a40bce4cf49ec600d",
            OUTPUTS[:1],
        ),
        (
            INPUTS[1:],
            [BLIND],
            NONCE,
            ["cc0b2a350101881d8a4cba4c80241d74fb7dcbfde4a61fde2f91443c2bf9ef0c"],
            ["60a59a57208d48aca71e9e850d22674b611f752bed48b36f7a91b372bd7ad468"],
            "401a0da6264f8cf45bb2f5264bc31e109155600babb3cd4e5af7d181a2c9dc0a"
            "67154fabf031fd936051dec80b0b6ae29c9503493dde7393b722eafdf5a50b02",
            OUTPUTS[1:],
        ),
        (
            INPUTS,
            [BLIND, NONCE],
            "419c4f4f5052c53c45f3da494d2b67b220d02118e0857cdbcf037f9ea84bbe0c",
            [FIRST[0], "90a0145ea9da29254c3a56be4fe185465ebb3bf2a1801f7124bbbadac751e654"],
            [FIRST[1], "cc5ac221950a49ceaa73c8db41b82c20372a4c8d63e5dded2db920b7eee36a2a"],
            "cc203910175d786927eeb44ea847328047892ddf8590e723c37205cb74600b0a"
            "5ab5337c8eb4ceae0494c2cf89529dcf94572ed267473d567aeed6ab873dee08",
            OUTPUTS,
        ),
    ],
)
def test_voprf_vectors(
    inputs: list[bytes],
    blinds: list[str],
    nonce: str,
    blinded: list[str],
    evaluated: list[str],
    proof: str,
    outputs: list[str],
) -> None:
    """RFC 9497, A.1.2."""
    sent = blind(inputs, Mode.VOPRF, drawing(*blinds))
    answer = evaluate(KEY.private, sent.points)
    made = prove(KEY, sent.points, answer, drawing(nonce))
    assert hexes(sent.points) == blinded
    assert hexes(answer) == evaluated
    assert made.hex() == proof
    verify(KEY.public, sent.points, answer, made)
    assert hexes(finalize(inputs, sent.blinds, answer)) == outputs
    assert hexes(evaluate_own(KEY.private, inputs, Mode.VOPRF)) == outputs


def test_a_server_that_uses_another_key_for_one_element_is_caught() -> None:
    _, sent, answer, _ = batch(5, KEY)
    other = derive_key_pair(bytes(32), INFO, Mode.VOPRF)
    answer[3] = evaluate(other.private, sent.points[3:4])[0]
    with pytest.raises(PeerViolation, match="hold"):
        verify(KEY.public, sent.points, answer, prove(KEY, sent.points, answer))


def test_a_proof_is_bound_to_key_elements_answers_and_their_order() -> None:
    _, sent, answer, proof = batch(3, KEY)
    verify(KEY.public, sent.points, answer, proof)
    other = derive_key_pair(bytes(32), INFO, Mode.VOPRF)
    for public, blinded, evaluated in (
        (other.public, sent.points, answer),
        (KEY.public, random_points(3), answer),
        (KEY.public, sent.points, random_points(3)),
        (KEY.public, sent.points, answer[::-1].copy()),
    ):
        with pytest.raises(PeerViolation):
            verify(public, blinded, evaluated, proof)


@pytest.mark.parametrize("bit", [0, 255, 256, 511])
def test_a_changed_proof_is_refused(bit: int) -> None:
    _, sent, answer, proof = batch(2, KEY)
    changed = (int.from_bytes(proof, "little") ^ 1 << bit).to_bytes(64, "little")
    with pytest.raises(PeerViolation):
        verify(KEY.public, sent.points, answer, changed)
    for malformed in (proof[:-1], proof + b"\0", bytes(64), b"\xff" * 64):
        with pytest.raises(PeerViolation):
            verify(KEY.public, sent.points, answer, malformed)


def test_malformed_answers_give_no_output() -> None:
    inputs, sent, answer, proof = batch(3, KEY)
    identity, short = answer.copy(), answer[:, :31]
    identity[1] = 0
    for wrong in (identity, short, answer[:2], np.concatenate([answer, answer[:1]])):
        with pytest.raises(PeerViolation):
            finalize(inputs, sent.blinds, wrong)
        with pytest.raises(PeerViolation):
            verify(KEY.public, sent.points, wrong, proof)


def test_malformed_elements_are_not_evaluated() -> None:
    for wrong in (np.zeros((1, 32), np.uint8), np.full((1, 32), 255, np.uint8), np.zeros((1, 31), np.uint8)):
        with pytest.raises(PeerViolation):
            evaluate(KEY.private, wrong)


def test_our_own_mistakes_are_named() -> None:
    for attempt in (
        lambda: derive_key_pair(b"short", INFO, Mode.OPRF),
        lambda: blind([bytes(1 << 16)], Mode.OPRF),
        lambda: prove(KEY, random_points(0), random_points(0)),
        lambda: prove(KEY, random_points(1), random_points(2)),
        lambda: evaluate(bytes(32), random_points(1)),
    ):
        with pytest.raises(MisuseError):
            attempt()


def test_modes_are_separate_functions() -> None:
    outputs = {evaluate_own(KEY.private, [b"x"], mode).tobytes() for mode in Mode}
    assert len(outputs) == 2


def test_an_unbalanced_intersection() -> None:
    published = {tag.tobytes()[:10] for tag in evaluate_own(KEY.private, [b"%d" % i for i in range(200)], Mode.VOPRF)}
    inputs = [b"7", b"200", b"199", b"none"]
    sent = blind(inputs, Mode.VOPRF)
    answer = evaluate(KEY.private, sent.points)
    verify(KEY.public, sent.points, answer, prove(KEY, sent.points, answer))
    found = [tag.tobytes()[:10] in published for tag in finalize(inputs, sent.blinds, answer)]
    assert found == [True, False, True, False]


def test_blinded_elements_do_not_repeat_for_one_input() -> None:
    assert len({row.tobytes() for row in blind([b"x"] * 50, Mode.OPRF).points}) == 50
