"""A real OpenID provider on loopback for tests: discovery, keys, the device grant, and tokens, good and bad.

with LocalProvider() as provider:
    provider.approve({"sub": "1", "preferred_username": "rosa"})  # the next device that asks is let in
"""

import base64
import hashlib
import hmac
import json
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

CLIENT = "inbond-cli"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


class SigningKeys:
    """One key for each algorithm, and what signs with them; `kid` is the algorithm's name."""

    def __init__(self) -> None:
        self.published: dict[str, Any] | None = None  # in place of these keys
        self.keys: dict[str, Key] = {
            "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
            "ES256": ec.generate_private_key(ec.SECP256R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate(),
        }

    def jwks(self) -> dict[str, Any]:
        """The JWK set (RFC 7517), with keys of kinds that nobody should use for this."""
        strange = [
            {"kty": "oct", "k": "c2VjcmV0", "kid": "HS256"},
            {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "short"},
        ]
        return {"keys": [*(public_jwk(key) | {"kid": name, "use": "sig"} for name, key in self.keys.items()), *strange]}

    def sign(self, claims: Mapping[str, Any], algorithm: str = "RS256", header: Mapping[str, Any] | None = None) -> str:
        """A token that a real provider could have made, but for what `header` changes."""
        head = {"alg": algorithm, "kid": algorithm, "typ": "JWT", **(header or {})}
        text = f"{b64(json.dumps(head).encode())}.{b64(json.dumps(claims).encode())}"
        return f"{text}.{b64(self._signature(algorithm, text.encode()))}"

    def _signature(self, algorithm: str, data: bytes) -> bytes:
        key = self.keys[algorithm]
        if isinstance(key, rsa.RSAPrivateKey):
            return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return key.sign(data)
        halves = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
        return b"".join(half.to_bytes(32, "big") for half in halves)

    def public_pem(self, algorithm: str) -> bytes:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.keys[algorithm].public_key().public_bytes(serialization.Encoding.PEM, form)


def public_jwk(key: Key) -> dict[str, str]:
    """A public key as RFC 7518 section 6 and RFC 8037 section 2 have it."""
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.public_key().public_numbers()
        return {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": b64(key.public_key().public_bytes_raw())}
    point = key.public_key().public_numbers()
    return {"kty": "EC", "crv": "P-256", "x": b64(point.x.to_bytes(32, "big")), "y": b64(point.y.to_bytes(32, "big"))}


def unsigned(claims: Mapping[str, Any]) -> str:
    """A token with `alg: none` (RFC 7519 section 6)."""
    return f"{b64(json.dumps({'alg': 'none'}).encode())}.{b64(json.dumps(claims).encode())}."


def shared_secret(claims: Mapping[str, Any], secret: bytes, kid: str) -> str:
    """A token signed HS256 with what everybody knows: the public key."""
    head = {"alg": "HS256", "typ": "JWT", "kid": kid}
    text = f"{b64(json.dumps(head).encode())}.{b64(json.dumps(claims).encode())}"
    return f"{text}.{b64(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"


class LocalProvider:
    """The running provider; `tls` is certificate and key files for `https://localhost`."""

    def __init__(self, tls: tuple[Path, Path] | None = None) -> None:
        self.signing, self.algorithm = SigningKeys(), "RS256"
        self.echoes_nonce = True
        self.answers: list[tuple[int, Mapping[str, Any]]] = []  # of the token endpoint, before it judges by itself
        self.asked: list[tuple[str, dict[str, str]]] = []  # path and form of every POST
        self.fetched: list[str] = []  # path of every GET
        self.pages: dict[str, tuple[int, bytes, dict[str, str]]] = {}  # answers that replace the real ones
        self._people: list[dict[str, Any]] = []
        self._devices: dict[str, tuple[dict[str, str], dict[str, Any] | None]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.issuer = f"http{'s' if tls else ''}://localhost:{self._server.server_port}/realm"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def approve(self, person: Mapping[str, Any]) -> None:
        """Let the next device in as this person, as if they had typed its code and passed the provider's checks."""
        self._people.append(dict(person))

    def claims(self, person: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
        """The claims of a fresh ID token."""
        now = int(time.time())
        fresh = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "jti": secrets.token_hex(8)}
        return {**fresh, **person, **changes}

    def description(self) -> dict[str, Any]:
        """The discovery document."""
        return {
            "issuer": self.issuer,
            "jwks_uri": f"{self.issuer}/keys",
            "device_authorization_endpoint": f"{self.issuer}/device",
            "token_endpoint": f"{self.issuer}/token",
        }

    def get(self, path: str) -> tuple[int, Mapping[str, Any]]:
        self.fetched.append(path)
        if path == "/realm/.well-known/openid-configuration":
            return 200, self.description()
        return (
            (200, self.signing.published or self.signing.jwks())
            if path == "/realm/keys"
            else (404, {"error": "not_found"})
        )

    def post(self, path: str, form: dict[str, str]) -> tuple[int, Mapping[str, Any]]:
        self.asked.append((path, form))
        if path == "/realm/device":
            return self._start(form)
        return self._token(form) if path == "/realm/token" else (404, {"error": "not_found"})

    def _start(self, form: dict[str, str]) -> tuple[int, Mapping[str, Any]]:
        if form.get("client_id") != CLIENT or "openid" not in form.get("scope", "").split():
            return 401, {"error": "invalid_client"}
        device = secrets.token_urlsafe(16)
        self._devices[device] = (form, self._people.pop(0) if self._people else None)
        page = f"{self.issuer}/page"
        return 200, {
            "device_code": device,
            "user_code": "WDJB-MJHT",
            "verification_uri": page,
            "verification_uri_complete": f"{page}?user_code=WDJB-MJHT",
            "expires_in": 60,
            "interval": 0.01,
        }

    def _token(self, form: dict[str, str]) -> tuple[int, Mapping[str, Any]]:
        if self.answers:
            return self.answers.pop(0)
        if form.get("grant_type") != DEVICE_GRANT or form.get("client_id") != CLIENT:
            return 400, {"error": "unsupported_grant_type"}
        started, person = self._devices.get(form.get("device_code", ""), ({}, None))
        if not started:
            return 400, {"error": "expired_token"}
        if person is None:
            return 400, {"error": "authorization_pending"}
        bound = {"nonce": started["nonce"]} if self.echoes_nonce and "nonce" in started else {}
        return 200, {"access_token": "x", "id_token": self.signing.sign(self.claims(person, **bound), self.algorithm)}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(lambda: provider.get(self.path))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                self._answer(lambda: provider.post(self.path, {name: one[0] for name, one in parse_qs(body).items()}))

            def _answer(self, act: Callable[[], tuple[int, Mapping[str, Any]]]) -> None:
                if self.path in provider.pages:
                    status, data, headers = provider.pages[self.path]
                else:
                    status, value = act()
                    data, headers = json.dumps(value).encode(), {}
                self.send_response(status)
                for name, text in {"Content-Type": "application/json", "Content-Length": str(len(data))}.items():
                    self.send_header(name, text)
                for name, text in headers.items():
                    self.send_header(name, text)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
                return

        return Handler
