"""Brings a database to the newest schema. Run by the owner's role; every other role only uses what is there."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

import diwan
from diwan.domain.errors import Final, Unavailable
from diwan.store.database import driver_url

# Two `diwan migrate` at once take turns on this advisory lock.
_TURN = 0x6469_7761_6E01


def migrations_folder() -> Path:
    """Where the migrations lie: inside the installed package, or beside it in a checkout.

    Raises `Final` where neither is there.
    """
    package = Path(diwan.__file__).resolve().parent
    for folder in (package / "_migrations", package.parent / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise Final("migrations.missing", "The migrations are not installed.", "Install diwan-casework again.")


def head() -> str:
    """The newest revision that this code knows."""
    newest = ScriptDirectory(str(migrations_folder())).get_current_head()
    if newest is None:
        raise Final("migrations.missing", "There are no migrations.", "Install diwan-casework again.")
    return newest


def current(url: str) -> str | None:
    """The revision of the database at `url`, None where it has no schema. Raises `Unavailable`."""
    engine = create_engine(driver_url(url), poolclass=NullPool, hide_parameters=True)
    try:
        with engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    except OperationalError:
        raise Unavailable("database.unavailable", "The database does not answer.", "Try again.") from None


def upgrade(url: str, revision: str = "head", *, lock_seconds: int = 10, statement_seconds: int = 600) -> str:
    """Runs what is missing, in one transaction, and gives the revision reached. `url` is the owner's.

    A table that is busy for `lock_seconds` stops the migration instead of the ministry (`Unavailable`): nothing has
    changed then, run it again.
    """
    engine = create_engine(driver_url(url), poolclass=NullPool, hide_parameters=True)
    try:
        with engine.begin() as connection:
            connection.execute(text("select pg_advisory_xact_lock(:turn)"), {"turn": _TURN})
            for setting, seconds in (("lock_timeout", lock_seconds), ("statement_timeout", statement_seconds)):
                connection.execute(text("select set_config(:s, :v, true)"), {"s": setting, "v": f"{seconds}s"})
            config = Config()
            config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
            config.set_main_option("path_separator", "os")
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            reached = MigrationContext.configure(connection).get_current_revision()
    except OperationalError as error:
        raise Unavailable(
            "migration.unavailable",
            f"The migration stopped ({getattr(error.orig, 'sqlstate', None) or 'no connection'}); nothing changed.",
            "Run it again when the database answers and is less busy.",
        ) from None
    return reached or ""
