"""What is loaded is what was registered or exported; what a name alone means; what a download leaves behind."""

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pipelines.__main__ import main
from pipelines.errors import UserError
from pipelines.model import card_file, loader, versions
from pipelines.model.card_file import CARD, WEIGHTS
from pipelines.model.embedder import Embedder
from pipelines.model.export import export
from pipelines.model.loader import load_chain, load_encoder
from pipelines.storage.checksum import sha256_of
from pipelines.tracking.server import artifact_root, connect, storage, use
from ssl_core.catalog import find, names
from tests.support.images import encoded, image_fields
from tests.support.registry import pack_tiny, pretrained, recipe, register
from tests.support.tiny import image_spec

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A storage with one version of `kept`."""
    root = tmp_path_factory.mktemp("loaded")
    config = recipe(root, "kept")
    register(config, root, pretrained(root, config)[1])
    return storage(config, root)


@pytest.fixture(scope="module")
def files(uri: str) -> Path:
    """Where MLflow keeps the version's files."""
    root = Path(urlsplit(artifact_root(Path(uri.removeprefix("sqlite:///")).parent)).path)
    model_id = versions.find("kept/1", uri).model_id
    return next(path.parents[1] for path in root.rglob(WEIGHTS) if model_id in str(path))


@pytest.fixture
def changed(files: Path) -> Iterator[Callable[[str, Callable[[bytes], bytes]], None]]:
    """Changes a file of the version; it is as it was after the test."""
    before = dict[Path, bytes]()

    def change(name: str, edit: Callable[[bytes], bytes]) -> None:
        before[files / name] = (files / name).read_bytes()
        (files / name).write_bytes(edit(before[files / name]))

    yield change
    for path, data in before.items():
        path.write_bytes(data)


def cropped(data: bytes) -> bytes:
    card = json.loads(data)
    return json.dumps(card | {"view": card["view"] | {"crop_fraction": 0.1}}).encode()


@pytest.mark.parametrize("name", [f"artifacts/{CARD}", "MLmodel", "requirements.txt"])
def test_a_version_with_a_changed_file_is_not_loaded(uri, changed, tmp_path, name):
    changed(name, cropped if name.endswith(CARD) else lambda data: data + b"\n")
    for load in (load_encoder, load_chain):
        with pytest.raises(UserError, match=rf"models:/kept/1: {name}: not what was registered; do not use it"):
            load("models:/kept@candidate", tracking_uri=uri)
    with pytest.raises(UserError, match="not what was registered"):
        versions.opened("kept", uri, tmp_path)  # what embed and export begin with


def test_mlflow_refuses_to_serve_a_version_with_a_changed_config(uri, changed):
    import mlflow

    use(uri)
    mlflow.pyfunc.load_model("models:/kept/1")
    changed(f"artifacts/{CARD}", cropped)
    with pytest.raises(ValueError, match=r"config\.json: not what was registered; do not use it"):
        mlflow.pyfunc.load_model("models:/kept/1")


def test_predict_names_the_image_that_cannot_be_read(uri):
    import mlflow

    use(uri)
    model = mlflow.pyfunc.load_model("models:/kept/1")
    images = [encoded(seed, 8, 8) for seed in range(70)]
    for bad, said in ((b"no image", "not an image"), ("%%%", "text that is no base64")):
        with pytest.raises(ValueError, match=f"image 68: {said}"):
            model.predict([*images[:68], bad, images[69]])
    assert "decoded at a reduced size" in model.metadata.metadata["selfray.input"]


def test_predict_holds_the_pixels_of_one_batch(uri, monkeypatch):
    import mlflow

    use(uri)
    model = mlflow.pyfunc.load_model("models:/kept/1")
    held, most = 0, 0
    decode, embed = Embedder.decode, Embedder.embed

    def counted(self, data):
        nonlocal held, most
        held, most = held + 1, max(most, held + 1)
        return decode(self, data)

    def emptied(self, views):
        nonlocal held
        held = 0
        return embed(self, views)

    monkeypatch.setattr(Embedder, "decode", counted)
    monkeypatch.setattr(Embedder, "embed", emptied)
    assert model.predict([encoded(0, 8, 8)] * 200).shape[0] == 200
    assert most == 64


def test_an_exported_folder_with_a_changed_config_is_not_loaded(tmp_path):
    made = export(pack_tiny(tmp_path / "model"), "safetensors", tmp_path / "out")
    path = tmp_path / "out" / CARD
    assert made.config_sha256 == sha256_of(path)
    load_encoder(tmp_path / "out")
    path.write_bytes(cropped(path.read_bytes()))
    for act in (load_encoder, load_chain, Embedder, lambda folder: export(folder, "pt2", tmp_path / "again")):
        with pytest.raises(UserError, match=r"config\.json: not the one that was exported, encoder\.safetensors\.json"):
            act(tmp_path / "out")


