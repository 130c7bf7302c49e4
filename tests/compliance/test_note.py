"""Signed notes as c2sp.org/signed-note has them, and what is refused."""

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from compliance.errors import InvalidNote
from compliance.note import MAX_NOTE_BYTES, Note, Signature, VerifierKey, parse_note, sign_note

VECTOR = json.loads(
    (Path(__file__).parents[1] / "vectors" / "note" / "example_message_signed_by_example_com_foo.json").read_text()
)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
NAME = "example.com/log"
TEXT = "line one\n\nline three\n"


def test_the_published_example_verifies() -> None:
    key = VerifierKey.parse(VECTOR["vkey"])
    note = parse_note(f"{VECTOR['text']}\n— {key.name} {VECTOR['signature']}\n".encode())
    assert note.text == VECTOR["text"]
    assert note.verify([key]) == (key,)
    assert str(key) == VECTOR["vkey"]


def test_what_was_signed_parses_and_verifies_with_blank_lines_in_the_text() -> None:
    note = sign_note(TEXT, NAME, KEY)
    again = parse_note(str(note).encode())
    assert again == note
    assert again.verify([VerifierKey.of(NAME, KEY)])


def test_unknown_signatures_are_ignored_beside_a_known_one() -> None:
    note = sign_note(TEXT, NAME, KEY)
    strangers = tuple(Signature(f"witness{n}", bytes([n] * 4), bytes(72)) for n in range(16))
    signed = parse_note(str(Note(TEXT, strangers + note.signatures)).encode())
    assert signed.verify([VerifierKey.of(NAME, KEY)])


def test_a_known_key_that_fails_spoils_the_note_whatever_else_signed() -> None:
    good = sign_note(TEXT, NAME, KEY).signatures[0]
    bad = Signature(NAME, good.key_id, bytes(64))
    with pytest.raises(InvalidNote, match="fails"):
        Note(TEXT, (good, bad)).verify([VerifierKey.of(NAME, KEY)])


def test_a_note_without_a_known_signature_is_refused() -> None:
    other = VerifierKey.of(NAME, Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32))
    with pytest.raises(InvalidNote, match="no signature of a known key"):
        sign_note(TEXT, NAME, KEY).verify([other])


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000))
def test_a_note_with_any_bit_flipped_does_not_verify(position: int) -> None:
    raw = bytearray(str(sign_note(TEXT, NAME, KEY)).encode())
    raw[position // 8 % len(raw)] ^= 1 << position % 8
    with pytest.raises(InvalidNote):
        parse_note(bytes(raw)).verify([VerifierKey.of(NAME, KEY)])


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: f"t\n\n— {text}\n".encode(errors="replace")))
def test_whatever_bytes_arrive_are_a_note_or_an_invalid_note(data: bytes) -> None:
    try:
        note = parse_note(data)
    except InvalidNote:
        return
    assert str(note).encode() == data


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (b"x" * (MAX_NOTE_BYTES + 1), "bytes"),
        (b"\xff\n\n", "UTF-8"),
        (b"text\n", "no signature block"),
        (b"te\x07xt\n\n\xe2\x80\x94 a AAAAAAA=\n", "control"),
        (b"text\n\n- a AAAAAAA=\n", "signature line"),
        ("text\n\n— a AAAAAA==\n".encode(), "too short"),
        ("text\n\n— a AAAAAAB=\n".encode(), "stray bits"),
        (("text\n\n" + "— a AAAAAAA=\n" * 101).encode(), "101 signatures"),
    ],
)
def test_malformed_notes_say_what_is_wrong(raw: bytes, what: str) -> None:
    with pytest.raises(InvalidNote, match=what):
        parse_note(raw)


@pytest.mark.parametrize(
    ("vkey", "what"),
    [
        ("example.com/foo+530d903a", "three parts"),
        (VECTOR["vkey"].replace("530d903a", "530d903b"), "key id"),
        (VECTOR["vkey"].replace("example", "exemple"), "key id"),
        ("a+00000000+" + base64.b64encode(b"\x04" + bytes(32)).decode(), "type"),
        ("a+00000000+" + base64.b64encode(b"\x01" + bytes(31)).decode(), "31 bytes"),
    ],
)
def test_malformed_verifier_keys_say_what_is_wrong(vkey: str, what: str) -> None:
    with pytest.raises(InvalidNote, match=what):
        VerifierKey.parse(vkey)


@pytest.mark.parametrize("text", ["no newline", "tab\there\n", ""])
def test_only_plain_lines_are_signed(text: str) -> None:
    with pytest.raises(InvalidNote):
        sign_note(text, NAME, KEY)
