"""The evaluation stage on a real Ray: intervals, outcomes, health, classes and leaks, with labels and without."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from pipelines.config.parse import parse
from pipelines.config.run import RunConfig
from pipelines.data import ingest
from pipelines.errors import UserError
from pipelines.evaluate import evaluate
from pipelines.evaluate.artifact import ProbeReport
from pipelines.evaluate.scoring import outcomes
from pipelines.stage import Nothing
from pipelines.storage import checkpoint, outbox
from pipelines.train.artifact import Checkpoint
from ssl_core.build import build_method
from ssl_core.optimize.optimizers import build_optimizer
from tests.support.pictures import picture
from tests.support.recipe import TREE

pytestmark = pytest.mark.timeout(300)
LABELS = {"a": 0, "b": 1}
SETTINGS = {"evaluate.resamples": 200, "evaluate.view_samples": 12, "evaluate.map_samples": 20}
SETTINGS["evaluate.robustness"] = {"corruptions": ["contrast"], "severities": [2], "max_samples": 7}


def write(root: Path, *, labelled: bool) -> None:
    """Two kinds of pictures; of the twenty test ones three are copies of train ones."""
    for split, count, first in (("train", 60, 0), ("test", 20, 1000)):
        for i in range(count):
            kind = "ab"[i % 2] if labelled else "."
            (root / split / kind).mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(picture(48, 64, seed=first + i) // (1 + i % 2))
            image.save(root / split / kind / f"{i:03d}.png")
    train = root / "train" / ("a" if labelled else ".")
    test = root / "test" / ("a" if labelled else ".")
    (test / "000.png").write_bytes((train / "000.png").read_bytes())
    with Image.open(train / "002.png") as image:
        image.resize((96, 72), Image.Resampling.BICUBIC).save(test / "002.png")
    with Image.open(train / "004.png") as image:
        image.save(test / "004.png", "JPEG", quality=60)


def judged(root: Path, changes: dict[str, Any], *, labelled: bool) -> tuple[RunConfig, ProbeReport]:
    write(root / "raw", labelled=labelled)
    source = {"name": "image_folder", "path": str(root / "raw/train"), "test_path": str(root / "raw/test")}
    config = parse({**TREE, "source": source, "storage": str(root)}, {**SETTINGS, **changes})
    shards = ingest.run(config, Nothing(), root / "ingest" / "one")
    method = build_method(config.method, config.encoder, config.views, seed=3)
    optimizer = build_optimizer(config.optim, method, 0.1)
    path = checkpoint.save(root / "pretrain" / "one" / "checkpoints", 12, method, optimizer, {"total": 12})
    given = Checkpoint(digest=checkpoint.digest(path), shards=shards, folder=path, step=12)
    folder = root / "evaluate" / "one"
    folder.mkdir(parents=True)
    return config, evaluate.run(config, given, folder)


@pytest.fixture(scope="module")
def full(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunConfig, ProbeReport]:
    return judged(tmp_path_factory.mktemp("full"), {"evaluate.suite": "full"}, labelled=True)


def test_every_score_of_the_encoder_has_an_interval_around_it(full: tuple[RunConfig, ProbeReport]) -> None:
    scores = full[1].scores
    assert {name.split("_")[0] for name in scores.encoder} >= {
        "knn",
        "linear",
        "few",
        "clustering",
        "retrieval",
        "robust",
    }
    for name, value in scores.encoder.items():
        if not name.endswith("_std"):
            low, high = scores.intervals[name]
            assert low - 1e-6 <= value <= high + 1e-6
    compared = [name for name in scores.intervals if not name.endswith(("_coverage", "_precision"))]
    assert set(scores.gains) == set(compared)
    assert set(scores.random_init) == set(scores.raw_input) == set(scores.encoder)


def test_outcomes_of_each_test_sample_are_kept_beside_the_report(full: tuple[RunConfig, ProbeReport]) -> None:
    made = full[1]
    found = outcomes.load(made.folder / "report")
    assert sorted(found.sample_id.tolist()) == list(range(60, 80))
    assert {"knn_top1_k20", "linear_top1", "retrieval_map"} <= set(found.values)
    assert set(found.some) == {"robust_top1"} and len(found.ids("robust_top1")) == 7
    assert set(found.ids("robust_top1").tolist()) < set(range(60, 80))
    for name, values in found.values.items():
        assert len(values) == len(found.ids(name))
        assert values.dtype == torch.float32
        assert float(values.double().mean()) == pytest.approx(made.scores.encoder[name], abs=1e-6)


def test_classes_and_confusions_come_from_one_prediction(full: tuple[RunConfig, ProbeReport]) -> None:
    scores = full[1].scores
    assert scores.predicted_by == "linear_top1"
    assert [(row.name, row.support) for row in scores.per_class] == [("a", 10), ("b", 10)]
    right = sum(scores.confusion[i][i] for i in range(2))
    assert right / 20 == pytest.approx(scores.encoder["linear_top1"])
    assert [sum(row) for row in scores.confusion] == [10, 10]
    for row in scores.per_class:
        assert set(row.intervals) == {"precision", "recall", "f1"}
        assert all(low <= getattr(row, name) <= high for name, (low, high) in row.intervals.items())


def test_accuracy_and_drop_under_each_corruption_have_intervals(full: tuple[RunConfig, ProbeReport]) -> None:
    found = full[1].scores.robustness
    assert found is not None and found.num_test == 7
    numbers = found.metrics()
    assert set(found.intervals) == set(numbers) - {"robust_top1"}  # a score, which has its own
    assert all(low <= numbers[name] <= high for name, (low, high) in found.intervals.items())
    low, high = found.intervals["robustness/contrast_drop"]
    text = (full[1].folder / "report" / "report.md").read_text()
    assert f"{numbers['robustness/contrast_drop']:.3f} [{low:.3f}, {high:.3f}]" in text


def test_the_full_suite_clusters_by_density_too(full: tuple[RunConfig, ProbeReport]) -> None:
    scores = full[1].scores
    names = {f"clustering_dbscan_{name}" for name in ("nmi", "ari", "purity", "coverage")}
    assert names <= set(scores.encoder) and names <= set(scores.intervals)


def test_health_is_measured_on_proper_views(full: tuple[RunConfig, ProbeReport]) -> None:
    health = full[1].scores.health
    assert {"feature_std", "rankme", "uniformity", "alignment", "lidar", "norm_outliers"} <= set(health)
    assert 0 < health["alignment"] < 4  # two different crops of a picture are alike, not the same
    assert 1 <= health["lidar"] <= 12
    logged = {name: v for point in outbox.read(full[1].folder) for name, v in point.metrics.items()}
    assert logged["lidar"] == health["lidar"]
    assert logged["knn_top1_k20"] == full[1].scores.encoder["knn_top1_k20"]


def test_the_planted_copies_are_found_by_name_and_no_others(full: tuple[RunConfig, ProbeReport]) -> None:
    leaks = full[1].scores.leaks
    assert leaks is not None
    named = {(pair.test_origin, pair.train_origin, pair.kind) for pair in leaks.pairs}
    assert named == {
        ("test/a/000.png", "train/a/000.png", "bytes"),
        ("test/a/002.png", "train/a/002.png", "phash"),
        ("test/a/004.png", "train/a/004.png", "phash"),
    }
    assert (leaks.num_exact, leaks.num_near, leaks.num_checked, leaks.rate) == (1, 2, 20, 0.15)
    assert "15 % of test is in train, or nearly" in full[1].verdict


def test_the_report_shows_it(full: tuple[RunConfig, ProbeReport]) -> None:
    folder = full[1].folder / "report"
    text = (folder / "report.md").read_text()
    for title in ("## Health", "## Test samples among the train samples", "## Classes", "## Dimensional collapse"):
        assert title in text
    assert "`test/a/004.png`" in text
    low, high = full[1].scores.intervals["linear_top1"]
    assert f"{full[1].scores.encoder['linear_top1']:.3f} [{low:.3f}, {high:.3f}]" in text
    for picture_file in ("collapse.png", "confusion.png", "map.png", "neighbors.png"):
        with Image.open(folder / picture_file) as image:
            assert min(image.size) > 200


def test_asked_again_it_is_the_same_from_what_was_kept(full: tuple[RunConfig, ProbeReport], tmp_path: Path) -> None:
    config, made = full
    again = made.folder.parent / "again"
    again.mkdir()
    assert evaluate.run(config, made.checkpoint, again).digest == made.digest


def test_without_labels_health_and_leaks_remain(ray_session: None, tmp_path: Path) -> None:
    _, made = judged(tmp_path, {"evaluate.suite": "full"}, labelled=False)
    scores = made.scores
    assert scores.encoder == scores.intervals == {} and scores.per_class == () and scores.headline == ""
    assert scores.health["lidar"] >= 1
    assert "LiDAR were not measured" not in (made.folder / "report" / "report.md").read_text()
    assert scores.leaks is not None and scores.leaks.num_exact + scores.leaks.num_near == 3
    assert made.verdict.startswith("no labels, so not scored")
    with pytest.raises(UserError, match="had no labels"):
        outcomes.load(made.folder / "report")
    assert "## Health" in (made.folder / "report" / "report.md").read_text()