def test_a_config_that_names_a_file_does_not_open_it(tmp_path, monkeypatch):
    """The encoder's tensors come from encoder.safetensors alone."""
    find("ssl_core.encoders", "torchvision")
    (tmp_path / "evil.pt").write_bytes(b"never read")
    config = {"name": "torchvision", "model": "shufflenet_v2_x0_5", "weights": str(tmp_path / "evil.pt")}
    card = card_file.card_of(
        name="x", encoder=config | {"weights": None}, view={"name": "image_eval", "size": 32},
        codec=image_fields(10**6)["image"], checkpoint="", shards="",
    )  # fmt: skip
    encoder = find("ssl_core.encoders", "torchvision")
    module = encoder(encoder.Config(model="shufflenet_v2_x0_5"), image_spec(3, 32, 32))
    loader.pack(tmp_path / "model", module.state_dict(), card)
    path = tmp_path / "model" / CARD
    path.write_text(json.dumps(json.loads(path.read_text()) | {"encoder": config}))
    assert card_file.read_card(tmp_path / "model").encoder["weights"] is None
    opened = list[str]()
    monkeypatch.setattr(torch, "load", lambda *given, **_: opened.append(str(given)))
    load_encoder(tmp_path / "model")
    assert opened == []


def test_no_other_setting_of_an_encoder_or_a_chain_is_a_path():
    for package in ("ssl_core.encoders", "ssl_core.augment"):
        for name in names(package):
            fields = find(package, name).Config.model_fields
            paths = {key for key, field in fields.items() if "Path" in str(field.annotation)}
            assert paths <= {"weights"}, (name, paths)


@pytest.mark.parametrize("width", [10**9, 10**6, 16])
def test_sizes_are_compared_before_memory_is_taken(tmp_path, width):
    packed = pack_tiny(tmp_path / "model")
    path = packed / CARD
    card = json.loads(path.read_text())
    path.write_text(json.dumps(card | {"encoder": card["encoder"] | {"width": width}}))
    with pytest.raises(UserError, match=r"does not fit the encoder in config\.json|cannot build it"):
        load_encoder(packed)


def test_a_config_that_says_another_width_than_its_encoder_gives_is_refused(tmp_path):
    packed = pack_tiny(tmp_path / "model")
    card = json.loads((packed / CARD).read_text())
    (packed / CARD).write_text(json.dumps(card | {"embed_dim": card["embed_dim"] + 1}))
    with pytest.raises(UserError, match="its encoder maps"):
        load_encoder(packed)


def test_a_name_alone_is_the_candidate_else_the_champion_else_said(uri):
    client = connect(uri)
    client.set_registered_model_alias("kept", "champion", "1")
    assert versions.find("kept", uri).number == 1
    client.delete_registered_model_alias("kept", "candidate")
    try:
        assert versions.find("kept", uri).number == 1
        words = "kept@candidate: alias candidate not found; version 1 is @champion; write kept@champion"
        with pytest.raises(UserError, match=words):
            versions.find("kept@candidate", uri)
        client.delete_registered_model_alias("kept", "champion")
        with pytest.raises(
            UserError, match="alias candidate or champion not found; no version has an alias; write kept/VERSION"
        ):
            versions.find("kept", uri)
    finally:
        client.set_registered_model_alias("kept", "candidate", "1")


def test_loading_in_a_loop_leaves_nothing_behind(uri, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for _ in range(2):
        encoder, chain = (load("models:/kept@candidate", tracking_uri=uri) for load in (load_encoder, load_chain))
    with torch.no_grad():
        views = torch.from_numpy(chain([np.zeros((9, 9, 3), np.uint8)], np.zeros(1, np.int64), 0))
        assert encoder(chain.finish(views)).pooled.shape == (1, encoder.embed_dim)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", ["export", "embed"])
def test_a_folder_that_is_no_model_is_said(tmp_path, capsys, verb):
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    (tmp_path / "raw").mkdir()
    more = ["--input", str(tmp_path / "raw")] if verb == "embed" else []
    assert main([verb, str(tmp_path), "--output", str(tmp_path.parent / "out"), *more]) == 1
    assert f"{tmp_path}: holds no {CARD}; give NAME, NAME@alias" in capsys.readouterr().err


def test_a_folder_is_no_tracking_uri(tmp_path, capsys):
    for written in (str(tmp_path), f"file://{tmp_path}"):
        assert main(["export", "kept", "--output", str(tmp_path / "out"), "--tracking-uri", written]) == 1
        assert f"{tmp_path}: a folder is no MLflow server; give sqlite:///PATH/mlflow.db" in capsys.readouterr().err
