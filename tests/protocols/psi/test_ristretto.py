"""ristretto255: the vectors of RFC 9496, what must be refused, and the bulk calls against the single ones."""

import os
from hashlib import sha512

import numpy as np
import pytest

from protocols.errors import MisuseError, PeerViolation
from protocols.psi import ristretto
from protocols.psi.ristretto import (
    IDENTITY,
    ORDER,
    POINT,
    U8,
    add,
    agree_all,
    from_hash,
    hash_all,
    invert,
    is_valid,
    multiply,
    multiply_all,
    multiply_base,
    random_points,
    random_scalar,
    subtract,
)

FIELD = 2**255 - 19
MULTIPLES = [  # RFC 9496, A.1
    "0000000000000000000000000000000000000000000000000000000000000000",
    "e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76",
    "6a493210f7499cd17fecb510ae0cea23a110e8d5b901f8acadd3095c73a3b919",
    "94741f5d5d52755ece4f23f044ee27d5d1ea1e2bd196b462166b16152a9d0259",
    "da80862773358b466ffadfe0b3293ab3d9fd53c5ea6c955358f568322daf6a57",
    "e882b131016b52c1d3337080187cf768423efccbb517bb495ab812c4160ff44e",
]
MALFORMED = [  # RFC 9496, A.2
    "00ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "f3ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ed57ffd8c914fb201471d1c3d245ce3c746fcbe63a3679d51b6a516ebebe0e20",
    "c34c4e1826e5d403b78e246e88aa051c36ccf0aafebffe137d148a2bf9104562",
    "c940e5a4404157cfb1628b108db051a8d439e1a421394ec4ebccb9ec92a8ac78",
    "47cfc5497c53dc8e61c91d17fd626ffb1c49e2bca94eed052281b510b1117a24",
    "f1c6165d33367351b0da8f6e4511010c68174a03b6581212c71c0e1d026c3c72",
    "87260f7a2f12495118360f02c26a470f450dadf34a413d21042b43b9d93e1309",
    "26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371",
    "4eac077a713c57b4f4397629a4145982c661f48044dd3f96427d40b147d9742f",
    "de6a7b00deadc788eb6b6c8d20c0ae96c2f2019078fa604fee5b87d6e989ad7b",
    "bcab477be20861e01e4a0e295284146a510150d9817763caf1a6f4b422d67042",
    "2a292df7e32cababbd9de088d1d1abec9fc0440f637ed2fba145094dc14bea08",
    "f4a9e534fc0d216c44b218fa0c42d99635a0127ee2e53c712f70609649fdff22",
    "8268436f8c4126196cf64b3c7ddbda90746a378625f9813dd9b8457077256731",
    "2810e5cbc2cc4d4eece54f61c6f69758e289aa7ab440b3cbeaa21995c2f4232b",
    "3eb858e78f5a7254d8c9731174a94f76755fd3941c0ac93735c07ba14579630e",
    "a45fdc55c76448c049a1ab33f17023edfb2be3581e9c7aade8a6125215e04220",
    "d483fe813c6ba647ebbfd3ec41adca1c6130c2beeee9d9bf065c8d151c5f396e",
    "8a2e1d30050198c65a54483123960ccc38aef6848e1ec8f5f780e8523769ba32",
    "32888462f8b486c68ad7dd9610be5192bbeaf3b443951ac1a8118419d9fa097b",
    "227142501b9d4355ccba290404bde41575b037693cef1f438c47f8fbf35d1165",
    "5c37cc491da847cfeb9281d407efc41e15144c876e0170b499a96a22ed31e01e",
    "445425117cb8c90edcbc7c1cc0e74f747f2c1efa5630a967c64f287792a48a4b",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]
