"""Damaged weights are one clear line before Ray starts; the remedy that it names works."""

from pathlib import Path

import pytest

from pipelines.data.shards.shard_set import ShardSet
from pipelines.data.sources.image_folder import ImageFolder
from pipelines.errors import UserError
from pipelines.evaluate import evaluate
from pipelines.model import embed
from pipelines.model.card_file import WEIGHTS
from pipelines.runtime import session
from pipelines.storage import checkpoint, inputs
from pipelines.train.artifact import Checkpoint
from tests.support.images import good_tree
from tests.support.loop import run
from tests.support.registry import pack_tiny, recipe


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for Ray fails, also where another test has started it in this process."""
    for name in ("connect", "connect_to"):
        monkeypatch.delattr(session, name)


def flip(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def given(path: Path, folder: Path) -> Checkpoint:
    shards = ShardSet(
        digest="", folder=folder, num_train=1, num_test=1, num_classes=None, num_quarantined=0, num_duplicates=0
    )
    return Checkpoint(digest="", shards=shards, folder=path, step=12)


def test_of_a_checkpoint(tmp_path):
    run(tmp_path, {"train.checkpoint_seconds": 1e-9})
    path, record = tmp_path / "checkpoints" / "step_00000012", tmp_path / inputs.RECORD
    before = checkpoint.digest(path)
    record.write_text("{}")  # as of a stage that is complete
    flip(path / checkpoint.METHOD)
    config = recipe(tmp_path, "damaged")
    with pytest.raises(UserError, match=rf"method\.safetensors does not match its sha256; delete {record} and run"):
        evaluate.run(config, given(path, tmp_path), tmp_path / "evaluate" / "x")
    record.unlink()
    run(tmp_path, {"train.checkpoint_seconds": 1e-9})
    assert checkpoint.digest(path) == before
    checkpoint.check(path)


def test_of_a_packed_model(tmp_path):
    packed = pack_tiny(tmp_path / "model")
    flip(packed / WEIGHTS)
    source = ImageFolder.Config(path=good_tree(tmp_path / "raw", 2), labels="none")
    with pytest.raises(UserError, match=r"its sha256 is .*; do not use it") as error:
        embed.run(packed, "m", source, tmp_path / "out", embed.Options())
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()
    with pytest.raises(UserError, match=r"its sha256 is .*; do not use it"):
        evaluate.run(recipe(tmp_path, "damaged"), given(packed, tmp_path), tmp_path / "evaluate" / "x")
