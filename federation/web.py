"""JSON over HTTPS with an OpenID provider: bounded in size and time, no redirects, certificates always verified.

The provider learns the caller's address and what it is sent. Certificates are checked against the operating system's
authorities (`SSL_CERT_FILE` names others). Plain `http://` goes to this machine's own loopback and nowhere else.
"""

import ssl
import time
from collections.abc import Mapping
from typing import Any

import httpx

from inbond.errors import Unreachable
from policies.document import read_document
from policies.errors import InvalidInput
from policies.provider import check_url, is_loopback

MAX_BYTES = 256 * 1024
TIMEOUT_S = 10.0
LONGEST_S = 20.0  # of a whole answer, however slowly it drips


def fetch(url: str, form: Mapping[str, str] | None = None) -> tuple[int, dict[str, Any]]:
    """GET `url`, or POST a form to it: status and JSON object. Raises Unreachable, or InvalidInput for another URL."""
    check_url(url)
    plain = url.startswith("http://")
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    try:
        with (
            httpx.Client(
                verify=ssl.create_default_context(), timeout=TIMEOUT_S, trust_env=not plain, headers=headers
            ) as client,
            client.stream("GET" if form is None else "POST", url, data=form) as answer,
        ):
            return answer.status_code, _object(_read(answer, url), url)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        what = f"the provider does not answer ({type(error).__name__})"
        raise Unreachable(
            what, where=url, right="a running provider with a certificate that this system trusts"
        ) from None


def get(url: str) -> dict[str, Any]:
    """The JSON object at `url`; raises Unreachable when the answer is anything but a plain 200."""
    status, value = fetch(url)
    if status != 200:
        raise Unreachable(f"the provider answers with status {status}", where=url, right="200, without a redirect")
    return value


def discover(issuer: str) -> dict[str, Any]:
    """A provider's own description (OpenID Connect Discovery 1.0, section 4); raises Unreachable for another's."""
    url = issuer.rstrip("/") + "/.well-known/openid-configuration"
    found = get(url)
    if found.get("issuer") != issuer:
        raise Unreachable("the description of another issuer", where=url, right=f"issuer {issuer}, to the letter")
    return found


def endpoint(description: Mapping[str, Any], name: str, issuer: str) -> str:
    """A URL of the provider's description; plain http only where the issuer itself is on loopback. Or Unreachable."""
    url = description.get(name)
    try:
        checked = check_url(url) if isinstance(url, str) else ""
    except InvalidInput:
        checked = ""
    if not checked or (checked.startswith("http://") and not is_loopback(issuer)):
        raise Unreachable(f"no usable {name}", where=issuer, right="an https:// address in its discovery document")
    return checked


def _read(answer: httpx.Response, url: str) -> bytes:
    started, found = time.monotonic(), bytearray()
    for piece in answer.iter_raw():
        found += piece
        if len(found) > MAX_BYTES or time.monotonic() - started > LONGEST_S:
            right = f"at most {MAX_BYTES} bytes within {LONGEST_S:.0f} s"
            raise Unreachable("the provider's answer has no end", where=url, right=right)
    return bytes(found)


def _object(data: bytes, url: str) -> dict[str, Any]:
    """The object in `data`: JSON, and not what else a reader of documents would take."""
    try:
        text = data.decode()
        value = read_document(text, url).value if text.lstrip().startswith("{") else None
    except (UnicodeDecodeError, InvalidInput):
        value = None
    if not isinstance(value, dict):
        raise Unreachable("the provider's answer is no JSON object", where=url, right="an OpenID provider's address")
    return value
