"""MLflow's SQLite database: made beside its place under a lock, then renamed, so it is whole or not there.

MLflow makes its tables by dozens of migrations that no lock guards and no transaction holds together.
"""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from pipelines.errors import UserError
from pipelines.storage import lock

SCHEME = "sqlite:///"
ASIDE = ".new"
PATIENCE_S = 120
"""How long to wait for another process that makes it: it takes that one a few seconds."""
_HOLDS = ("runs", "registered_models")
"""Tables whose rows are somebody's work."""


@contextmanager
def opened(uri: str) -> Iterator[None]:
    """The body opens the database at `uri`, which is there by then; of a server nothing is done here.

    Raises:
        UserError: it is a folder, or a database that a first command was stopped at.
        OSError: it cannot be made.
    """
    if uri.startswith("file:") or Path(uri).is_dir():
        raise UserError(f"{uri}: a folder is no MLflow server; give sqlite:///PATH/mlflow.db, or http://HOST:PORT")
    path = _path(uri)
    if path is None:
        yield
        return
    _ensure(path)
    try:
        yield
    except Exception as error:
        if _speaks_of_tables(error) and _holds_nothing(path):
            raise UserError(
                f"{path}: a first command was stopped while it made this database; no run is in it: "
                "delete the file and run the same command again"
            ) from None
        if type(error).__name__ == "CommandError":  # alembic's, which shares no class with those of MLflow
            raise OSError(str(error)) from error
        raise


def is_missing(uri: str) -> bool:
    """Whether `opened` would make the database."""
    path = _path(uri)
    return path is not None and not _is_there(path)


def _path(uri: str) -> Path | None:
    """The file of an SQLite URI; None: it is a server, another database, or has options."""
    return Path(uri.removeprefix(SCHEME)) if uri.startswith(SCHEME) and "?" not in uri else None


def _ensure(path: Path) -> None:
    if _is_there(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock.alone(path.with_name(f".{path.name}.lock"), PATIENCE_S):
        if not _is_there(path):
            _make(path)


def _is_there(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _make(path: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    aside = path.with_name(f".{path.name}{ASIDE}")
    shutil.rmtree(aside, ignore_errors=True)  # of one that was killed
    aside.mkdir()
    made = SqlAlchemyStore(f"{SCHEME}{aside / path.name}", (path.parent.absolute() / "mlartifacts").as_uri())
    made.engine.dispose()
    (aside / path.name).replace(path)
    shutil.rmtree(aside)


def _speaks_of_tables(error: Exception) -> bool:
    """Whether the tables are not what they should be; a lock that is held or a sick disk is another matter."""
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", None)
    return code == sqlite3.SQLITE_ERROR or type(error).__name__ == "CommandError" or "out-of-date" in str(error)


def _holds_nothing(path: Path) -> bool:
    """True only where the database can be read and no table holds work."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            for table in _HOLDS:
                with suppress(sqlite3.OperationalError):  # no such table
                    if database.execute(f"select 1 from {table} limit 1").fetchone():
                        return False
    except sqlite3.DatabaseError:
        return False
    return True
