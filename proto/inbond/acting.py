"""Every command that changes something at a node's folder, or shows people's data there, is decided on before it does
anything: by the node's own policies, default deny.

Who learns what: the node's evidence log gets who (a person, or the node itself for its keeper), role, organisation,
command, effect, rules, a person's signature, and a commitment to the arguments under a key of the node: arguments may
name people. Nothing leaves the node. Whoever can write the node's files can go around the command; what this gives is
separation among those who use it, and evidence of who did what.
"""

import contextlib
import hashlib
import inspect
import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from compliance.audit.entry import EntryType, commitment
from inbond.act_token import AskedAct, open_act, sign_act
from inbond.config import load, node_people
from inbond.endorsed import check_policies
from inbond.errors import InbondError, Refused
from inbond.keystore import KeyStore
from inbond.member_cli import Role, load_role
from inbond.node import Node, extra_policies, utc_now
from policies.acts import ACTS, Actor, decide_act
from policies.bundle import load_baseline
from policies.engine import Engine
from policies.envelope import Signer
from policies.errors import InvalidIdentity
from policies.explain import explain
from policies.identity import SpiffeId, TrustStore

MARK = "decided_as"
"""The attribute of a command that is decided: its name in `policies.acts`."""

COMMITMENT_KEY = "acts"
_NOT_TOLD = frozenset({"home", "json", "unlock"})  # where the command is given, and how it answers

As = Annotated[
    Path | None,
    typer.Option("--as", envvar="INBOND_AS", help="Act by name: the folder of a person; else you are the keeper."),
]
Command = Callable[..., None]
Record = Callable[[EntryType, str, Mapping[str, Any]], None]


@dataclass(frozen=True)
class Place:
    """A folder at which commands are given: a node's or the authority's.

    `record` appends (kind, subject, data) durably to its evidence log; `ready` raises Refused while its policies may
    not be used.
    """

    home: Path
    node: SpiffeId
    organisation: str
    trust: TrustStore
    keystore: KeyStore
    record: Record
    ready: Callable[[], None] = lambda: None


At = Callable[[Mapping[str, Any]], AbstractContextManager[Place]]
"""Opens the place that a command's arguments name."""


def decided_at(at: At, name: str) -> Callable[[Command], Command]:
    """A decorator for the command `name` (as typed after `inbond`), under its registration.

    It gives the command an option `--as` and lets it run once the policies of the place `at` permit it, and say so in
    the place's log. Raises KeyError, when the module is loaded, for a command that `policies.acts` does not know.
    """
    _ = ACTS[name]

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command)

        @wraps(command)
        def act(*positional: Any, as_: Path | None = None, **named: Any) -> None:
            given = signature.bind(*positional, **named)
            given.apply_defaults()
            with at(given.arguments) as place:
                admit(place, name, given.arguments, as_)
            command(*positional, **named)

        option = inspect.Parameter("as_", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=As)
        act.__signature__ = signature.replace(parameters=[*signature.parameters.values(), option])  # type: ignore[attr-defined]
        act.__annotations__ = {**command.__annotations__, "as_": As}
        setattr(act, MARK, name)
        return act

    return decorate


def decided(name: str, role: Role | None = "party") -> Callable[[Command], Command]:
    """`decided_at` the node in the command's `home`, which must be one of `role`; None for any."""
    return decided_at(partial(_at_node, name, role), name)


@contextmanager
def _at_node(name: str, role: Role | None, given: Mapping[str, Any]) -> Iterator[Place]:
    home: Path = given["home"]
    _ = load_role(home, role) if role else load(home)
    node = Node.open(home)
    # the policies that are to be accepted are those in the folder, so that accepting them cannot wait for it
    ready = (lambda: None) if ACTS[name] == "policies" else partial(check_policies, node, utc_now())
    try:
        yield Place(
            home,
            node.credentials.spiffe_id,
            node_people(home).organisation,
            trust=node.trust,
            keystore=node.keystore,
            record=lambda kind, subject, data: node.record(kind, subject=subject, data=data),
            ready=ready,
        )
    finally:
        node.close()


def admit(place: Place, name: str, given: Mapping[str, Any], person: Path | None) -> None:
    """Decide on the command `name` with the arguments `given`, by the keeper or by the `person` in that folder.

    Raises Refused with the rule, LogUnavailable where it cannot be logged, InvalidPolicy where nothing can be decided.
    """
    told = {"act": name, "arguments": _committed(place, name, given)}
    try:
        place.ready()
        actor, signed = _actor(place, name, told["arguments"], person)
    except (InbondError, InvalidIdentity) as error:
        place.record(EntryType.REFUSAL, str(place.node), {**told, "effect": "deny", "reason": error.what})
        if isinstance(error, InbondError):
            raise
        raise Refused(error.what, where=error.where, right=error.right) from None
    engine = Engine(load_baseline(extra_policies(place.home)))
    decision = decide_act(engine, actor, name, node=place.node, organisation=place.organisation)
    kind = EntryType.DECISION if decision.permitted else EntryType.REFUSAL
    who = {"role": actor.role, "organisation": actor.organisation, "signed": signed}
    place.record(kind, str(actor.name), {**told, **who, **decision.logged()})
    if not decision.permitted:
        raise Refused(" ".join(explain(decision)))


def _actor(place: Place, name: str, arguments: str, person: Path | None) -> tuple[Actor, str | None]:
    """Who acts, and the signature of a person; raises InvalidIdentity, or ConfigError for no person's folder."""
    if person is None:
        return Actor.keeper(place.node), None
    asked, now = AskedAct(place.node, name, arguments, secrets.token_hex(16)), utc_now()
    token = sign_act(_signer(person), asked, now)
    return Actor.person(open_act(token, asked, trust=place.trust, now=now)), token


def _signer(home: Path) -> Signer:
    """The person in `home`, with a certificate that is renewed where that is due and the authority answers."""
    load_role(home, "user")
    person = Node.open(home, audit=False)
    with contextlib.suppress(InbondError):  # whether the certificate is good is judged by the node
        person.renew()
    return person.signer()


def _committed(place: Place, name: str, given: Mapping[str, Any]) -> str:
    """A commitment to a command and its arguments, files by content; what comes by standard input is not in it."""
    told = {key: _told(value) for key, value in given.items() if key not in _NOT_TOLD}
    return commitment(place.keystore.derived(COMMITMENT_KEY), json.dumps([name, told], sort_keys=True))


def _told(value: Any) -> Any:
    if isinstance(value, list):
        return [_told(one) for one in value]
    if isinstance(value, Path) and value.is_file():
        with contextlib.suppress(OSError), value.open("rb") as file:  # the command says itself what it cannot read
            return {"sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    return value if isinstance(value, str | int | float | None) else str(value)
