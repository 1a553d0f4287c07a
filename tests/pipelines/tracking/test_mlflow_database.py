"""The SQLite database of a new storage: made by one of several, whole or not there, a torn one said with a remedy."""

import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.tracking import database as mlflow_database
from pipelines.tracking import runs as tracking
from pipelines.tracking import server as store
from pipelines.tracking.shipping import Unreachable
from tests.support.tracked import recipe, runs

pytestmark = pytest.mark.timeout(300)
FIRST = """
import sys
from pathlib import Path
from pipelines.tracking import runs as tracking
from tests.support.tracked import recipe
root = Path(sys.argv[1])
with tracking.run(recipe(root, sys.argv[2]), root):
    print("inside", flush=True)
"""


def first_command(root: Path, name: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", FIRST, str(root), name]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new database."""
    path = tmp_path_factory.mktemp("made") / "mlflow.db"
    store.connect(f"sqlite:///{path}")
    return path


def tables(path: Path) -> set[str]:
    with sqlite3.connect(path) as database:
        return {name for (name,) in database.execute("select name from sqlite_master")}


def test_first_commands_at_the_same_moment_all_work(tmp_path):
    started = [first_command(tmp_path / "new", name) for name in ("a", "b", "c")]
    for process in started:
        said, error = process.communicate(timeout=200)
        assert process.returncode == 0 and said == "inside\n", error
    for name in ("a", "b", "c"):
        assert len(runs(recipe(tmp_path / "new", name), tmp_path / "new")[0]) == 1
    assert not [path.name for path in (tmp_path / "new").iterdir() if ".new" in path.name]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_a_first_command_that_is_stopped_while_it_makes_the_database_leaves_none(tmp_path, sent):
    process = first_command(tmp_path / "new", "stopped")
    aside = tmp_path / "new" / f".mlflow.db{mlflow_database.ASIDE}" / "mlflow.db"
    while not aside.exists() or not aside.stat().st_size:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    process.send_signal(sent)
    process.communicate(timeout=100)
    assert not (tmp_path / "new" / "mlflow.db").exists()
    store.connect(store.embedded(tmp_path / "new"))
    assert not aside.parent.exists()


def test_an_empty_file_is_no_database_yet(tmp_path):
    (tmp_path / "mlflow.db").touch()
    store.connect(store.embedded(tmp_path))
    assert "runs" in tables(tmp_path / "mlflow.db")


@pytest.mark.parametrize("torn", ["drop table alembic_version; drop table logged_models",
                                  "drop table logged_models; update alembic_version set version_num = '7f2a7d5fae7d'",
                                  "update alembic_version set version_num = '7f2a7d5fae7d'"])  # fmt: skip
def test_a_half_made_database_of_before_is_said_with_what_to_do(made, tmp_path, torn):
    shutil.copy(made, tmp_path / "mlflow.db")
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        for statement in torn.split("; "):
            database.execute(statement)
    config = recipe(tmp_path, "torn")
    words = r"mlflow\.db: a first command was stopped while it made this database; no run is in it: delete the file"
    with pytest.raises(UserError, match=words), tracking.run(config, tmp_path):
        pass


def test_a_database_with_runs_is_never_advised_to_be_deleted(made, tmp_path):
    before, now = tmp_path / "before", tmp_path / "now"  # this process keeps what it has opened
    for folder, source in ((before, made), (now, before / "mlflow.db")):
        folder.mkdir()
        shutil.copy(source, folder)
        if folder == before:
            with tracking.run(recipe(before, "kept"), before):
                pass
    with sqlite3.connect(now / "mlflow.db") as database:
        database.execute("update alembic_version set version_num = '7f2a7d5fae7d'")
    with pytest.raises(UserError, match="unreachable") as error, tracking.run(recipe(now, "kept"), now):
        pass
    assert "delete" not in str(error.value)


def test_a_damaged_file_is_not_taken_for_a_half_made_one(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(Unreachable, match="not a database"):
        store.connect(store.embedded(tmp_path))
