"""`selfray evaluate MODEL --on DATA` on a real Ray: probes, floors, robustness, fine-tuning, MLflow."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from pipelines import flow
from pipelines.data.shards import manifest
from pipelines.errors import UserError
from pipelines.evaluate import any_model
from pipelines.evaluate.artifact import ProbeReport
from pipelines.evaluate.leaks import check
from pipelines.evaluate.tasks import fine_tune
from pipelines.model import card_file, loader
from pipelines.model import resolve as found
from pipelines.storage import checkpoint
from pipelines.tracking import server
from ssl_core.build import drawn_encoder
from ssl_core.config import NamedConfig
from tests.support.images import encoded, image_fields, write_tree

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("ray_session")]
ENCODER, VIEW = {"name": "convnet", "width": 4, "depth": 2}, {"name": "image_eval", "size": 16}
FAST = {
    "ingest.test_fraction": 0.4,
    "evaluate.probes": [{"name": "knn", "k": [3]}, {"name": "linear_probe"}],
    "ray.object_store_mb": 256,
}
TASKS = {"evaluate.robustness": {"corruptions": ["gaussian_noise", "contrast"], "severities": [1, 5]}}
TUNE = {"evaluate.fine_tune": {"epochs": 12, "global_batch_size": 16, "lr": 0.05, "warmup_fraction": 0.0}}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def images(root: Path) -> Path:
    """Horizontal and vertical stripes under noise: 48 of each."""
    draw = np.random.default_rng(0)
    for index in range(96):
        stripes = np.tile(np.array([70, 180]).repeat(2), 5)[:16]  # [16]
        plane = np.broadcast_to(stripes[:, None] if index % 2 else stripes, (16, 16))
        picture = np.clip(plane[..., None] + draw.normal(0, 15, (16, 16, 3)), 0, 255).astype(np.uint8)
        path = root / "stripes" / ("flat", "upright")[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture)
    return root / "stripes"


@pytest.fixture(scope="module")
def model(root: Path) -> str:
    """A packed encoder with weights of its own."""
    config = _config("ssl_core.encoders", ENCODER)
    card = card_file.card_of(
        name="some", encoder=ENCODER, view=VIEW, codec=image_fields(10**6)["image"], checkpoint="", shards=""
    )
    view = {"eval": _config("ssl_core.augment", VIEW)}
    return str(found.keep(drawn_encoder(config, view, 7).state_dict(), card, root).folder)


@pytest.fixture(scope="module")
def made(model: str, images: Path, root: Path, ray_session: None) -> ProbeReport:
    return evaluate(model, images, root, **TASKS)


def _config(package: str, tree: dict[str, Any]) -> NamedConfig:
    from ssl_core.catalog import find

    config: NamedConfig = find(package, tree["name"]).Config.model_validate(tree)
    return config


def evaluate(model: str, on: Path, root: Path, **changes: Any) -> ProbeReport:
    config, packed = any_model.plan(model, on, {**FAST, **changes}, root)
    return flow.evaluate_model(config, packed, root)


def test_every_score_stands_beside_its_floors(made: ProbeReport, root: Path) -> None:
    scores = made.scores
    assert made.folder.parent == root / "evaluations"
    assert {"knn_top1_k3", "linear_top1", "robust_top1"} <= scores.encoder.keys()
    assert scores.encoder.keys() == scores.random_init.keys() == scores.raw_input.keys()
    assert {"linear_top1", "robust_top1"} <= scores.intervals.keys() & scores.gains.keys()
    text = (made.folder / "report" / "report.md").read_text()
    assert "## Robustness" in text and "| `contrast` |" in text
    assert "robustness.png" in text and (made.folder / "report" / "robustness.png").stat().st_size > 5000
    kept = json.loads((made.folder / "report" / "scores.json").read_text())["scores"]
    assert kept["robustness"]["top1"].keys() == {"gaussian_noise", "contrast"}


def test_robustness_is_the_accuracy_of_the_clean_probe_on_corrupted_views(made: ProbeReport) -> None:
    found = made.scores.robustness
    assert found is not None and found.severities == (1, 5)
    assert found.clean == pytest.approx(made.scores.encoder["linear_top1"])  # all test samples were looked at
    assert found.mean == pytest.approx(np.mean(list(found.top1.values()))) == made.scores.encoder["robust_top1"]
    assert found.drop == pytest.approx(found.clean - found.mean)
    assert found.top1["gaussian_noise"][1] <= found.top1["gaussian_noise"][0]
    assert found.num_test == made.scores.num_test


def test_its_run_in_mlflow_is_linked_to_the_model(made: ProbeReport, root: Path) -> None:
    client = server.connect(server.embedded(root))
    (experiment,) = [e for e in client.search_experiments() if e.name == "selfray"]
    runs = client.search_runs([experiment.experiment_id], "params.on LIKE '%stripes'")
    run = next(run for run in runs if "robust_top1" in run.data.metrics)
    card = card_file.read_card(made.checkpoint.folder)
    assert run.data.tags["selfray.sha256"] == card.sha256 and run.info.status == "FINISHED"
    (logged,) = run.inputs.dataset_inputs
    assert logged.dataset.digest == made.checkpoint.shards.digest[:36]
    assert run.data.metrics["linear_top1"] == pytest.approx(made.scores.encoder["linear_top1"])
    assert run.data.metrics["robustness/drop"] == pytest.approx(made.scores.robustness.drop)  # type: ignore[union-attr]
    assert [f.path for f in client.list_artifacts(run.info.run_id, "report") if f.path.endswith("report.md")]


def test_asked_again_it_is_read_from_disk_and_on_its_shards_it_is_the_same(
    made: ProbeReport, model: str, images: Path, root: Path
) -> None:
    assert evaluate(model, images, root, **TASKS) == made
    features = sorted((root / "features").iterdir())
    on_shards = evaluate(model, made.checkpoint.shards.folder, root, **TASKS)
    assert on_shards.scores == made.scores
    assert sorted((root / "features").iterdir()) == features, "nothing was encoded again"
    client = server.connect(server.embedded(root))
    (experiment,) = [e for e in client.search_experiments() if e.name == "selfray"]
    (run,) = client.search_runs([experiment.experiment_id], f"params.on = '{made.checkpoint.shards.folder}'")
    (logged,) = run.inputs.dataset_inputs  # what a comparison of two evaluations is paired by
    assert logged.dataset.digest == made.checkpoint.shards.digest[:36]


def test_copies_of_what_it_was_pretrained_on_are_found(made: ProbeReport, model: str, images: Path, root: Path) -> None:
    text = (made.folder / "report" / "report.md").read_text()
    assert "Not checked: what this encoder was pre-trained on is not known." in text
    assert "Alignment and LiDAR were not measured" in text
    shards, card = made.checkpoint.shards, card_file.read_card(Path(model))
    weights = loader.packed_weights(Path(model))
    theirs, elsewhere = (
        found.keep(weights, card.model_copy(update={"shards": digest}), root).folder
        for digest in (shards.digest, "f" * 64)
    )
    half = {str(path.relative_to(images)): path.read_bytes() for path in sorted(images.rglob("*.png"))[::2]}
    # at the same test_fraction a picture would be held out in both: by its content
    again = evaluate(str(theirs), write_tree(root / "half", half), root, **{"ingest.test_fraction": 0.7})
    seen = again.scores.pretraining
    assert seen is not None and seen.shards == shards.digest and seen.leaks is not None
    assert again.scores.leaks is not None and again.scores.leaks.num_exact == 0  # none within the half itself
    assert 0 < seen.leaks.num_exact <= seen.leaks.num_checked == again.scores.num_test
    assert all(Path(pair.train_origin).name == Path(pair.test_origin).name for pair in seen.leaks.pairs)
    text = (again.folder / "report" / "report.md").read_text()
    assert f"**{seen.leaks.num_exact} exact and {seen.leaks.num_near} near copies**" in text
    assert "is in the pre-training data" in again.verdict
    config, _ = any_model.plan(str(theirs), images, FAST, root)
    looked = [
        check.of_pretraining(
            config,
            made.checkpoint.model_copy(update={"folder": folder}),
            manifest.load(shards.folder),
            root / "features",
        )
        for folder in (theirs, elsewhere)
    ]
    assert looked[0] is None  # scored on what it was pre-trained on: that is looked at already
    assert looked[1] is not None and "ffffffffffff...) are not in this storage" in looked[1].missing


def test_without_labels_the_report_says_so(model: str, images: Path, root: Path) -> None:
    plain = {"source.labels": "none"}
    made = evaluate(model, images, root, **plain)
    assert made.verdict.startswith("no labels, so not scored") and not made.scores.encoder
    assert "no labels" in (made.folder / "report" / "report.md").read_text()
    with pytest.raises(UserError, match=r"evaluate\.fine_tune: needs labels, these data have none"):
        evaluate(model, images, root, **plain, **TUNE)


def test_data_that_cannot_be_scored_are_named(model: str, root: Path, tmp_path: Path) -> None:
    write_tree(tmp_path / "text", {"a/readme.txt": b"text", "b/more.txt": b"text"})
    with pytest.raises(UserError, match=r"has 2 files but no image among them"):
        evaluate(model, tmp_path / "text", root)
    write_tree(tmp_path / "one", {"a/0.png": encoded(0)})
    with pytest.raises(UserError, match=r"train and \d test samples; probes need both"):
        evaluate(model, tmp_path / "one", root)
    write_tree(tmp_path / "some", {f"{place}{i}.png": encoded(i) for place in ("a/", "b/", "") for i in range(9)})
    with pytest.raises(UserError, match="9 of 27 samples have no label"):
        evaluate(model, tmp_path / "some", root, **{"source.labels": "folder"})
    few, said = {"evaluate.fine_tune": {"global_batch_size": 512}}, "512 is more than the"
    with pytest.raises(UserError, match=rf"evaluate\.fine_tune\.global_batch_size: {said} \d+ train samples"):
        evaluate(model, root / "stripes", root, **few)


@pytest.mark.slow
def test_fine_tuning_learns_what_the_labels_say_and_resumes(model: str, images: Path, root: Path) -> None:
    made = evaluate(model, images, root, **TUNE)
    scores = made.scores
    assert scores.encoder["fine_tune_top1"] >= 0.9
    assert scores.random_init.keys() - scores.raw_input.keys() == {"fine_tune_top1"}  # pixels have no weights to tune
    low, high = scores.intervals["fine_tune_top1"]
    assert low <= scores.encoder["fine_tune_top1"] <= high and "fine_tune_top1" in scores.gains
    assert "fine_tune v1: all weights, 12 epochs" in (made.folder / "report" / "report.md").read_text()

    client = server.connect(server.embedded(root))
    for name, score in (("encoder", scores.encoder), ("random_init", scores.random_init)):
        curves = _tuned(client, name)
        history = client.get_metric_history(curves.info.run_id, "loss")
        loss = [point.value for point in sorted(history, key=lambda point: point.step)]
        assert curves.info.status == "FINISHED" and len(loss) > 2 and loss[-1] < loss[0]
        assert curves.data.metrics["fine_tune_top1"] == pytest.approx(score["fine_tune_top1"])
        parent = client.get_run(curves.data.tags["mlflow.parentRunId"])  # of which the training's loss is no result
        assert "fine_tune_top1" in parent.data.metrics and "loss" not in parent.data.metrics

    trainings = {_begun(work): work for work in (root / "fine_tuned").iterdir()}
    work = trainings[str(made.checkpoint.folder)]
    path, floor = (checkpoint.latest(w / "checkpoints")[0] for w in (work, trainings[None]))
    assert path is not None and floor is not None
    assert checkpoint.digest(path) != checkpoint.digest(floor), "same seed, order and recipe: only the start differs"
    (work / fine_tune.HITS).unlink()
    shutil.rmtree(made.folder)
    before = path.stat().st_mtime_ns
    assert evaluate(model, images, root, **TUNE).scores == scores
    assert path.stat().st_mtime_ns == before, "it went on from its last checkpoint, which was the end"


def _tuned(client: "MlflowClient", subject: str) -> "Run":
    """The MLflow run of the one fine-tuning of a subject."""
    (experiment,) = [e for e in client.search_experiments() if e.name == "selfray"]
    (run,) = client.search_runs([experiment.experiment_id], f"tags.`selfray.stage` = 'fine_tune/{subject}'")
    return run


def _begun(work: Path) -> str | None:
    """The weights that a training began with."""
    found: dict[str, str | None] = json.loads((work / "begin.json").read_text())
    return found["weights"]
