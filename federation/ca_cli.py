"""`inbond ca ...`: found a consortium, run its authority, invite, revoke. Results on standard output only."""

import os
import signal
import threading
from collections.abc import Callable
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from rich.console import Console

from federation.authority import LEAF_LIFETIME, Authority
from federation.authority_service import serve
from federation.ca_home import (
    DEFAULT_HOME,
    DEFAULT_UNLOCK,
    UNLOCK_FILE,
    Country,
    Home,
    Json,
    Office,
    Organisation,
    UnlockSetting,
    decided,
    named,
    open_authority,
    recorder,
    show,
    unlocked,
)
from federation.ca_login_cli import accounts, people
from federation.ca_oidc_cli import oidc
from federation.logins import Logins
from inbond.console import emit, note, table
from inbond.enrolment import offline_reply, utc_now
from inbond.errors import ConfigError
from inbond.keystore import Unlock
from policies.certificates import MAX_REQUEST_BYTES, to_der, to_pem
from policies.errors import InvalidIdentity
from policies.identity import SpiffeId, Standing

STOP_SECONDS = 5.0
_PEM_END = "-----END CERTIFICATE REQUEST-----"

app = typer.Typer(no_args_is_help=True, help="The consortium's authority: members, certificates, revocation.")
app.add_typer(accounts, name="account")
app.add_typer(oidc, name="oidc")
app.add_typer(people)

Dns = Annotated[list[str] | None, typer.Option("--dns", help="DNS name in the certificate; repeatable.")]
Ip = Annotated[list[str] | None, typer.Option("--ip", help="IP address in the certificate; repeatable.")]

MEMBER_COLUMNS = ("name", "joined", "certified until", "state", "organisation", "role", "in")


@app.command()
def init(
    trust_domain: Annotated[str, typer.Argument(help="The consortium's name, such as acme.example.")],
    home: Home = DEFAULT_HOME,
    *,
    unlock: UnlockSetting = DEFAULT_UNLOCK,
    enrol_address: Annotated[str, typer.Option(help="host:port at which nodes enrol.")] = "localhost:8441",
    address: Annotated[str, typer.Option(help="host:port at which members renew.")] = "localhost:8442",
    dns: Dns = None,
    ip: Ip = None,
    days: Annotated[int, typer.Option(help="Life of the CA certificate.", min=1, max=90)] = 90,
    json: Json = False,
) -> None:
    """Found a consortium: CA key, CA certificate, and an unlock file if there is none."""
    if (home / "authority.db").exists():
        raise ConfigError("an authority is here already", where=str(home), right="another --home")
    SpiffeId(trust_domain, "/authority")  # a bad name is refused before anything is made
    key_file = home / UNLOCK_FILE
    if unlock == DEFAULT_UNLOCK and not key_file.exists():
        Unlock.new_file(key_file)
        note(f"unlock file made: {key_file}; keep a copy apart from the folder")
    names, numbers = _hosts(enrol_address, address)
    authority = Authority.create(
        home,
        trust_domain,
        unlocked(unlock, home),
        enrol_address=enrol_address,
        address=address,
        dns=sorted({*names, *(dns or [])}),
        ips=sorted({*numbers, *(ip or [])}),
        days=days,
        record=recorder(home, unlock),
    )
    show(_summary(authority), json)


@app.command()
def start(
    home: Home = DEFAULT_HOME,
    *,
    unlock: UnlockSetting = DEFAULT_UNLOCK,
    enrol_listen: Annotated[str, typer.Option(help="Own host:port for enrolment.")] = "0.0.0.0:8441",
    listen: Annotated[str, typer.Option(help="Own host:port for members.")] = "0.0.0.0:8442",
    certificate_hours: Annotated[
        float,
        typer.Option(
            envvar="INBOND_CA_CERTIFICATE_HOURS",
            help="Life of a member's certificate, 60 s of it in the past; renewed at half.",
            min=0.017,
            max=24,
        ),
    ] = LEAF_LIFETIME / timedelta(hours=1),
    json: Json = False,
) -> None:
    """Serve until interrupted or terminated."""
    authority = open_authority(home, unlock, timedelta(hours=certificate_hours))
    logins = Logins(authority, home, clock=utc_now, record=recorder(home, unlock))
    serving = serve(authority, enrol_listen, listen, login=logins)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    show({"enrol_port": serving.enrol_port, "port": serving.port, "pid": os.getpid()}, json)
    stop.wait()
    serving.server.stop(STOP_SECONDS).wait()


