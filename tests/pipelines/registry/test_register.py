"""From a checkpoint to a registered model and back, over SQLite and over a server."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
import torch

from pipelines.errors import UserError
from pipelines.evaluate.report import text as report
from pipelines.model import versions
from pipelines.model.card_file import CARD, WEIGHTS, read_card
from pipelines.model.loader import load_chain, load_encoder, pack, packed_weights
from pipelines.model.resolve import find
from pipelines.registry.register import CANDIDATE, MAX_DESCRIPTION, REGISTER, describe, requirements
from pipelines.tracking.server import artifact_root, connect, storage, use
from tests.support.registry import pretrained, recipe, register

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 12, 10, 3), dtype=np.uint8)  # [N, H, W, 3]
CLEAN = """
import sys
from pathlib import Path
import mlflow, numpy as np
mlflow.set_tracking_uri(sys.argv[1])
data = np.load(sys.argv[2])
model = mlflow.pyfunc.load_model(sys.argv[3])
pngs = [row.tobytes().rstrip(b"+") for row in data["pngs"]]
np.savez(sys.argv[4], images=model.predict(data["images"]), pngs=model.predict(pngs))
"""


def pngs(images):
    return [cv2.imencode(".png", image[:, :, ::-1])[1].tobytes() for image in images]


@pytest.fixture(scope="module")
def registered(tmp_path_factory):
    root = tmp_path_factory.mktemp("registry")
    config = recipe(root, "made")
    encoder, given = pretrained(root, config)
    return config, root, encoder, given, register(config, root, given)


@pytest.fixture
def expected(registered):
    config, _, encoder, _, _ = registered
    chain = load_chain(
        registered[1] / "register" / REGISTER.folder(config, registered[3], registered[1]).name / "model"
    )
    with torch.no_grad():
        return encoder(chain.finish(torch.from_numpy(chain(list(IMAGES), np.arange(3), 0)))).pooled.numpy()  # [N, D]


def test_a_version_says_what_it_is_worth(registered):
    config, root, _, given, made = registered
    assert (made.name, made.version, made.alias, made.uri) == ("made", 1, "candidate", "models:/made@candidate")
    client = connect(storage(config, root))
    version = client.get_model_version_by_alias("made", CANDIDATE)
    first, blank, *table = version.description.splitlines()
    assert first == given.verdict == version.tags["selfray.verdict"]
    assert blank == "" and any("`knn_top1_k20` | 0.750 | 0.500" in line for line in table)
    assert version.tags["selfray.digest"] == given.checkpoint.digest
    assert version.tags["selfray.run"] == version.run_id
    source = client.get_run(version.run_id)
    assert source.data.params["name"] == "made"  # the parent, which also has the scores: what comparisons show
    assert source.data.metrics["knn_top1_k20"] == 0.75
    assert len(client.get_metric_history(version.run_id, "knn_top1_k20")) == 1


def test_model_run_scores_and_data_are_tied(registered):
    config, root, _, given, _ = registered
    client = connect(storage(config, root))
    version = client.get_model_version_by_alias("made", CANDIDATE)
    model = client.get_logged_model(version.source.removeprefix("models:/"))
    assert model.source_run_id == version.run_id
    assert [output.model_id for output in client.get_run(version.run_id).outputs.model_outputs] == [model.model_id]
    (score,) = [metric for metric in model.metrics if metric.key == "knn_top1_k20"]
    assert (score.value, score.dataset_name) == (0.75, "digits")
    assert score.dataset_digest == given.checkpoint.shards.digest[:36]


def test_it_predicts_in_a_clean_process_without_pickle(registered, expected, tmp_path):
    config, root, _, _, made = registered
    encoded = pngs(IMAGES)
    width = max(map(len, encoded))
    rows = np.stack([np.frombuffer(png.ljust(width, b"+"), np.uint8) for png in encoded])
    np.savez(tmp_path / "in.npz", images=IMAGES, pngs=rows)
    command = [sys.executable, "-c", CLEAN, storage(config, root), tmp_path / "in.npz", made.uri, tmp_path / "out.npz"]
    closed = {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **closed}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "mismatch" not in done.stderr  # its requirements are those of this environment
    answers = np.load(tmp_path / "out.npz")
    np.testing.assert_allclose(answers["images"], expected, atol=1e-5)
    np.testing.assert_allclose(answers["pngs"], expected, atol=1e-5)


def test_predict_takes_every_form_of_images(registered, expected):
    import mlflow
    import pandas as pd

    config, root, _, _, made = registered
    use(storage(config, root))
    model = mlflow.pyfunc.load_model(made.uri)
    encoded = pngs(IMAGES)
    for given in (IMAGES, list(IMAGES), encoded, pd.DataFrame({"any name": encoded})):
        embeddings = model.predict(given)
        assert embeddings.dtype == np.float32
        np.testing.assert_allclose(embeddings, expected, atol=1e-5)
    np.testing.assert_allclose(model.predict(encoded[0]), expected[:1], atol=1e-5)
    assert model.predict([]).shape == (0, expected.shape[1])
    assert model.predict(model.input_example).shape == (1, expected.shape[1])
    assert model.predict(list(np.concatenate([IMAGES] * 30))).shape[0] == 90  # more than one batch
    with pytest.raises(ValueError, match=r"image 1: give encoded bytes or a \[H, W, 3\] uint8 array, not float64"):
        model.predict([IMAGES[0], np.zeros((4, 4, 3))])


def test_our_loader_gives_the_plain_module(registered, expected, tmp_path):
    config, root, encoder, _, made = registered
    state = torch.random.get_rng_state()
    loaded = load_encoder(made.uri, tracking_uri=storage(config, root))
    assert torch.equal(state, torch.random.get_rng_state())
    assert type(loaded) is type(encoder) and not loaded.training
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in encoder.state_dict().items())


def test_evaluate_finds_it_by_alias_number_and_uri(registered, tmp_path):
    config, root, encoder, _, _ = registered
    run_id = connect(storage(config, root)).get_model_version_by_alias("made", CANDIDATE).run_id
    for name in ("made@candidate", "made/1", "models:/made@candidate"):
        found = find(name, root, storage(config, root))
        assert found.title == "made.1" and found.tags["selfray.model_run"] == run_id
        assert all(torch.equal(w, encoder.state_dict()[n]) for n, w in packed_weights(found.folder).items())
    for name in ("made@nobody", "made/7"):
        with pytest.raises(UserError, match=rf"^{name}: .*not found.* \(looked in sqlite"):
            find(name, root, storage(config, root))


def test_a_version_whose_files_are_gone_is_noticed(registered, tmp_path):
    root = registered[1]
    config = recipe(root, "gone")
    register(config, root, pretrained(tmp_path, config)[1])
    model = connect(storage(config, root)).get_model_version_by_alias("gone", CANDIDATE).source.removeprefix("models:/")
    (left,) = (root / "mlartifacts").rglob(f"{model}/artifacts")
    shutil.rmtree(left)
    left.mkdir()  # READY, and an empty folder
    with pytest.raises(UserError, match=r"gone/1: "):
        find("gone@candidate", root, storage(config, root))


def test_a_changed_model_is_not_loaded(registered, tmp_path):
    config, root, _, given, _ = registered
    original = REGISTER.folder(config, given, root) / "model"

    def copy():
        return shutil.copytree(original, tmp_path / "model", dirs_exist_ok=True)

    folder = copy()
    with (folder / WEIGHTS).open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")
    with pytest.raises(UserError, match=r"encoder\.safetensors: its sha256 is .*; do not use it"):
        load_encoder(folder)
    (folder / WEIGHTS).unlink()
    with pytest.raises(UserError, match=r"encoder\.safetensors: missing"):
        load_encoder(folder)
    for change, said in (
        ({"format": 99}, "not a model of format 1"),
        ({"encoder": {"name": "convnet", "width": 16, "depth": 2}}, "does not fit the encoder"),
        ({"encoder": {"name": "os.system"}}, "cannot build it"),
        ({"embed_dim": 0}, "greater than 0"),
    ):
        folder = copy()
        (folder / CARD).write_text(json.dumps(json.loads((folder / CARD).read_text()) | change))
        with pytest.raises(UserError, match=said):
            load_encoder(folder)
    with pytest.raises(UserError, match=r"holds no config\.json"):
        load_encoder(tmp_path)
    with pytest.raises(UserError, match="made@champion"):
        load_encoder("models:/made@champion", tracking_uri=storage(config, root))


@pytest.mark.parametrize(
    "dies_before",
    ["log_model_artifacts", "finalize_logged_model", "create_model_version", "set_registered_model_alias"],
)
def test_a_registration_that_was_cut_off_leaves_one_version(registered, tmp_path, monkeypatch, dies_before):
    from mlflow import MlflowClient

    root = registered[1]
    config = recipe(root, f"cut-{dies_before}")
    _, given = pretrained(tmp_path, config)

    def die(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, dies_before, die)
        with pytest.raises(KeyboardInterrupt):
            register(config, root, given)
    made = register(config, root, given)
    client = connect(storage(config, root))
    (version,) = client.search_model_versions(f"name = '{config.name}'")
    assert version.version == made.version == 1
    assert client.get_model_version_by_alias(config.name, CANDIDATE).version == 1
    experiment = client.get_experiment_by_name(config.tracking.experiment)
    models = client.search_logged_models([experiment.experiment_id], f"name = '{config.name}'")
    assert [str(model.status) for model in models] == ["READY"]
    assert load_encoder(made.uri, tracking_uri=storage(config, root)).embed_dim == 16


def test_new_weights_are_the_next_version_and_take_the_alias(registered, tmp_path):
    root = registered[1]
    for number in (1, 2):
        config = recipe(root, "twice", seed=number, **{"encoder.width": 4 * number})
        made = register(config, root, pretrained(tmp_path / str(number), config)[1])
        assert made.version == number
    client = connect(storage(config, root))
    assert client.get_model_version_by_alias("twice", CANDIDATE).version == 2


def test_weights_and_card_that_were_overwritten_together_are_not_those_of_the_registry(registered, tmp_path):
    root, config = registered[1], recipe(registered[1], "swapped")
    made, uri = register(config, root, pretrained(tmp_path, config)[1]), storage(config, root)
    client = connect(uri)
    client.copy_model_version("models:/swapped/1", "swapped-prod")  # its files stay where they are
    model_id, kept = versions.find(made.uri, uri).model_id, Path(urlsplit(artifact_root(root)).path)
    folder = next(path.parent for path in kept.rglob(WEIGHTS) if model_id in str(path))
    assert load_encoder("models:/swapped-prod/1", tracking_uri=uri).embed_dim == 16
    weights = {name: tensor + 0.5 for name, tensor in packed_weights(folder).items()}
    pack(folder, weights, read_card(folder))
    assert load_encoder(folder).embed_dim == 16  # nothing beside the weights says otherwise
    for version in ("models:/swapped/1", "models:/swapped@candidate", "models:/swapped-prod/1"):
        for load in (load_encoder, load_chain):
            with pytest.raises(UserError, match=r"config\.json names other weights than the registry; do not use it"):
                load(version, tracking_uri=uri)
    use(uri)
    with pytest.raises(UserError, match="names other weights than the registry"):
        load_encoder("models:/swapped/1")


def test_it_registers_over_a_server(mlflow_server, tmp_path):
    config = recipe(tmp_path, "remote", **{"tracking.uri": mlflow_server.uri})
    encoder, given = pretrained(tmp_path, config)
    made = register(config, tmp_path, given)
    loaded = load_encoder(made.uri, tracking_uri=mlflow_server.uri)
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in encoder.state_dict().items())
    assert int(connect(mlflow_server.uri).get_model_version_by_alias("remote", CANDIDATE).version) == made.version


def test_without_a_server_nothing_is_registered(tmp_path):
    config = recipe(
        tmp_path, "offline", **{"tracking.uri": "http://127.0.0.1:9", "tracking.when_unreachable": "outbox"}
    )
    _, given = pretrained(tmp_path, config)
    with pytest.raises(UserError, match=r"^tracking\.uri: unreachable; what is done is kept"):
        register(config, tmp_path, given)


def test_examples_of_ones_own_need_a_test_split(tmp_path):
    config = recipe(tmp_path, "own", **{"registry.examples": 3})
    with pytest.raises(UserError, match=r"^registry\.examples: these shards have no test samples; set it to 0"):
        register(config, tmp_path, pretrained(tmp_path, config)[1])


def test_requirements_are_exact_and_from_an_index():
    names = [line.partition("==")[0] for line in requirements()]
    assert {"mlflow", "torch", "safetensors", "pydantic"} <= set(names)
    assert all("==" in line and "+" not in line for line in requirements())


def test_a_long_description_is_cut_to_what_mlflow_stores(registered):
    given = registered[3]
    many = report.Scores(encoder={f"score_{i}": i / 1000 for i in range(300)})
    text = describe(given.model_copy(update={"scores": many, "verdict": report.verdict(many)}))
    assert text.startswith(report.verdict(many) + "\n\n")
    assert 4000 < len(text) <= MAX_DESCRIPTION and text.endswith("source run)")
