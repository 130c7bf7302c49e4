"""Schemas of the node's databases, one folder of Alembic revisions each; applied whenever one is opened."""

import sqlite3
import threading
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

_FOLDER = Path(__file__).parent
_ONE_AT_A_TIME = threading.Lock()
"""Alembic's `op` is one for the whole process."""


def upgrade(path: Path, schema: str, busy_seconds: float) -> None:
    """Bring the SQLite file at `path` to the newest revision of `schema`, all in one transaction.

    Raises sqlite3.Error where the file cannot be changed.
    """
    engine = _engine(path, busy_seconds)
    config = Config()
    script = script_directory(schema)
    try:
        with (
            _ONE_AT_A_TIME,
            engine.begin() as connection,
            EnvironmentContext(
                config, script, fn=lambda revision, _: script._upgrade_revs("head", revision)
            ) as environment,
        ):
            environment.configure(connection=connection)
            environment.run_migrations()
    except DBAPIError as error:
        raise (error.orig if isinstance(error.orig, sqlite3.Error) else sqlite3.Error(str(error))) from error
    finally:
        engine.dispose()


def script_directory(schema: str) -> ScriptDirectory:
    """Return the revisions of one schema, `audit` or `budget`."""
    folder = str(_FOLDER / schema)
    return ScriptDirectory(folder, version_locations=[folder])


def _engine(path: Path, busy_seconds: float) -> Engine:
    """Return an engine whose transactions take the write lock at once: two processes may open a new file."""
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": busy_seconds})

    @event.listens_for(engine, "connect")
    def _explicit(connection: Any, _record: object) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _immediate(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
