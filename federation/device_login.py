"""Login at an OpenID provider from a command line: the device authorization grant (RFC 8628).

The person opens the provider's page on any machine, and types a code there: this process never sees what they prove
themselves with. It gets an ID token, bound to its own keys by `nonce` where the provider carries one through. A public
client: there is no secret to keep.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from federation import web
from inbond.errors import Refused, Unreachable
from policies.errors import InvalidInput
from policies.id_token import MAX_TOKEN_BYTES
from policies.provider import Client, check_url

GRANT = "urn:ietf:params:oauth:grant-type:device_code"
INTERVAL_S, MAX_INTERVAL_S = 5.0, 60.0  # RFC 8628 section 3.2: five seconds where nothing is said
SLOWER_S = 5.0  # section 3.5: slow_down
MAX_LIFE_S = 1800.0
MAX_CODE = 64


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the person is asked to do: open `url` and type `code`, or open `direct`, which holds the code."""

    url: str
    code: str
    direct: str


def device_login(
    client: Client,
    nonce: str,
    tell: Callable[[Prompt], None],
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> str:
    """The ID token of whoever follows the prompt. Raises Refused (by person or provider, or too late), Unreachable."""
    description = web.discover(client.issuer)
    started_at = web.endpoint(description, "device_authorization_endpoint", client.issuer)
    token_url = web.endpoint(description, "token_endpoint", client.issuer)
    status, started = web.fetch(started_at, {"client_id": client.client_id, "scope": client.scopes, "nonce": nonce})
    if status != 200:
        raise _refused(started_at, started)
    tell(_prompt(started, started_at))
    interval = _seconds(started, "interval", INTERVAL_S, MAX_INTERVAL_S)
    end = clock() + _seconds(started, "expires_in", MAX_LIFE_S, MAX_LIFE_S)
    form = {"grant_type": GRANT, "client_id": client.client_id, "device_code": str(started.get("device_code", ""))}
    while clock() + interval <= end:
        sleep(interval)
        try:
            status, answer = web.fetch(token_url, form)
        except Unreachable:
            interval = min(2 * interval, MAX_INTERVAL_S)  # section 3.5: a provider that is away is asked less often
            continue
        if status == 200:
            return _id_token(answer, token_url)
        interval += _pause(answer, token_url)
    raise Refused(
        "nobody logged in in time", where=client.issuer, right="inbond login, and the page before the code ends"
    )


def _pause(answer: dict[str, Any], where: str) -> float:
    """How much longer to wait from now on; raises Refused when there is nothing to wait for."""
    match answer.get("error"):
        case "authorization_pending":
            return 0.0
        case "slow_down":
            return SLOWER_S
        case _:
            raise _refused(where, answer)


def _refused(where: str, answer: dict[str, Any]) -> Refused:
    said = str(answer.get("error", "no reason"))[:MAX_CODE]
    right = "a client of the provider that may use the device grant, and a person who agrees"
    return Refused(f"the provider refuses ({said})", where=where, right=right)


def _prompt(started: dict[str, Any], where: str) -> Prompt:
    url, code, direct = (started.get(name) for name in ("verification_uri", "user_code", "verification_uri_complete"))
    try:
        checked = check_url(url) if isinstance(url, str) else ""
        straight = check_url(direct) if isinstance(direct, str) else ""
    except InvalidInput:
        checked = straight = ""
    if not checked or not isinstance(code, str) or not 0 < len(code) <= MAX_CODE or not started.get("device_code"):
        raise Unreachable("no page or no code to log in with", where=where, right="RFC 8628 section 3.2")
    return Prompt(checked, code, straight)


def _seconds(started: dict[str, Any], name: str, default: float, most: float) -> float:
    value = started.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return default
    return min(float(value), most)


def _id_token(answer: dict[str, Any], where: str) -> str:
    token = answer.get("id_token")
    if not isinstance(token, str) or not 0 < len(token) <= MAX_TOKEN_BYTES:
        raise Refused("the provider gave no ID token", where=where, right="scope openid, for this client")
    return token
