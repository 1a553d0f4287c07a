"""A version in other formats: read back from the file, each gives the encoder's own embeddings."""

import json
import shutil
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from pipelines.__main__ import main
from pipelines.errors import UserError
from pipelines.model import examples, versions
from pipelines.model import export as exports
from pipelines.model.card_file import CARD, WEIGHTS
from pipelines.model.check import check
from pipelines.model.embedder import Embedder
from pipelines.model.examples import EXAMPLES
from pipelines.model.export import export
from pipelines.model.loader import load_encoder
from pipelines.tracking.server import connect, mlflow, used
from ssl_core.spec import IMAGE_AXES
from tests.support.images import encoded, write_tree
from tests.support.registry import pack_tiny, pretrained, recipe, register
from tests.support.tiny import installed_encoders, tiny_spec

pytestmark = pytest.mark.timeout(600)
needs_onnx = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="onnx, onnxscript and onnxruntime are not installed: uv pip install -e '.[export]'",
)
VIEWS = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)  # [B, S, S, 3]


def run_onnx(path, views):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (given,), (made,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape[1:]) == ("views", "tensor(uint8)", [8, 8, 3])
    assert isinstance(given.shape[0], str) and made.name == "embeddings"  # a name: any batch size
    return session.run(None, {"views": views})[0]


# a packed model reads images until its card says the codec; then every encoder belongs here
IMAGE_ENCODERS = [name for name in installed_encoders() if tiny_spec(name).axes == IMAGE_AXES]


def run_pt2(path, views):
    with torch.no_grad():
        return torch.export.load(path).module()(torch.from_numpy(views)).numpy()


@pytest.mark.parametrize("encoder", IMAGE_ENCODERS)
def test_pt2_gives_the_encoders_embeddings_at_any_batch_size(encoder, tmp_path):
    packed = pack_tiny(tmp_path / "model", encoder)
    made = export(packed, "pt2", tmp_path / "out")
    assert (made.file, made.batch_sizes) == ("encoder.pt2", (1, 5)) and made.max_difference < 1e-5
    wanted = Embedder(packed).embed(VIEWS)
    for size in (1, 2, 7):
        np.testing.assert_allclose(run_pt2(tmp_path / "out" / made.file, VIEWS[:size]), wanted[:size], atol=1e-5)
    listed = json.loads((tmp_path / "out" / "encoder.pt2.json").read_text())
    assert listed["sha256"] == made.sha256 == versions.sha256_of(tmp_path / "out" / made.file)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [CARD, "encoder.pt2", "encoder.pt2.json"]


@needs_onnx
@pytest.mark.parametrize("encoder", IMAGE_ENCODERS)
def test_onnx_gives_the_encoders_embeddings_at_any_batch_size(encoder, tmp_path):
    packed = pack_tiny(tmp_path / "model", encoder)
    made = export(packed, "onnx", tmp_path / "out")
    assert made.max_difference < 1e-5
    wanted = Embedder(packed).embed(VIEWS)
    for size in (1, 2, 7):
        np.testing.assert_allclose(run_onnx(tmp_path / "out" / made.file, VIEWS[:size]), wanted[:size], atol=1e-5)


def test_safetensors_is_a_packed_model_again(tmp_path):
    packed = pack_tiny(tmp_path / "model")
    made = export(packed, "safetensors", tmp_path / "out")
    assert made.max_difference == 0 and made.sha256 == Embedder(packed).card.sha256 == made.model
    assert check(tmp_path / "out").passed
    loaded, original = load_encoder(tmp_path / "out").state_dict(), load_encoder(packed).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in original.items())


def test_formats_share_a_folder_but_versions_do_not(tmp_path):
    packed = pack_tiny(tmp_path / "model")
    export(packed, "safetensors", tmp_path / "out")
    export(packed, "pt2", tmp_path / "out")
    assert {"encoder.pt2", WEIGHTS} <= {path.name for path in (tmp_path / "out").iterdir()}
    with pytest.raises(UserError, match=r"--output: .*out: holds another version's config\.json"):
        export(pack_tiny(tmp_path / "other", seed=1), "pt2", tmp_path / "out")


