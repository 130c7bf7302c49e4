"""Login at the authority: what a person shows is judged here, and every attempt, good or bad, becomes evidence.

Who is refused learns nothing but that. The reason is in the authority's evidence log, without anything that the attempt
itself said: what is typed into the wrong field may be a password.
"""

import threading
from pathlib import Path
from typing import NoReturn

from federation.accounts import MAX_PASSWORD, Accounts
from federation.authority import Authority, Issued, Record
from federation.login_store import Proven
from federation.oidc import OidcLogin
from inbond.enrolment import Clock
from inbond.errors import InbondError, Refused, Unreachable
from inbond.v1 import authority_pb2 as wire
from policies.certificates import requested_binding
from policies.errors import InvalidIdentity, InvalidInput
from policies.identity import SpiffeId

AT_ONCE = 4  # half of the authority's workers: members must be able to renew, whoever tries to log in
MAX_CODE = 16
REFUSED = "login.refused"


class Logins:
    """Serves `Login`. Safe to share between threads."""

    def __init__(self, authority: Authority, home: Path, *, clock: Clock, record: Record) -> None:
        self._authority, self._record = authority, record
        self._oidc = OidcLogin(home, authority.trust_domain, clock)
        self._accounts = Accounts(authority, clock, record)
        self._places = threading.BoundedSemaphore(AT_ONCE)

    def __call__(self, request: wire.LoginRequest) -> Issued:
        """Certify whoever proves to be the named user.

        Raises Refused for every reason that lies with the person; Unreachable when the provider is away, or too many
        log in at once. An attempt that cannot be recorded is not answered.
        """
        if not self._places.acquire(blocking=False):
            raise Unreachable("too many logins at once", where="login", right="another try")
        try:
            return self._judged(request)
        finally:
            self._places.release()

    def _judged(self, request: wire.LoginRequest) -> Issued:
        method = "oidc" if request.id_token else "account"
        try:
            wanted = SpiffeId(self._authority.trust_domain, f"/user/{request.name}")
        except InvalidIdentity:
            self._refuse({}, method, "not a user's name")
        told = {"id": str(wanted)} if self._authority.knows(wanted) else {}
        try:
            binding = requested_binding(request.tls_request, request.signing_request)
            proven = self._proven(request, binding)
            if proven.spiffe_id != wanted:
                raise Refused("another's name", where="login", right="the name that the proof is for")
            details = {"method": method, "owner": proven.owner}
            if proven.provider:
                details["provider"] = proven.provider
            return self._authority.admit(proven, request.tls_request, request.signing_request, details)
        except (Refused, InvalidIdentity, InvalidInput) as error:
            self._refuse(told, method, f"{error.where}: " * bool(error.where) + error.what)
        except InbondError as error:  # nothing that lies with the person: the provider is away, a file is damaged
            self._record(REFUSED, {**told, "method": method, "reason": error.what})
            raise

    def _proven(self, request: wire.LoginRequest, binding: str) -> Proven:
        if request.id_token and not (request.password or request.code):
            return self._oidc.prove(request.id_token, binding)
        if request.id_token or not (request.password and request.code):
            raise InvalidInput("neither a token alone nor password and code", where="login", right="one of the two")
        if len(request.password) > MAX_PASSWORD or len(request.code) > MAX_CODE:
            raise InvalidInput("password or code too long", where="login", right=f"at most {MAX_PASSWORD}, {MAX_CODE}")
        return self._accounts.prove(request.name, request.password, request.code)

    def _refuse(self, told: dict[str, str], method: str, reason: str) -> NoReturn:
        """Record why, and tell the caller that it is refused."""
        self._record(REFUSED, {**told, "method": method, "reason": reason})
        raise Refused(reason, where="login", right="see the evidence log") from None