DERIVED = {  # RFC 9496, A.3, from the SHA-512 of a label
    "Ristretto is traditionally a short shot of espresso coffee": (
        "3066f82a1a747d45120d1740f14358531a8f04bbffe6a819f86dfe50f44a0a46"
    ),
    "made with the normal amount of ground coffee but extracted with": (
        "f26e5b6f7d362d2d2a94c5d0e7602cb4773c95a2e5c31a64f133189fa76ed61b"
    ),
    "about half the amount of water in the same amount of time": (
        "006ccd2a9e6867e6a2c5cea83d3302cc9de128dd2a9a57dd8ee7b9d7ffe02826"
    ),
    "by using a finer grind.": "f8f0c87cf237953c5890aec3998169005dae3eca1fbb04548c635953c817f92a",
    "This produces a concentrated shot of coffee per volume.": (
        "ae81e7dedf20a497e10c304a765c1767a42d6e06029758d2d7e8ef7cc4c41179"
    ),
    "Just pulling a normal shot short will produce a weaker shot": (
        "e2705652ff9f5e44d3e841bf1c251cf7dddb77d140870d1ab2ed64f1a9ce8628"
    ),
    "and is not a Ristretto as some believe.": "80bd07262511cdde4863f8a7434cef696750681cb9510eea557088f76d9e5065",
}
ONE_POINT = [  # RFC 9496, A.3: top bits are ignored and halves reduced, so these four meet
    "ed" + "ff" * 31 + "12" + "00" * 31,
    "ed" + "ff" * 30 + "7f" + "ff" * 32,
    "00" * 31 + "80" + "ff" * 31 + "7f",
    "00" * 32 + "12" + "00" * 30 + "80",
]


def scalar(number: int) -> bytes:
    return number.to_bytes(32, "little")


def row(point: bytes) -> U8:
    return np.frombuffer(point, np.uint8).reshape(1, -1)


def wrong_encodings(point: bytes) -> list[bytes]:
    """Other 32-byte strings for the same number modulo the field's prime, or for its negative."""
    s = int.from_bytes(point, "little")
    return [scalar(n) for n in (s | 1 << 255, FIELD - s, 2 * FIELD - s, s + FIELD) if n < 1 << 256]


def test_multiples_of_the_generator() -> None:
    running = IDENTITY
    for k, expected in enumerate(MULTIPLES):
        assert running.hex() == expected
        assert k == 0 or multiply_base(scalar(k)).hex() == expected
        running = add(running, multiply_base(scalar(1)))
    assert subtract(running, multiply_base(scalar(5))).hex() == MULTIPLES[1]


@pytest.mark.parametrize("encoding", [bytes.fromhex(e) for e in MALFORMED] + wrong_encodings(multiply_base(scalar(7))))
def test_what_is_no_canonical_encoding_is_refused_everywhere(encoding: bytes) -> None:
    good = multiply_base(scalar(9))
    assert not is_valid(encoding)
    with pytest.raises(PeerViolation):
        multiply(scalar(3), encoding)
    for combine in (add, subtract):
        for pair in ((good, encoding), (encoding, good)):
            with pytest.raises(PeerViolation):
                combine(*pair)
    rows = random_points(100)
    rows[71] = row(encoding)
    for bulk in (multiply_all, agree_all):
        with pytest.raises(PeerViolation):
            bulk(random_scalar(), rows)


def test_the_identity_is_an_encoding_but_no_message() -> None:
    rows = random_points(100)
    rows[5] = 0
    assert not is_valid(IDENTITY)
    assert add(IDENTITY, IDENTITY) == IDENTITY
    with pytest.raises(PeerViolation):
        multiply(scalar(3), IDENTITY)
    for bulk in (multiply_all, agree_all):
        with pytest.raises(PeerViolation):
            bulk(random_scalar(), rows)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_wrong_lengths_are_refused(length: int) -> None:
    point = bytes.fromhex(MULTIPLES[2] + "00")[:length]
    assert not is_valid(point)
    with pytest.raises(PeerViolation):
        multiply(scalar(3), point)
    for bulk in (multiply_all, agree_all):
        with pytest.raises(MisuseError):
            bulk(random_scalar(), np.zeros((4, length), np.uint8))
    with pytest.raises(MisuseError):
        from_hash(bytes(length))