def test_what_differs_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(exports, "TOLERANCE", -1.0)
    with pytest.raises(UserError, match=r"--format pt2: its embeddings differ from the encoder's by .*nothing was"):
        export(pack_tiny(tmp_path / "model"), "pt2", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_pictures_of_ones_own_are_compared_too(tmp_path, monkeypatch):
    packed, honest = pack_tiny(tmp_path / "model"), exports._without_grad

    def wrong_on_sevens(module):
        run = honest(module)
        return lambda views: run(views) + (views == 7).all(axis=(1, 2, 3))[:, None]

    monkeypatch.setattr(exports, "_without_grad", wrong_on_sevens)
    assert export(packed, "safetensors", tmp_path / "out").num_own == 0
    with pytest.raises(UserError, match="differ from the encoder's"):
        export(packed, "safetensors", tmp_path / "out", np.full((3, 8, 8, 3), 7, np.uint8))


def test_mistakes_are_one_clear_line(tmp_path, monkeypatch):
    packed = pack_tiny(tmp_path / "model")
    with pytest.raises(UserError, match=r"--format: there is no 'onxx'; choose one of safetensors, pt2, onnx"):
        export(packed, "onxx", tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--output: .*file is a file; give a folder"):
        export(packed, "pt2", tmp_path / "file")
    monkeypatch.setitem(exports._NEEDS, "onnx", ("onnx_that_nobody_has",))
    with pytest.raises(UserError, match=r"--format onnx: needs onnx_that_nobody_has: uv pip install -e '\.\[export\]'"):
        export(packed, "onnx", tmp_path / "out")
    with (packed / WEIGHTS).open("ab") as file:
        file.write(b"more")
    with pytest.raises(UserError, match="do not use it"):
        export(packed, "pt2", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_version_is_looked_for_where_it_is_asked_for_whatever_mlflow_is_set_to(tmp_path):
    config = recipe(tmp_path, "elsewhere")
    register(config, tmp_path, pretrained(tmp_path, config)[1])
    there, other = f"sqlite:///{tmp_path}/mlflow.db", f"sqlite:///{tmp_path}/other.db"
    with used(other):
        versions.opened("elsewhere", there, tmp_path / "packed")
        assert mlflow().get_tracking_uri() == mlflow().get_registry_uri() == other, "what the caller has set is his own"


def test_stored_samples_are_told_from_drawn_ones(tmp_path):
    packed = pack_tiny(tmp_path / "model")
    assert not exports.has_real_samples(packed), "none at all"
    for images, real in ((Embedder(packed).drawn(), False), ([encoded(i, 20 + i, 30) for i in range(5)], True)):
        examples.write(packed / EXAMPLES, images, np.zeros((5, 2), np.float32))
        assert exports.has_real_samples(packed) == real


def test_the_command_attaches_to_the_run_and_tags_the_version(mlflow_server, tmp_path, capsys):
    config = recipe(tmp_path, "exported", **{"tracking.uri": mlflow_server.uri})
    register(config, tmp_path, pretrained(tmp_path, config)[1])
    server = ["--tracking-uri", mlflow_server.uri]
    files = {f"{i}.png": encoded(i, 20 + i, 30) for i in range(3)} | {"broken.png": b"no picture"}
    photos = write_tree(tmp_path / "photos", files)
    command = ["export", "exported", "--format", "pt2", "--output", str(tmp_path / "out"), *server]
    assert main([*command, "--input", str(tmp_path / "absent")]) == 1
    assert "--input" in capsys.readouterr().err
    assert main([*command, "--attach"]) == 1
    assert "drawn ones, not data; compare on real ones first: --input FOLDER" in capsys.readouterr().err
    command += ["--input", str(photos)]
    assert main([*command, "--attach"]) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "exported:" in said and "batch sizes 1 and 5, on 5 pictures stored with it and 3 of yours" in said
    assert "export/v1/pt2" in said
    listed = json.loads((tmp_path / "out" / "encoder.pt2.json").read_text())
    assert (listed["num_examples"], listed["num_own"]) == (5, 3)
    client, version = connect(mlflow_server.uri), versions.find("exported/1", mlflow_server.uri)
    there = {file.path for file in client.list_artifacts(version.run_id, "export/v1/pt2")}
    assert there == {f"export/v1/pt2/{name}" for name in (CARD, "encoder.pt2", "encoder.pt2.json")}
    assert versions.sha256_of(tmp_path / "out" / "encoder.pt2") in version.tags["selfray.export.pt2"]
    assert check("exported/1", tracking_uri=mlflow_server.uri).files_ok  # nothing was added to the model itself

    shutil.rmtree(mlflow_server.artifacts_of(version.model_id))
    assert main(["export", "exported@candidate", "--output", str(tmp_path / "gone"), *server]) == 1
    said = capsys.readouterr().err
    assert said.startswith(
        "selfray: models:/exported/1: its artifact is gone (config.json, encoder.safetensors: missing)"
    )
    assert said.count("\n") == 1 and not (tmp_path / "gone").exists()
    assert main(["export", "exported@champion", "--output", str(tmp_path / "gone"), *server]) == 1
    assert "exported@champion: " in capsys.readouterr().err
    assert main(["export", "nobody", "--output", str(tmp_path), "--format", "tflite", *server]) == 1
    assert "--format: there is no 'tflite'" in capsys.readouterr().err
