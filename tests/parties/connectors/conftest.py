"""One PostgreSQL server for all tests marked `postgres`: INBOND_TEST_POSTGRES names it, else one is started."""

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.parties.connectors.server import VARIABLE, NoServer, Server
from tests.support.servers import NotInstalled, left_out

pytest.register_assert_rewrite("parties.connectors.testing")
PASSWORD = "s3cret-of-the-reader"
PASSWORD_VARIABLE = "INBOND_TEST_READER"
READER = "reader"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "postgres: needs PostgreSQL's server, which .ci/postgres installs")


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server with a user `reader` who may read whatever is in the schema `shop`."""
    given = os.environ.get(VARIABLE)
    if given:
        url, _, folder = given.partition(" ")
        found = Server(url, Path(folder))
    else:
        try:
            found = Server.start()
        except NotInstalled as error:
            left_out(error)
        except NoServer as error:
            pytest.fail(str(error), pytrace=False)
    try:
        with psycopg.connect(found.url, autocommit=True) as admin:
            admin.execute("DROP SCHEMA IF EXISTS shop CASCADE")
            admin.execute("CREATE SCHEMA shop")
            if admin.execute("SELECT 1 FROM pg_roles WHERE rolname = 'reader'").fetchone() is None:
                admin.execute(f"CREATE ROLE {READER} LOGIN")
            admin.execute(f"ALTER ROLE {READER} PASSWORD '{PASSWORD}'")
            admin.execute(f"GRANT USAGE ON SCHEMA shop TO {READER}")
            admin.execute(f"ALTER DEFAULT PRIVILEGES IN SCHEMA shop GRANT ALL ON TABLES TO {READER}")
        yield found
    finally:
        if not given:
            found.stop()
