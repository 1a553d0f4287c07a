"""Checkpoints, models and servers that somebody made to do harm: refused, and nothing of theirs runs."""

import hashlib
import json
import pickle
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from safetensors.torch import save_file

from pipelines.errors import UserError
from pipelines.model.card_file import CARD, WEIGHTS
from pipelines.model.loader import load_encoder
from pipelines.storage import checkpoint
from pipelines.tracking import server as mlflow_store
from tests.support.payload import Payload
from tests.support.tiny import tiny_method


def pickled(path: Path, proof: Path) -> str:
    """Write a pickle that would run code; returns its sha256."""
    path.write_bytes(pickle.dumps(Payload(proof)))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_checkpoint_of_pickles_is_refused(tmp_path):
    proof = tmp_path / "code-ran"
    method = tiny_method("simclr")
    optimizer = __import__("torch").optim.SGD(method.parameters(), lr=0.1)
    path = checkpoint.save(tmp_path / "checkpoints", 1, method, optimizer, {})
    state = json.loads((path / checkpoint.STATE).read_text())
    state["sha256"] = {name: pickled(path / name, proof) for name in (checkpoint.METHOD, checkpoint.OPTIMIZER)}
    (path / checkpoint.STATE).write_text(json.dumps(state))  # the hashes fit: only the format can save us
    with pytest.raises(UserError, match=r"method\.safetensors: not safetensors"):
        checkpoint.weights(path)
    assert not proof.exists()


def test_a_model_of_pickles_or_foreign_code_is_refused(tmp_path):
    proof = tmp_path / "code-ran"
    card = {"format": 1, "name": "x", "encoder": {"name": "convnet", "width": 8, "depth": 2}, "view_shape": [3, 8, 8],
            "view": {"name": "image_eval", "size": 8}, "embed_dim": 16, "max_pixels": 100, "checkpoint": "",
            "shards": ""}  # fmt: skip
    (tmp_path / CARD).write_text(json.dumps({**card, "sha256": pickled(tmp_path / WEIGHTS, proof)}))
    with pytest.raises(UserError, match="not safetensors"):
        load_encoder(tmp_path)
    save_file(tiny_method("simclr").encoder.state_dict(), tmp_path / WEIGHTS)
    sha256 = hashlib.sha256((tmp_path / WEIGHTS).read_bytes()).hexdigest()
    for name in ("../../evil", "..evil", "_residual", "base", "os"):
        (tmp_path / CARD).write_text(json.dumps({**card, "encoder": {"name": name}, "sha256": sha256}))
        with pytest.raises(UserError, match="cannot build it"):
            load_encoder(tmp_path)
    assert not proof.exists()


class _Server(BaseHTTPRequestHandler):
    """A tracking server whose run has an artifact that leads outside its folder."""

    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if "mlflow-artifacts" in self.path:
            answer: Any = {"files": [{"path": "../../outside", "is_dir": False, "file_size": 3}]}
        else:
            info = {"run_id": "a" * 32, "artifact_uri": "mlflow-artifacts:/0/a/artifacts", "lifecycle_stage": "active"}
            answer = {"run": {"info": info, "data": {}}}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.mark.timeout(120)
def test_a_server_cannot_write_outside_the_download(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "a" / "b"))
    (tmp_path / "a" / "b").mkdir(parents=True)
    server = HTTPServer(("127.0.0.1", 0), _Server)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(UserError, match=r"runs:/.*(ailed to download|nvalid path)"):
            mlflow_store.download(f"runs:/{'a' * 32}/model", f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()
    assert any("mlflow-artifacts" in path for path in _Server.asked), "the listing was read"
    assert not any("outside" in path for path in _Server.asked) and not list(tmp_path.rglob("outside*"))


def test_pickled_mlflow_models_are_not_loaded_in_our_processes():
    script = (
        "from pipelines.tracking import server; server.mlflow()\n"
        "from mlflow.environment_variables import MLFLOW_ALLOW_PICKLE_DESERIALIZATION as allowed\n"
        "print(allowed.get())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.strip() == "False"
