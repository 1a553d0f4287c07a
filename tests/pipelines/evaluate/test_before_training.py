"""What makes an evaluation impossible is said as soon as the data are read, before anything is trained."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import flow
from pipelines.config.parse import parse
from pipelines.config.run import RunConfig
from pipelines.data import ingest
from pipelines.errors import UserError
from pipelines.evaluate import evaluate
from pipelines.stage import Nothing
from pipelines.tuning.tune import tune
from tests.support.images import encoded, good_tree
from tests.support.recipe import BRIEF, TREE

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("ray_session")]


def config_of(root: Path, source: dict[str, Any], **changes: Any) -> RunConfig:
    return parse({**TREE, "source": source, "storage": str(root), "evaluate": BRIEF}, changes)


def table(path: Path, labels: list[str | None]) -> str:
    first = sum(map(ord, path.name))
    rows = {"image": [encoded(first + i) for i in range(len(labels))], "label": pa.array(labels, pa.string())}
    pq.write_table(pa.table(rows), path)
    return str(path)


@pytest.mark.parametrize("last", ["evaluate", "register"])
def test_an_empty_test_split_costs_no_training(last: flow.Last, tmp_path: Path) -> None:
    source = {"name": "image_folder", "path": str(good_tree(tmp_path / "raw"))}
    config = config_of(tmp_path, source, **{"ingest.test_fraction": 0, "train.global_batch_size": 4})
    with pytest.raises(UserError, match=r"ingest\.test_fraction: the test split is empty.*12 samples.*raise it"):
        flow.up_to(last, config, tmp_path)
    assert not (tmp_path / "pretrain").exists()
    assert flow.up_to("ingest", config, tmp_path).digest, "it is no fault where nothing is scored"


def test_a_campaign_says_it_before_its_trials(tmp_path: Path) -> None:
    source = {"name": "image_folder", "path": str(good_tree(tmp_path / "raw"))}
    search = {"space": {"optim.lr": {"uniform": [0.1, 0.2]}}, "searcher": "random"}
    config = config_of(tmp_path, source, **{"ingest.test_fraction": 0, "train.global_batch_size": 4, "tune": search})
    with pytest.raises(UserError, match="the test split is empty"):
        tune(config, tmp_path)
    assert not list((tmp_path / "tune").rglob("trials"))


def test_labels_of_test_that_train_lacks_cannot_be_scored(tmp_path: Path) -> None:
    places = {"path": table(tmp_path / "train.parquet", ["a", "b"] * 8)}
    places["test_path"] = table(tmp_path / "test.parquet", ["c", "d"] * 4)
    config = config_of(tmp_path, {"name": "parquet", "label": "label", **places})
    with pytest.raises(UserError) as error:
        flow.up_to("evaluate", config, tmp_path)
    said = "no label of test occurs in train: test has c, d, train has a, b; use the same names in both splits"
    assert said in str(error.value)
    assert not (tmp_path / "pretrain").exists()


def test_a_class_more_in_test_is_no_fault(tmp_path: Path) -> None:
    places = {"path": table(tmp_path / "train.parquet", ["a", "b"] * 8)}
    places["test_path"] = table(tmp_path / "test.parquet", ["b", "c"] * 4)
    config = config_of(tmp_path, {"name": "parquet", "label": "label", **places})
    evaluate.check(ingest.run(config, Nothing(), tmp_path / "out"))


def test_labels_of_some_samples_only_are_said_before_training(tmp_path: Path) -> None:
    source = {"name": "parquet", "path": table(tmp_path / "x.parquet", ["a", "b", None, "b"] * 8), "label": "label"}
    with pytest.raises(UserError, match="8 of 32 samples have no label"):
        flow.up_to("register", config_of(tmp_path, source, **{"ingest.test_fraction": 0.3}), tmp_path)
    assert not (tmp_path / "pretrain").exists()
