"""The authority on the wire: who is refused learns a status and a fixed word, and nobody may try too often."""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from sqlalchemy.exc import SQLAlchemyError

from compliance.errors import ComplianceError
from federation.authority import Authority, Issued
from inbond import tls
from inbond.enrolment import Clock, utc_now
from inbond.errors import ConfigError, InbondError, Refused
from inbond.v1 import authority_pb2 as wire
from inbond.v1 import authority_pb2_grpc as wire_grpc
from policies.errors import InvalidIdentity, InvalidInput

Login = Callable[[wire.LoginRequest], Issued]

ATTEMPTS_PER_MINUTE = 30
MAX_CALLERS = 4096
WORKERS = 8

log = logging.getLogger(__name__)


def no_login(_request: wire.LoginRequest) -> Issued:
    """The `login` of an authority that lets people in by invitation only."""
    raise Refused("nobody logs in here", where="login", right="an invitation")


class Limiter:
    """Attempts per caller and minute; forgets everybody when the minute is over."""

    def __init__(self, limit: int, clock: Clock) -> None:
        self._limit, self._clock = limit, clock
        self._minute, self._counts = -1, Counter[str]()
        self._lock = threading.Lock()

    def allow(self, caller: str) -> bool:
        """Count one attempt of `caller`; False when it had too many, or too many callers came at all."""
        minute = int(self._clock().timestamp() // 60)
        with self._lock:
            if minute != self._minute:
                self._minute, self._counts = minute, Counter()
            self._counts[caller] += 1
            return self._counts[caller] <= self._limit and len(self._counts) <= MAX_CALLERS


class AuthorityServicer(wire_grpc.AuthorityServicer):
    """The authority on the wire. A refused caller learns a status and a fixed word."""

    def __init__(self, authority: Authority, clock: Clock = utc_now, login: Login = no_login) -> None:
        self._authority, self._clock, self._login = authority, clock, login
        self._limiter = Limiter(ATTEMPTS_PER_MINUTE, clock)

    def Enrol(self, request: wire.EnrolRequest, context: grpc.ServicerContext) -> wire.Certificates:  # noqa: N802  # gRPC's name
        """Certify the holder of an invitation."""
        self._check_attempts(context)
        with _refusals(context):
            tls.check_version(tls.auth_context(context))
            _check_fields(request)
            issued = self._authority.enrol(
                request.invitation, request.tls_request, request.signing_request, request.proof
            )
            return self._authority.answer(issued)

    def Login(self, request: wire.LoginRequest, context: grpc.ServicerContext) -> wire.Certificates:  # noqa: N802  # gRPC's name
        """Certify a person who logs in."""
        self._check_attempts(context)
        with _refusals(context):
            tls.check_version(tls.auth_context(context))
            _check_fields(request)
            return self._authority.answer(self._login(request))

    def Renew(self, request: wire.RenewRequest, context: grpc.ServicerContext) -> wire.Certificates:  # noqa: N802  # gRPC's name
        """Certify the caller again."""
        peer = tls.authorise(context, self._authority.trust(), self._clock())
        with _refusals(context):
            _check_fields(request)
            issued = self._authority.renew(peer, request.tls_request, request.signing_request)
            return self._authority.answer(issued)

    def DenyList(self, request: wire.DenyListRequest, context: grpc.ServicerContext) -> wire.DenyListReply:  # noqa: N802  # gRPC's
        """The newest deny list; it is signed, and no secret."""
        with _refusals(context):
            tls.check_version(tls.auth_context(context))
            _check_fields(request)
            return wire.DenyListReply(token=self._authority.denylist_token())

    def _check_attempts(self, context: grpc.ServicerContext) -> None:
        if not self._limiter.allow(context.peer().rpartition(":")[0]):
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many attempts")


@dataclass(frozen=True, slots=True)
class Serving:
    """A running authority: its gRPC server and the ports that it got."""

    server: grpc.Server
    enrol_port: int
    port: int


def serve(
    authority: Authority, enrol_listen: str, listen: str, *, clock: Clock = utc_now, login: Login = no_login
) -> Serving:
    """Serve on two `host:port` (port 0: any): enrolment and login without, the rest with client certificates."""
    server = grpc.server(ThreadPoolExecutor(WORKERS), options=list(tls.SERVER_OPTIONS), maximum_concurrent_rpcs=64)
    servicer = AuthorityServicer(authority, clock, login)
    wire_grpc.add_AuthorityServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]  # generated code
    ports = []
    for where, mutual in ((enrol_listen, False), (listen, True)):
        credentials = tls.server_credentials(authority.tls_identity, client_certificates=mutual)
        try:
            ports.append(server.add_secure_port(where, credentials))
        except RuntimeError:
            raise ConfigError("cannot listen", where=where, right="a free host:port of this machine") from None
    server.start()
    return Serving(server, ports[0], ports[1])


@contextmanager
def _refusals(context: grpc.ServicerContext) -> Iterator[None]:
    """Turn our refusals into a status and a fixed word; the reason goes to our log."""
    try:
        yield
    except Refused as error:
        log.warning("refused %s: %s", context.peer(), error)
        context.abort(grpc.StatusCode.PERMISSION_DENIED, tls.FORBIDDEN)
    except (InvalidIdentity, InvalidInput) as error:
        log.warning("refused %s: %s", context.peer(), error)
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not a valid request")
    except (InbondError, ComplianceError, SQLAlchemyError) as error:
        log.warning("cannot answer %s: %s", context.peer(), error)
        context.abort(grpc.StatusCode.UNAVAILABLE, "cannot answer now")


def _check_fields(request: Message) -> None:
    if len(UnknownFieldSet(request)):
        raise InvalidInput("unknown fields", where=request.DESCRIPTOR.name, right="this version's message")
