"""A PostgreSQL server of one's own: on loopback, in a temporary folder, as an unprivileged user, with TLS.

`python -m tests.parties.connectors.server start` prints what a shell must export, `... stop FOLDER` ends it.
"""

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.servers import NotInstalled

VARIABLE = "INBOND_TEST_POSTGRES"
ADMIN = "admin"


class NoServer(Exception):
    """PostgreSQL does not start."""


def binaries() -> Path:
    """The folder of initdb and pg_ctl; raises NotInstalled that says how to get them."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    path = str(found[-1]) if found else shutil.which("initdb")
    if path is None:
        raise NotInstalled("PostgreSQL's server is not installed; run .ci/postgres")
    return Path(path).resolve().parent


@dataclass(frozen=True)
class Server:
    """A running server: its administrator's URL (with password) and the file of its certificate."""

    url: str
    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "server.crt"

    @classmethod
    def start(cls) -> "Server":
        """Make a cluster and start it; raises NoServer."""
        tools, folder, password = binaries(), Path(tempfile.mkdtemp(prefix="inbond-postgres-")), secrets.token_hex(16)
        _make_certificate(folder)
        secret = folder / "password"
        secret.write_text(password, "utf-8")
        _give_away(folder)
        data = folder / "data"
        make = f"-U {ADMIN} -A scram-sha-256 -E UTF8 --locale C.UTF-8 --no-sync"
        _run(folder, [tools / "initdb", "-D", data, "--pwfile", secret, *make.split()])
        port = _free_port()
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": "",
            "fsync": "off",
            "ssl": "on",
            "ssl_cert_file": folder / "server.crt",
            "ssl_key_file": folder / "server.key",
        }
        text = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
        with (data / "postgresql.conf").open("a", encoding="utf-8") as config:
            config.write(text)
        _run(folder, [tools / "pg_ctl", "-D", data, "-l", folder / "log", "-w", "-t", "60", "start"])
        return cls(f"postgresql://{ADMIN}:{password}@127.0.0.1:{port}/postgres", folder)

    def stop(self) -> None:
        """End the server and remove its folder."""
        _run(self.folder, [binaries() / "pg_ctl", "-D", self.folder / "data", "-m", "immediate", "-w", "stop"])
        shutil.rmtree(self.folder)


def _run(folder: Path, command: Sequence[str | Path]) -> None:
    """Run a tool of the server, which refuses to run as root."""
    user = _unprivileged()
    with (folder / "errors").open("wb") as errors:
        done = subprocess.run(
            list(map(str, command)),
            cwd=folder,
            user=user.pw_uid if user else None,
            group=user.pw_gid if user else None,
            extra_groups=[] if user else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            check=False,
        )
    if done.returncode:
        logs = (path.read_text("utf-8", "replace") for path in (folder / "errors", folder / "log") if path.exists())
        raise NoServer(f"{command[0]} failed: {' '.join(logs)[-2000:]}")


def _unprivileged() -> pwd.struct_passwd | None:
    """The user to become; None for who is not root."""
    if os.geteuid():
        return None
    names = {user.pw_name: user for user in pwd.getpwall()}
    return names.get("postgres") or names["nobody"]


def _give_away(folder: Path) -> None:
    user = _unprivileged()
    for path in (folder, *folder.iterdir()):
        path.chmod(0o700 if path.is_dir() else 0o600)
        if user:
            os.chown(path, user.pw_uid, user.pw_gid)


def _make_certificate(folder: Path) -> None:
    """A certificate for 127.0.0.1 and localhost, signed by itself."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "server.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    (folder / "server.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def main(arguments: Sequence[str]) -> int:
    """`start`, or `stop FOLDER`."""
    try:
        if arguments == ["start"]:
            server = Server.start()
            sys.stdout.write(f"export {VARIABLE}='{server.url} {server.folder}'\n")
        elif len(arguments) == 2 and arguments[0] == "stop":
            Server("", Path(arguments[1])).stop()
        else:
            sys.stderr.write("usage: python -m tests.parties.connectors.server start | stop FOLDER\n")
            return 2
    except (NoServer, NotInstalled) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
