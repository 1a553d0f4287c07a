"""A secret that the nodes have in their environment is in no file of a submitted run, nor in what it prints."""

import shutil
import tempfile
from pathlib import Path

import pytest
import yaml

from cluster import local_nodes
from tests.support.commands import selfray
from tests.support.mlflow_server import MlflowServer
from tests.support.recipe import BRIEF, TREE

SECRET = "c0rrect-h0rse-battery"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_file_of_a_submitted_run_holds_the_secret(monkeypatch, tmp_path):
    """The nodes' folders hold Ray's logs, its job agent's and the unpacked working directory."""
    server, folder = MlflowServer(tmp_path), Path(tempfile.mkdtemp(prefix="ss-", dir="/tmp"))
    tree = {**TREE, "storage": str(tmp_path / "store"), "train": {**TREE["train"], "steps": 2}}
    tree["evaluate"] = BRIEF
    tree["tracking"] = {"uri": "${env:SELFRAY_TEST_URI}", "experiment": "secret"}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(tree))
    try:
        server.start()
        monkeypatch.setenv("SELFRAY_TEST_URI", server.uri.replace("://", f"://trainer:{SECRET}@"))
        made = local_nodes.up(folder, num_nodes=2, cpus_per_node=2)
        monkeypatch.delenv("SELFRAY_TEST_URI")
        done = selfray("submit", str(recipe), "--address", made.address)
        assert done.returncode == 0, done.stdout
        name = done.stdout.split("submitted ")[1].split(" ")[0]
        printed = done.stdout + selfray("logs", name, "--address", made.address).stdout
        local_nodes.down(folder)  # files of a living cluster come and go
        server.kill()
        files = [path for place in (folder, tmp_path) for path in place.rglob("*") if path.is_file()]
        assert any("job-driver-" in path.name for path in files) and any("gcs_server" in path.name for path in files)
        assert any(path.suffix == ".db" for path in files) and any(path.suffix == ".safetensors" for path in files)
        assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
        assert "candidate: models:/tiny@candidate" in printed
        assert SECRET not in printed
    finally:
        local_nodes.down(folder)
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)