def test_elements_derived_from_uniform_bytes() -> None:
    for label, expected in DERIVED.items():
        assert from_hash(sha512(label.encode()).digest()).hex() == expected
    met = {from_hash(bytes.fromhex(uniform)).hex() for uniform in ONE_POINT}
    assert met == {"304282791023b73128d277bdcb5c7746ef2eac08dde9f2983379cb8e5ef0517f"}


@pytest.mark.parametrize("bad", [0, ORDER, 2**256 - 1])
def test_scalars_out_of_range_are_our_mistake(bad: int) -> None:
    for attempt in (
        lambda: multiply_base(scalar(bad)),
        lambda: multiply(scalar(bad), multiply_base(scalar(1))),
        lambda: multiply_all(scalar(bad), random_points(1)),
        lambda: agree_all(scalar(bad), random_points(1)),
        lambda: hash_all(np.zeros((1, 64), np.uint8), scalar(bad)),
        lambda: invert(scalar(bad)),
    ):
        with pytest.raises(MisuseError):
            attempt()


def test_random_scalars_come_from_the_given_source_and_stay_in_range() -> None:
    assert random_scalar(bytes) == scalar(1)
    assert random_scalar(lambda n: (ORDER - 2).to_bytes(n, "little")) == scalar(ORDER - 1)
    drawn = {random_scalar() for _ in range(100)}
    assert len(drawn) == 100
    assert all(0 < int.from_bytes(each, "little") < ORDER for each in drawn)


def test_a_scalar_and_its_inverse_undo_each_other() -> None:
    k, point = random_scalar(), from_hash(os.urandom(64))
    assert multiply(invert(k), multiply(k, point)) == point


@pytest.mark.parametrize("threads", [None, 1, 3])
@pytest.mark.parametrize("count", [0, 1, 131])
def test_bulk_calls_give_what_single_calls_give(count: int, threads: int | None) -> None:
    digests = np.frombuffer(os.urandom(2 * 64 * count), np.uint8).reshape(-1, 64)[::2]  # not contiguous
    k = random_scalar()
    points = hash_all(digests, threads=threads)
    products = multiply_all(k, points[::-1], threads=threads)[::-1]
    assert [p.tobytes() for p in points] == [from_hash(d.tobytes()) for d in digests]
    assert [p.tobytes() for p in products] == [multiply(k, p.tobytes()) for p in points]
    assert (hash_all(digests, k, threads=threads) == products).all()
    assert points.shape == products.shape == (count, POINT)


def test_agreed_names_depend_on_the_product_alone() -> None:
    points = random_points(60)
    for _ in range(10):  # both signs of the ladder's integer occur
        a, b = random_scalar(), random_scalar()
        names = agree_all(a, multiply_all(b, points), threads=2)
        assert (names == agree_all(b, multiply_all(a, points))).all()
        product = scalar(int.from_bytes(a, "little") * int.from_bytes(b, "little") % ORDER)
        assert (names == agree_all(product, points)).all()
        assert len({name.tobytes() for name in names}) == len(points)


def test_agreed_names_forget_only_the_sign() -> None:
    k, point = random_scalar(), from_hash(os.urandom(64))
    name = agree_all(k, row(point)).tobytes()
    assert agree_all(k, row(subtract(IDENTITY, point))).tobytes() == name
    for other in (add(point, point), add(point, multiply_base(scalar(1)))):
        assert agree_all(k, row(other)).tobytes() != name


def test_a_scalar_that_no_ladder_can_take_is_refused() -> None:
    for number in (1, ORDER - 1):
        with pytest.raises(MisuseError):
            agree_all(scalar(number), random_points(1))


def test_the_temporary_copy_of_the_library_is_gone() -> None:
    import sys

    assert not os.path.exists(sys.modules["rbcl._sodium"].lib_path)  # noqa: PTH110
    assert ristretto.is_valid(multiply_base(scalar(4)))
