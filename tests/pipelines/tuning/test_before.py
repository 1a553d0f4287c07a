"""What is refused or said before the first trial of a campaign, and what trials are looked at in. No Ray."""

from pathlib import Path

import pytest

from pipelines.config.parse import parse
from pipelines.config.run import RunConfig
from pipelines.data.ingest import INGEST
from pipelines.data.shards.shard_set import ShardSet
from pipelines.errors import UserError
from pipelines.stage import Nothing
from pipelines.tuning import plan, space
from pipelines.tuning import tune as flow
from pipelines.tuning.cautions import can_be_ranked, cautions
from pipelines.tuning.confirm import cost_before
from pipelines.tuning.plan import Plan
from pipelines.tuning.trials.trial import looked_at
from tests.support.images import encoded, write_tree
from tests.support.recipe import TREE

TUNE = {"space": {"method.temperature": {"choice": [0.1, 0.2, 0.5, 1.0]}}, "searcher": "grid"}
LABELLED = ShardSet(digest="d", folder=Path(), num_train=9, num_test=1, num_classes=2, num_quarantined=0,
                    num_duplicates=0)  # fmt: skip
BARE = LABELLED.model_copy(update={"num_classes": None})


def tuned(**tune) -> RunConfig:
    return parse(TREE, {"tune": {**TUNE, **tune}})


def said(shards: ShardSet = LABELLED, **tune) -> list[str]:
    return cautions(space.section(tuned(**tune)), shards)


def test_labels_that_are_missing_or_trained_on_cannot_rank():
    config = tuned()
    with pytest.raises(
        UserError, match=r"tune\.metric: knn_top1 needs labels, the source has none; take one of rankme"
    ):
        can_be_ranked(config, space.section(config), BARE)
    can_be_ranked(config, space.section(config), LABELLED)
    free = tuned(metric="rankme")
    can_be_ranked(free, space.section(free), BARE)
    rates = {"space": {"optim.lr": {"uniform": [0.1, 0.2]}}, "searcher": "random"}
    supervised = parse(TREE, {"method": {"name": "supervised", "num_classes": 10}, "tune": rates})
    with pytest.raises(UserError, match="method supervised trains on the labels of train"):
        can_be_ranked(supervised, space.section(supervised), LABELLED)


def test_metrics_without_labels_are_warned_of():
    assert said() == []
    (line,) = said(BARE, metric="rankme")
    assert line.startswith("warning: without labels nothing holds rankme against a probe; rankme, lidar and alpha_req")
    (line,) = said(metric="rankme")
    assert "there are labels: knn_top1 is safer, and the report will hold rankme" in line
    (line,) = said(metric="loss")
    assert line.startswith("warning: the pretext loss cannot be compared across temperatures")


@pytest.mark.parametrize(("metric", "depends"), [("rankme", True), ("lidar", True), ("alignment_uniformity", False)])
def test_a_width_is_not_to_be_chosen_by_a_metric_that_grows_with_it(metric, depends):
    lines = said(metric=metric, space={"encoder.width": {"choice": [8, 16]}})
    assert any("depends on the width of the features" in line for line in lines) is depends
    whole = said(metric=metric, space={"encoder": {"choice": [{"name": "convnet"}, {"name": "resnet"}]}})
    assert any("depends on the width of the features" in line for line in whole) is depends
    assert not [line for line in said(metric=metric) if "width" in line]


def test_a_grid_that_is_cut_and_seeds_that_show_nothing_are_said():
    assert said(num_trials=3) == ["3 of 4 grid points, drawn at random (tune.num_trials)"]
    assert said(num_trials=3, searcher="random") == said(num_trials=4) == said(confirm={"seeds": 0}) == []
    (line,) = said(confirm={"seeds": 2})
    assert line.startswith("warning: tune.confirm.seeds 2: only a gain of more than 4.3 times the spread over seeds")
    assert said(confirm={"seeds": 1})[0].endswith("a single seed does not say how large the noise is; take 3 or more")


def test_the_number_of_trainings_is_said_with_the_confirmation():
    line = cost_before(space.section(tuned()), 4, 1200)
    assert line.startswith("up to 13 trainings of about 1,200 steps: 4 to search")
    assert "9 in full to confirm (the best 2 and the recipe's own, tune.confirm.seeds 3)" in line
    none = cost_before(space.section(tuned(confirm={"seeds": 0})), 4, 10)
    assert none.startswith("up to 4 trainings") and "none to confirm" in none


def test_resume_names_the_key_that_differs(tmp_path):
    config = tuned()
    folder = tmp_path / "tune" / "aa"
    folder.mkdir(parents=True)
    shared = Plan(recipe=space.tree(config), tune=space.section(config), shards=LABELLED)
    shared.keep(folder)
    assert plan.differs(config, tmp_path) == ""
    other = parse(TREE, {"tune": {**TUNE, "num_trials": 3, "metric": "rankme"}, "train.steps": 77})
    said = plan.differs(other, tmp_path)
    assert said.startswith(f"; {folder} is one with other train.") and "77 here)" in said
    assert "tune.metric (knn_top1 there, rankme here)" in said and "num_trials" not in said
    assert plan.differs(other.model_copy(update={"name": "another"}), tmp_path) == ""


def test_a_campaign_on_changed_data_is_not_resumed(tmp_path):
    write_tree(tmp_path / "photos", {"a/1.png": encoded(1), "b/2.png": encoded(2)})
    config = parse({**TREE, "source": {"name": "image_folder", "path": str(tmp_path / "photos")}}, {"tune": TUNE})
    root = tmp_path / "storage"

    def folder() -> Path:
        return plan.folder(config, INGEST.folder(config, Nothing(), root).name, root)

    before = folder()
    assert folder() == before
    before.mkdir(parents=True)
    Plan(recipe=space.tree(config), tune=space.section(config), shards=LABELLED).keep(before)
    write_tree(tmp_path / "photos", {"b/3.png": encoded(3)})
    assert folder() != before
    with pytest.raises(UserError, match="--resume: no stopped campaign of this recipe and space on these data"):
        flow.tune(config, root, resume=True)


def test_trials_are_looked_at_in_the_recipes_own_views():
    config = tuned(space={"views.global.crop_min": {"uniform": [0.1, 0.9]}}, searcher="random", metric="lidar")
    shared = Plan(recipe=space.tree(config), tune=space.section(config), shards=LABELLED)
    weak = shared.config({"views.global.crop_min": 0.9})
    assert weak.views["global"] != config.views["global"]
    assert looked_at(weak, shared) == config.views
    larger = shared.config({"views.global.size": 16, "views.eval.size": 16, "views.global.crop_min": 0.9})
    assert looked_at(larger, shared) == larger.views, "its encoder may read no other size"
