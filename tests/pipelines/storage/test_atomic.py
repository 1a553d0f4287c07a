"""Files that are replaced as a whole, by several writers at once and by one that is interrupted."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from pipelines.evaluate.features.feature_set import FeatureSet
from pipelines.storage import atomic


def test_two_evaluations_keep_the_same_features_at_once(tmp_path: Path) -> None:
    """`random_init` and `raw_input` have one folder for all methods with the same encoder, view and seed."""
    kept, ids = FeatureSet(folder=tmp_path / "key"), torch.arange(2000)

    def evaluation(number: int) -> None:
        for _ in range(20):
            kept.keep("train", torch.full((2000, 64), float(number)), ids)
            features, sample_id = kept.load("train")
            assert len(features.unique()) == 1 and torch.equal(sample_id, ids)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(evaluation, range(4)))
    assert [path.name for path in kept.folder.iterdir()] == ["train.safetensors"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    atomic.write_text(tmp_path / "new" / "a.txt", "before ü")
    with pytest.raises(UnicodeEncodeError):
        atomic.write_text(tmp_path / "new" / "a.txt", "half \udcff")
    with pytest.raises(ZeroDivisionError), atomic.write_aside(tmp_path / "new" / "a.txt") as file:
        file.write(bytes([1 // 0]))
    assert (tmp_path / "new" / "a.txt").read_text(encoding="utf-8") == "before ü"
    assert len(list((tmp_path / "new").iterdir())) == 1
