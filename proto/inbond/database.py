"""Open a node's state database: SQLite in WAL mode by default, PostgreSQL by its URL; schema by Alembic.

State that a crash of the process may not lose survives it in WAL mode; what a power loss may not lose (evidence,
budget) is kept by `compliance` with synchronous=FULL.
"""

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from inbond.errors import InbondError


def _pragmas(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA busy_timeout=10000")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def open_database(url: str, migrations: Path) -> Engine:
    """The engine at `url`, brought to the newest schema of the folder `migrations`; raises InbondError."""
    engine = create_engine(url, future=True)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _pragmas)
    config = Config()
    config.set_main_option("script_location", str(migrations))
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except (SQLAlchemyError, CommandError, OSError) as error:
        engine.dispose()
        reason = str(error).splitlines()[0]
        raise InbondError(f"cannot be opened ({reason})", where=url, right="a writable database of this node") from None
    return engine


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file."""
    return f"sqlite:///{path}"