@app.command()
def status(home: Home = DEFAULT_HOME, *, unlock: UnlockSetting = DEFAULT_UNLOCK, json: Json = False) -> None:
    """The CA certificate, its fingerprint and end, and how many members there are."""
    show(_summary(open_authority(home, unlock)), json)


@app.command()
@decided("ca invite")
def invite(
    name: Annotated[str, typer.Argument(help="coordinator, party/<name> or user/<name>.")],
    home: Home = DEFAULT_HOME,
    *,
    unlock: UnlockSetting = DEFAULT_UNLOCK,
    hours: Annotated[float, typer.Option(help="Life of the invitation.", min=0.01, max=720)] = 72,
    coordinator: Annotated[str, typer.Option(help="host:port of the coordinator, passed on.")] = "",
    organisation: Organisation = "",
    role: Office = "",
    country: Country = "",
    dns: Dns = None,
    ip: Ip = None,
    json: Json = False,
) -> None:
    """Print a single-use invitation: whoever holds the text may take the name."""
    authority = open_authority(home, unlock)
    invitation = authority.invite(
        named(name, authority),
        lifetime=timedelta(hours=hours),
        dns=dns or (),
        ips=ip or (),
        coordinator_address=coordinator,
        standing=Standing(organisation, role, country),
    )
    value = {
        "id": str(invitation.spiffe_id),
        "expires": invitation.expires.isoformat(),
        "invitation": str(invitation),
    }
    note(f"for {value['id']}, until {value['expires']}; hand it over in confidence")
    emit(value, json=json, human=lambda console: console.out(str(invitation), highlight=False))


@app.command()
@decided("ca revoke")
def revoke(
    target: Annotated[str, typer.Argument(help="A name such as party/p1 (for ever), or a serial in hex.")],
    home: Home = DEFAULT_HOME,
    *,
    reason: Annotated[str, typer.Option(help="Why; goes into the evidence.")],
    unlock: UnlockSetting = DEFAULT_UNLOCK,
    json: Json = False,
) -> None:
    """Put a name or one certificate on the deny list, which members fetch within seconds."""
    authority = open_authority(home, unlock)
    denied = authority.revoke(_target(target, authority), reason)
    show({"revoked": target, "deny_list_version": denied.version}, json)


@app.command("list")
def list_members(
    home: Home = DEFAULT_HOME,
    *,
    unlock: UnlockSetting = DEFAULT_UNLOCK,
    certificates: Annotated[bool, typer.Option("--certificates", help="Live certificates instead.")] = False,
    json: Json = False,
) -> None:
    """Members, or the certificates that have not ended."""
    authority = open_authority(home, unlock)
    rows = _certificate_rows(authority) if certificates else _member_rows(authority)
    columns = ("serial", "kind", "name", "ends") if certificates else MEMBER_COLUMNS
    emit(rows, json=json, human=_table(columns, [list(row.values()) for row in rows]))


@app.command()
@decided("ca sign")
def sign(
    requests: Annotated[Path, typer.Argument(help="File with the node's two requests (TLS, signing) in PEM.")],
    name: Annotated[str, typer.Argument(help="coordinator, party/<name> or user/<name>.")],
    home: Home = DEFAULT_HOME,
    *,
    out: Annotated[Path, typer.Option("--out", help="Reply file to carry back to the node.")],
    unlock: UnlockSetting = DEFAULT_UNLOCK,
    organisation: Organisation = "",
    role: Office = "",
    country: Country = "",
    dns: Dns = None,
    ip: Ip = None,
    json: Json = False,
) -> None:
    """Certify a node that cannot dial the authority, from a file."""
    authority = open_authority(home, unlock)
    tls_request, signing_request = _read_requests(requests)
    issued = authority.sign_offline(
        named(name, authority),
        tls_request,
        signing_request,
        dns=dns or (),
        ips=ip or (),
        standing=Standing(organisation, role, country),
    )
    out.write_text(offline_reply(authority.answer(issued), authority.certificate))
    show({"id": str(named(name, authority)), "reply": str(out), "fingerprint": _fingerprint(authority)}, json)


