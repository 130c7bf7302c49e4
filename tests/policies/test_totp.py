"""One-time codes are those of RFC 6238, near their time, and the newest step is named."""

from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA512

from policies.totp import STEP_S, code_of, matching_step, new_secret, provisioning_uri, step_at

SEED = b"12345678901234567890"
SEED_256 = b"12345678901234567890123456789012"
SEED_512 = b"1234567890123456789012345678901234567890123456789012345678901234"

# RFC 6238, appendix B
VECTORS = [
    (59, "94287082", "46119246", "90693936"),
    (1111111109, "07081804", "68084774", "25091201"),
    (1111111111, "14050471", "67062674", "99943326"),
    (1234567890, "89005924", "91819424", "93441116"),
    (2000000000, "69279037", "90698825", "38618901"),
    (20000000000, "65353130", "77737706", "47863826"),
]


@pytest.mark.parametrize(("seconds", "sha1", "sha256", "sha512"), VECTORS)
def test_the_codes_of_appendix_b(seconds: int, sha1: str, sha256: str, sha512: str) -> None:
    step = step_at(datetime.fromtimestamp(seconds, UTC))
    assert code_of(SEED, step, digits=8, algorithm=SHA1()) == sha1
    assert code_of(SEED_256, step, digits=8, algorithm=SHA256()) == sha256
    assert code_of(SEED_512, step, digits=8, algorithm=SHA512()) == sha512
    assert code_of(SEED, step) == sha1[-6:], "six digits are the last six"


def test_a_code_is_good_a_step_early_and_a_step_late_and_no_more() -> None:
    now = datetime.fromtimestamp(1111111111, UTC)
    here = step_at(now)
    found = [matching_step(SEED, code_of(SEED, here + away), now) for away in (-2, -1, 0, 1, 2)]
    assert found == [None, here - 1, here, here + 1, None]


@pytest.mark.parametrize("given", ["", "14050471", "050 471", "٠٥٠٤٧١", "050471\n"])
def test_only_the_six_digits_are_the_code(given: str) -> None:
    now = datetime.fromtimestamp(1111111111, UTC)
    assert matching_step(SEED, "050471", now) == 1111111111 // STEP_S
    assert matching_step(SEED, given, now) is None


def test_the_uri_tells_an_authenticator_everything() -> None:
    uri = urlsplit(provisioning_uri(SEED, "rosa", "acme.example"))
    assert (uri.scheme, uri.netloc, uri.path) == ("otpauth", "totp", "/acme.example:rosa")
    told = {name: values[0] for name, values in parse_qs(uri.query).items()}
    assert told == {
        "secret": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ",
        "issuer": "acme.example",
        "algorithm": "SHA1",
        "digits": "6",
        "period": "30",
    }


def test_secrets_are_fresh_and_long_enough() -> None:
    first, second = new_secret(), new_secret()
    assert first != second
    assert len(first) == 20
