"""What `selfray evaluate MODEL --on DATA` understands, and how it says what it does not; without Ray."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.torch import save_file
from torchvision import models

from pipelines.config.parse import parse
from pipelines.errors import UserError
from pipelines.evaluate import any_model
from pipelines.model import card_file, loader, resolve
from pipelines.stage import Artifact
from pipelines.storage import checkpoint, inputs
from pipelines.train.pretrain import PRETRAIN
from ssl_core.build import build_method
from ssl_core.optimize.optimizers import build_optimizer
from tests.support.images import encoded, write_tree
from tests.support.recipe import TREE


@pytest.fixture
def images(tmp_path: Path) -> Path:
    files = {f"{kind}/{i}.png": encoded(i) for kind in ("cats", "dogs") for i in range(3)}
    return write_tree(tmp_path / "images", files)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """The folder of a pre-training, as the stage leaves it."""
    config = parse({**TREE, "name": "tiny"})
    method = build_method(config.method, config.encoder, config.views, seed=7)
    folder = tmp_path / "pretrain" / "0123"
    checkpoint.save(folder / "checkpoints", 12, method, build_optimizer(config.optim, method, 0.1), {"total": 12})
    inputs.Inputs(run="tiny", keys=PRETRAIN.keys(config), given={"digest": "of the shards"}).keep(folder)
    return folder


def foreign(folder: Path, model: str = "shufflenet_v2_x0_5", saved: str | None = None, **tree: Any) -> str:
    """A YAML file that names a network and weights beside it."""
    torch.manual_seed(0)
    save_file(models.get_model(saved or model, weights=None).state_dict(), folder / "w.safetensors")
    named = {"name": "torchvision", "model": model, "weights": str(folder / "w.safetensors")}
    (folder / "foreign.yaml").write_text(yaml.safe_dump({"encoder": named, **tree}))
    return str(folder / "foreign.yaml")


def test_a_checkpoint_is_packed_with_the_encoder_and_view_of_its_training(
    trained: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for given in (trained, trained / "checkpoints" / "step_00000012"):
        config, model = any_model.plan(str(given), images, {}, tmp_path)
        assert config.name == "tiny-step12-on-images" and config.encoder.name == "convnet"
        assert config.views["eval"].model_dump()["size"] == 8
        kept, there = (
            loader.packed_weights(model.folder),
            checkpoint.encoder_weights(trained / "checkpoints/step_00000012"),
        )
        assert kept.keys() == there.keys() and all(torch.equal(kept[name], there[name]) for name in kept)
        assert model.tags["selfray.checkpoint"].endswith("step_00000012")
        assert "did not note views.eval" in capsys.readouterr().out.replace("\n", " ")
    again, packed = any_model.plan(str(model.folder), images, {}, tmp_path)
    assert packed.folder == model.folder and again.encoder == config.encoder
    assert len(list((tmp_path / "models").iterdir())) == 1


def test_a_checkpoint_is_evaluated_in_the_view_and_limits_of_its_recipe(images: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_file(models.shufflenet_v2_x0_5(weights=None).state_dict(), tmp_path / "w.safetensors")
    encoder = {"name": "torchvision", "model": "shufflenet_v2_x0_5", "weights": str(tmp_path / "w.safetensors")}
    eval_view = {"name": "image_eval", "size": 32, "crop_fraction": 1.0}
    views = {"global": {"name": "image_crop", "size": 32}, "eval": eval_view}
    config = parse({**TREE, "encoder": encoder, "views": views, "ingest": {"max_pixels": 1000}})
    method = build_method(config.method, config.encoder, config.views)
    folder = tmp_path / "pretrain" / "0123"
    checkpoint.save(folder / "checkpoints", 12, method, build_optimizer(config.optim, method, 0.1), {"total": 12})
    PRETRAIN.inputs(config, Artifact(digest="of the shards")).keep(folder)
    (tmp_path / "w.safetensors").unlink()  # where its training began; the checkpoint holds what became of it
    planned, model = any_model.plan(str(folder), images, {}, tmp_path)
    assert planned.views["eval"].model_dump() == eval_view and planned.ingest.max_pixels == 1000
    assert model.card.encoder["weights"] is None and loader.load_encoder(model.folder).embed_dim == 1024


def test_a_foreign_encoder_is_packed_with_its_weights(images: Path, tmp_path: Path) -> None:
    config, model = any_model.plan(foreign(tmp_path), images, {"seed": 3}, tmp_path)
    assert (config.name, config.seed) == ("foreign-on-images", 3)
    assert config.views["eval"].model_dump() == {"name": "image_eval", "size": 224, "crop_fraction": 0.875}
    encoder = loader.load_encoder(model.folder)
    assert encoder.embed_dim == 1024 and model.card.encoder["weights"] is None
    network = models.shufflenet_v2_x0_5(weights=None)
    network.load_state_dict(encoder.network.state_dict(), strict=False)  # type: ignore[union-attr, arg-type]
    (tmp_path / "w.safetensors").unlink()
    assert loader.load_encoder(model.folder).embed_dim == 1024  # the file is needed no more


@pytest.mark.parametrize(
    ("names", "want"),
    [
        (("train/a/0.png", "test/a/0.png"), {"path": "train", "test_path": "test"}),
        (("training/a/0.png", "val/a/0.png"), {"path": "training", "test_path": "val"}),
        (("a/0.png", "b/0.png"), {"path": ""}),
        (("train/0.png", "test/0.png", "third/0.png"), {"path": ""}),
    ],
)
def test_folders_named_like_splits_are_the_splits(names: tuple[str, ...], want: dict[str, str], tmp_path: Path) -> None:
    root = write_tree(tmp_path / "data", {name: encoded(1) for name in names})
    found_source = any_model.source(root, "image")
    assert found_source == {"name": "image_folder", **{key: str(root / part) for key, part in want.items()}}


def test_parquet_is_read_with_its_label_column_and_its_split_files(tmp_path: Path) -> None:
    table = pa.table({"image": [encoded(0)], "label": [1]})
    for name in ("train-0.parquet", "test-0.parquet"):
        pq.write_table(table, tmp_path / name)
    assert any_model.source(tmp_path, "image") == {
        "name": "parquet",
        "path": str(tmp_path / "**/train*.parquet"),
        "test_path": str(tmp_path / "**/test*.parquet"),
        "label": "label",
    }
    pq.write_table(table.drop_columns("label"), tmp_path / "one.parquet")
    one = tmp_path / "one.parquet"
    assert any_model.source(one, "image") == {"name": "parquet", "path": str(one)}
    (tmp_path / "bad.parquet").write_text("text")
    with pytest.raises(UserError, match=r"--on: .*bad\.parquet: not a Parquet file"):
        any_model.source(tmp_path / "bad.parquet", "image")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("nothing", "nothing: no such model; give NAME@ALIAS, NAME/VERSION"),
        ("absent@champion", r"absent@champion: .*not found"),
        ("absent/3", r"absent/3: .*not found"),
        ("gone.yaml", "gone.yaml: no such file"),
    ],
)
def test_an_unknown_model_is_one_clear_line(model: str, words: str, images: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words) as caught:
        any_model.plan(model, images, {}, tmp_path)
    assert "\n" not in str(caught.value)


def test_the_server_may_come_from_the_environment(images: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("MODELS", f"sqlite:///{tmp_path}/elsewhere.db")
    with pytest.raises(UserError, match=r"absent@champion: .*not found"):
        any_model.plan("absent@champion", images, {"tracking.uri": "${env:MODELS}"}, tmp_path)
    assert (tmp_path / "elsewhere.db").exists()


def test_mistakes_of_files_are_named(images: Path, tmp_path: Path, trained: Path) -> None:
    def plan(model: str | Path, on: Path = images, **changes: Any) -> None:
        any_model.plan(str(model), on, changes, tmp_path)

    with pytest.raises(UserError, match="--on: /nowhere: no such file or folder; give shards, files of kind image"):
        plan(trained, Path("/nowhere"))
    with pytest.raises(UserError, match=r"images: holds neither a packed model \(config.json\) nor a checkpoint"):
        plan(images)
    with pytest.raises(UserError, match=r"foreign\.yaml: encoder\.weights: .*does not fit encoder\.model resnet18"):
        plan(foreign(tmp_path, "resnet18", saved="shufflenet_v2_x0_5"))
    with pytest.raises(UserError, match="is a training's recipe; with --on give its checkpoint"):
        plan(foreign(tmp_path, method={"name": "simclr"}))
    with pytest.raises(UserError, match=r"encoder\.weights: name the file with the weights to score"):
        plan(foreign(tmp_path), **{"encoder.weights": None})
    with pytest.raises(UserError, match="probs: unknown key; did you mean 'probes'"):
        plan(trained, **{"evaluate.probs": []})
    weights = next(trained.rglob("method.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=r"method\.safetensors does not match its sha256"):
        plan(trained / "checkpoints" / "step_00000012")


def test_tampered_packed_weights_are_refused(trained: Path, images: Path, tmp_path: Path) -> None:
    _, model = any_model.plan(str(trained), images, {}, tmp_path)
    path = model.folder / card_file.WEIGHTS
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=r"its sha256 is .*do not use it"):
        loader.encoder_weights(model.folder)
    with pytest.raises(UserError, match=r"its sha256 is .*do not use it"):
        resolve.find(str(model.folder), tmp_path, "")