@app.command()
@decided("ca rotate")
def rotate(home: Home = DEFAULT_HOME, *, unlock: UnlockSetting = DEFAULT_UNLOCK, json: Json = False) -> None:
    """Make the next CA certificate; members learn it as they renew, and it signs from 48 hours on."""
    made = open_authority(home, unlock).rotate()
    fingerprint = made.fingerprint(hashes.SHA256()).hex()
    show({"next_fingerprint": fingerprint, "ends": made.not_valid_after_utc.isoformat()}, json)


def _hosts(*addresses: str) -> tuple[list[str], list[str]]:
    """The DNS names and the IP addresses of some `host:port`."""
    hosts = {address.rpartition(":")[0].strip("[]") for address in addresses}
    numbers = {host for host in hosts if _is_ip(host)}
    return sorted(hosts - numbers), sorted(numbers)


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _target(text: str, authority: Authority) -> SpiffeId | int:
    try:
        return named(text, authority)
    except InvalidIdentity:
        pass
    try:
        return int(text, 16)
    except ValueError:
        raise ConfigError("neither name nor serial", where=text[:80], right="party/p1, or a serial in hex") from None


def _read_requests(path: Path) -> tuple[bytes, bytes]:
    if path.stat().st_size > 2 * MAX_REQUEST_BYTES:
        raise ConfigError("file too large", where=str(path), right="two certificate requests in PEM")
    blocks = path.read_text(errors="replace").split(_PEM_END)[:-1]
    try:
        made = [to_der(x509.load_pem_x509_csr((block + _PEM_END).strip().encode())) for block in blocks]
    except ValueError:
        made = []
    if len(made) != 2:
        raise ConfigError("not two certificate requests", where=str(path), right="TLS and signing request in PEM")
    return made[0], made[1]


def _fingerprint(authority: Authority) -> str:
    return authority.certificate.fingerprint(hashes.SHA256()).hex()


def _summary(authority: Authority) -> dict[str, Any]:
    enrol_address, address = authority.addresses
    return {
        "trust_domain": authority.trust_domain,
        "fingerprint": _fingerprint(authority),
        "ends": authority.certificate.not_valid_after_utc.isoformat(),
        "enrol_address": enrol_address,
        "address": address,
        "members": len(authority.members()),
        "deny_list_version": authority.denied().version,
        "certificate": to_pem(authority.certificate).decode(),
    }


def _member_rows(authority: Authority) -> list[dict[str, str]]:
    return [
        {
            "name": _short(member.spiffe_id),
            "joined": f"{member.joined:%Y-%m-%d %H:%M}",
            "certified_until": f"{member.not_after:%Y-%m-%d %H:%M}" if member.not_after else "",
            "state": "revoked" if member.revoked else "member",
            "organisation": member.standing.organisation,
            "role": member.standing.office,
            "country": member.standing.country,
        }
        for member in authority.members()
    ]


def _certificate_rows(authority: Authority) -> list[dict[str, str]]:
    return [
        {
            "serial": row["serial"],
            "kind": row["kind"],
            "name": _short(row["spiffe_id"]),
            "ends": f"{row['not_after']:%m-%d %H:%M}",
        }
        for row in authority.serials()
    ]


def _short(spiffe_id: str) -> str:
    return SpiffeId.parse(spiffe_id).path.lstrip("/")


def _table(columns: tuple[str, ...], rows: list[list[str]]) -> Callable[[Console], None]:
    return lambda console: console.print(table(columns, rows))
