"""Versions held against each other by what `selfray evaluate --on DATA` found, where their own scores cannot be."""

import pytest

from pipelines.config.review import Gates, ReviewConfig
from pipelines.evaluate.scoring.scores import Pretraining
from pipelines.model import versions
from pipelines.registry.registry import Registry
from pipelines.registry.review import actions, files
from pipelines.tracking.server import storage
from tests.support.reviewed import HEADLINE, LEAKS, gate, recipe, register, results, score_again

pytestmark = pytest.mark.timeout(600)


def test_scores_by_other_protocols_are_compared_once_both_were_scored_anew(tmp_path):
    root, data = tmp_path, tmp_path / "made" / "old-0-40-" / "shards"  # where MLflow first saw these data
    register(root, recipe(root, "old"), 40, protocols={"knn": "knn v0: cosine, k=20"})
    register(root, recipe(root, "old", **{"optim.lr": 0.02}), 52, seed=1)
    server, name = Registry(storage(recipe(root, "old"), root)), f"max_regression.{HEADLINE}"
    server.client.set_registered_model_alias("old", "champion", "1")
    found = gate(actions.examine(server, versions.parse("old/2")), name)
    assert found.passed is False and "were scored by different protocols of knn" in found.why
    assert all(f"`selfray evaluate old/{version} --on {data} " in found.why for version in (1, 2))
    score_again(root, recipe(root, "old"), 1, data, 40)
    assert gate(
        actions.examine(server, versions.parse("old/2")), name
    ).passed  # the second's own protocol is the new one
    register(root, recipe(root, "old", **{"optim.lr": 0.03}), 52, seed=2, protocols={"knn": "knn v2: cosine, k=20"})
    assert gate(actions.examine(server, versions.parse("old/3")), name).passed is False
    score_again(root, recipe(root, "old"), 3, data, 50)
    found = gate(actions.examine(server, versions.parse("old/3")), name)
    assert found.passed and found.measured.startswith("+0.167 [") and "test samples of the evaluations by" in found.why


def test_without_labels_on_either_side_score_gates_do_not_apply(tmp_path):
    root = tmp_path
    for seed in (0, 1):
        register(root, recipe(root, "bare", **{"optim.lr": 0.01 + seed}), seed=seed, shards="bare", scored=False)
    server = Registry(storage(recipe(root, "bare"), root))
    server.client.set_registered_model_alias("bare", "champion", "1")
    case = actions.examine(server, versions.parse("bare/2"))
    assert results(case)["floors"] is None and results(case)["max_regression.headline"] is None
    assert results(case)["min_health.rankme"] is True and case.review.failed == ()
    assert "no labels, so not scored, rankme 7.5" in case.review.verdict
    page = files.write(case, tmp_path / "page").read_text()
    assert "The data have no labels" in page and "Health" in page
    assert "None among the stored" not in page and ">Nearest neighbors</h3>" in page
    wanted = ReviewConfig(gates=Gates(min_scores={HEADLINE: 0.5}))
    asked = actions.examine(server, versions.parse("bare/2"), wanted)
    found = gate(asked, f"min_scores.{HEADLINE}")
    assert found.passed is False and "`selfray evaluate bare/2 --on DATA`" in found.why
    score_again(root, recipe(root, "bare"), 2, tmp_path / "made" / "bare-0-45-bare" / "shards", 45)
    assert gate(actions.examine(server, versions.parse("bare/2"), wanted), f"min_scores.{HEADLINE}").passed


def test_a_version_without_labels_is_held_against_a_scored_champion(tmp_path):
    root, name = tmp_path, f"max_regression.{HEADLINE}"
    register(root, recipe(root, "half"), 50)
    register(root, recipe(root, "half", **{"optim.lr": 0.02}), seed=1, shards="bare", scored=False)
    server, labelled = Registry(storage(recipe(root, "half"), root)), root / "made" / "half-0-50-" / "shards"
    server.client.set_registered_model_alias("half", "champion", "1")
    case = actions.examine(server, versions.parse("half/2"))
    assert {"floors", "max_regression.headline"} <= set(case.review.failed)
    assert f"`selfray evaluate half/2 --on {labelled} --set " in gate(case, "max_regression.headline").why
    score_again(root, recipe(root, "half"), 2, labelled, 20, pretraining=Pretraining(leaks=LEAKS))
    case = actions.examine(server, versions.parse("half/2"))
    assert set(case.review.failed) == {"floors", name} and gate(case, name).measured.startswith("-0.500 [")
    assert f"{HEADLINE} 0.333 [0.233, 0.433] on other data, which have labels, -0.500 on half" in case.review.verdict
    page = files.write(case, root / "page").read_text()
    assert f"scored on {labelled} by run" in page and ">Lost to the champion" in page
    score_again(root, recipe(root, "half"), 2, labelled, 55)
    assert actions.examine(server, versions.parse("half/2")).review.failed == ()  # the newest counts, and is named
