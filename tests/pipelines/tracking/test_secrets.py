"""A secret reaches only the server it is for: not a dump, a log, MLflow or any file of a run."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cluster.entrypoint import RECIPE, of_recipe
from cluster.submit import pack
from pipelines.config import secret
from pipelines.config.flat import flat
from pipelines.config.parse import parse
from pipelines.errors import UserError
from pipelines.storage import permissions
from pipelines.tracking.server import storage
from pipelines.tracking.server_errors import one_line
from pipelines.tracking.ui import ui
from tests.support.mlflow_server import MlflowServer
from tests.support.recipe import TREE

SECRET = "c0rrect-h0rse-battery"
PASSWORD = "an0ther-0ne"
WRITTEN = f"https://trainer:{PASSWORD}@mlflow.example/base"
LOGIN = f"https://trainer:{SECRET}@mlflow.example/base"


def test_a_dump_shows_the_reference_and_a_use_the_value(monkeypatch, tmp_path):
    monkeypatch.setenv("SELFRAY_TEST_URI", LOGIN)
    config = parse(TREE, {"tracking.uri": "${env:SELFRAY_TEST_URI}"})
    assert flat(config)["tracking.uri"] == "${env:SELFRAY_TEST_URI}"
    assert storage(config, tmp_path) == LOGIN
    assert ui(config, tmp_path)[1].startswith("https://mlflow.example/base/#/"), "a link that opens"
    assert SECRET not in repr(config) and SECRET not in config.model_dump_json()
    assert secret.shown(f"could not reach {LOGIN}") == "could not reach ${env:SELFRAY_TEST_URI}"
    monkeypatch.delenv("SELFRAY_TEST_URI")
    with pytest.raises(UserError, match=r"^tracking\.uri: the environment variable SELFRAY_TEST_URI is not set"):
        storage(config, tmp_path)


def test_a_literal_login_is_cut_out_of_whatever_is_shown(tmp_path):
    config = parse(TREE, {"tracking.uri": WRITTEN})
    assert storage(config, tmp_path) == WRITTEN
    assert flat(config)["tracking.uri"] == "https://mlflow.example/base"
    for text in (repr(config), config.model_dump_json(), one_line(RuntimeError(f"API request to {WRITTEN} failed"))):
        assert PASSWORD not in text and "trainer" not in text
    assert secret.shown("postgresql://h/db?user=me&password=abc&x=1") == "postgresql://h/db?user=me&password=***&x=1"
    patch = f"+clone ssh://git@host/x\n+see {WRITTEN}\n"
    assert secret.masked(patch) == "+clone ssh://git@host/x\n+see https://***@mlflow.example/base\n"
    assert secret.shown("s3://bucket/key and a@b.example") == "s3://bucket/key and a@b.example"


def test_references_are_refused_where_nobody_would_look_them_up():
    with pytest.raises(UserError, match=r"source\.root: \$\{env:\.\.\.\} is looked up in tracking\.uri and ray\.addr"):
        parse(TREE, {"source": {"name": "torchvision", "dataset": "CIFAR10", "root": "${env:HOME}/data"}})


def test_a_database_password_stays_off_the_command_line(monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", "")
    command, _ = ui(parse(TREE, {"tracking.uri": f"postgresql://me:{SECRET}@db/mlflow"}), tmp_path)
    assert command is not None and SECRET not in " ".join(command)
    assert SECRET in os.environ["MLFLOW_BACKEND_STORE_URI"]


def test_a_job_takes_the_reference_with_it_and_no_login(tmp_path):
    pack(of_recipe("run", parse(TREE, {"tracking.uri": "${env:MLFLOW_URI}"})), tmp_path / "job")
    assert parse(yaml.safe_load((tmp_path / "job" / RECIPE).read_text())).tracking.uri == "${env:MLFLOW_URI}"
    with pytest.raises(UserError, match=r"holds a login, which does not travel with a job; write \$\{env:NAME\}"):
        of_recipe("run", parse(TREE, {"tracking.uri": WRITTEN}))


def test_the_token_file_is_ours_alone(tmp_path):
    folder = permissions.folder(tmp_path / "state")
    path = permissions.token(folder / "token")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700 and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_text()) == 64 and permissions.token(path).read_text() == path.read_text()
    assert list(folder.iterdir()) == [path]
    folder.chmod(0o755)
    assert stat.S_IMODE(permissions.folder(folder).stat().st_mode) == 0o700
    path.chmod(0o644)
    with pytest.raises(UserError, match="others may read the token; chmod 600"):
        permissions.token(path)
    path.chmod(0o600)
    path.write_text("")
    with pytest.raises(UserError, match="holds no token"):
        permissions.token(path)
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(UserError, match="not a folder of yours"):
        permissions.folder(tmp_path / "link")


def test_two_processes_agree_on_one_token(tmp_path):
    script = (
        "import sys; from pathlib import Path; from pipelines.storage import permissions\n"
        "permissions.token(Path(sys.argv[1]))"
    )
    makers = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "token")]) for _ in range(4)]
    assert [maker.wait(60) for maker in makers] == [0] * 4
    assert [path.name for path in tmp_path.iterdir()] == ["token"]


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_no_file_of_a_run_holds_the_secret(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """A whole run with a password in its server's URI; then every file it left anywhere is searched."""
    uri = mlflow_server.uri.replace("://", f"://trainer:{SECRET}@")
    tree = {**TREE, "storage": str(tmp_path / "runs"), "train": {**TREE["train"], "steps": 2}}
    tree["tracking"] = {"uri": "${env:SELFRAY_TEST_URI}", "experiment": "secret"}
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(tree))
    temp = Path(os.environ["RAY_TMPDIR"]) / "secret"
    temp.mkdir()
    environment = {**os.environ, "SELFRAY_TEST_URI": uri, "RAY_TMPDIR": str(temp)}
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", "run", str(recipe)],
        env=environment, capture_output=True, cwd=Path(__file__).parents[3], timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    searched = [tmp_path, temp, mlflow_server.log.parent]
    files = [path for folder in searched for path in folder.rglob("*") if path.is_file()]
    configs = [path.read_text() for path in files if path.name == "config.yaml"]
    assert any("uri: ${env:SELFRAY_TEST_URI}" in text for text in configs)
    assert any(path.suffix == ".db" for path in files) and any("gcs_server" in path.name for path in files)
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
    assert SECRET.encode() not in done.stdout + done.stderr
