"""expand_message_xmd: the vectors of RFC 9380, and the bulk form against the plain one."""

import pytest

from protocols.errors import MisuseError
from protocols.psi.hashing import digest_all, domain, expand_message_xmd

DST = b"QUUX-V01-CS02-with-expander-SHA512-256"
Q128 = b"q128_" + b"q" * 128
A512 = b"a512_" + b"a" * 512
VECTORS = [  # RFC 9380, K.3
    (b"", "6b9a7312411d92f921c6f68ca0b6380730a1a4d982c507211a90964c394179ba"),
    (b"abc", "0da749f12fbe5483eb066a5f595055679b976e93abe9be6f0f6318bce7aca8dc"),
    (b"abcdef0123456789", "087e45a86e2939ee8b91100af1583c4938e0f5fc6c9db4b107b83346bc967f58"),
    (Q128, "7336234ee9983902440f6bc35b348352013becd88938d2afec44311caf8356b3"),
    (A512, "57b5f7e766d5be68a6bfe1768e3c2b7f1228b3e4b3134956dd73a59b954c66f4"),
    (
        b"",
        "41b037d1734a5f8df225dd8c7de38f851efdb45c372887be655212d07251b921"
        "b052b62eaed99b46f72f2ef4cc96bfaf254ebbbec091e1a3b9e4fb5e5b619d2e"
        "0c5414800a1d882b62bb5cd1778f098b8eb6cb399d5d9d18f5d5842cf5d13d7e"
        "b00a7cff859b605da678b318bd0e65ebff70bec88c753b159a805d2c89c55961",
    ),
    (
        b"abc",
        "7f1dddd13c08b543f2e2037b14cefb255b44c83cc397c1786d975653e36a6b11"
        "bdd7732d8b38adb4a0edc26a0cef4bb45217135456e58fbca1703cd6032cb134"
        "7ee720b87972d63fbf232587043ed2901bce7f22610c0419751c065922b48843"
        "1851041310ad659e4b23520e1772ab29dcdeb2002222a363f0c2b1c972b3efe1",
    ),
    (
        A512,
        "05b0bfef265dcee87654372777b7c44177e2ae4c13a27f103340d9cd11c86cb2"
        "426ffcad5bd964080c2aee97f03be1ca18e30a1f14e27bc11ebbd650f305269c"
        "c9fb1db08bf90bfc79b42a952b46daf810359e7bc36452684784a64952c343c5"
        "2e5124cd1f71d474d5197fefc571a92929c9084ffe1112cf5eea5192ebff330b",
    ),
]
SESSION = bytes(range(32))


@pytest.mark.parametrize(("message", "expected"), VECTORS)
def test_the_vectors_of_the_rfc(message: bytes, expected: str) -> None:
    assert expand_message_xmd(message, DST, len(expected) // 2).hex() == expected


def test_bulk_digests_are_the_expansion_of_session_and_item() -> None:
    items = [b"", b"a", b"b" * 127, b"c" * 128, b"d" * 3000]
    digests = digest_all(items, session=SESSION, dst=DST)
    assert [d.tobytes() for d in digests] == [expand_message_xmd(SESSION + item, DST, 64) for item in items]
    assert digest_all([], session=SESSION, dst=DST).shape == (0, 64)


def test_sessions_and_protocols_are_separate_domains() -> None:
    forms = {
        digest_all([b"item"], session=session, dst=domain(protocol)).tobytes()
        for session in (SESSION, bytes(32))
        for protocol in ("psi-ec/1", "psi-ec/2")
    }
    assert len(forms) == 4


def test_the_domain_names_protocol_and_suite() -> None:
    assert domain("psi-ec/1") == b"INBOND-V01-PSI-psi-ec/1-ristretto255_XMD:SHA-512_R255MAP_RO_"


@pytest.mark.parametrize("protocol", ["", "psi\n", "psi-é", "x" * 300])
def test_malformed_protocol_ids_are_refused(protocol: str) -> None:
    with pytest.raises(MisuseError):
        domain(protocol)


def test_values_out_of_the_rfcs_range_are_refused() -> None:
    for attempt in (
        lambda: expand_message_xmd(b"", b"", 32),
        lambda: expand_message_xmd(b"", b"d" * 256, 32),
        lambda: expand_message_xmd(b"", DST, 0),
        lambda: expand_message_xmd(b"", DST, 255 * 64 + 1),
        lambda: digest_all([], session=bytes(31), dst=DST),
        lambda: digest_all([], session=SESSION, dst=b""),
    ):
        with pytest.raises(MisuseError):
            attempt()
    assert len(expand_message_xmd(b"", DST, 255 * 64)) == 255 * 64
