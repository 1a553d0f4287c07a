"""The league's table and picture, from rows as it keeps them."""

from pathlib import Path
from typing import Any

from tests.benchmarks import league, league_page, tables

FOUND = {"knn_top1_k200": 0.5, "linear_top1": 0.6}


def row(method: str, **changes: Any) -> dict[str, Any]:
    floors = {name: value / 2 for name, value in FOUND.items()}
    kept = {
        "method": method, "seed": 0, "minutes": 10.0, "encoder": "resnet 16", "batch": 256, "steps": 1000,
        "epochs": 8.5, "samples_per_s": 420.0, "worker_mb": 900, "train_seconds": 600, "num_test": 5000,
        "scores": FOUND, "random_init": floors, "raw_input": floors, "rankme": 30.0, "robustness": None,
        "intervals": {"linear_top1": (0.58, 0.62)}, "gains": {"knn_top1_k200": (0.1, 0.2)},
    }  # fmt: skip
    return kept | changes


def test_methods_stand_best_first_above_the_floors_of_their_encoders() -> None:
    better, lost = row("better", scores={"knn_top1_k200": 0.7}), row("lost", gains={"knn_top1_k200": (-0.1, 0.2)})
    found = league_page.table([lost, better])
    assert [each["method"] for each in found] == ["better", "lost", "random init, resnet 16", "raw input"]
    assert found[1]["linear"] == "0.600 [0.580, 0.620]" and found[1]["beats both floors"] == "not on kNN k=200"
    assert found[0]["linear"] == "-" and found[2]["linear"] == "0.3" and found[2]["samples/s"] == "-"
    assert len({tuple(each) for each in found}) == 1 and tables.markdown(found).count("\n") == len(found) + 1


def test_the_picture_names_every_method(tmp_path: Path) -> None:
    league_page.draw([row("one"), row("other", encoder="vit 128", samples_per_s=300.0)], tmp_path / "league.svg")
    assert (tmp_path / "league.svg").read_text().startswith("<?xml")


def test_a_recipe_is_scored_at_the_layer_that_it_names() -> None:
    rotation, simclr = (league._config(method, {}, quick=True) for method in ("rotation", "simclr"))
    assert (rotation.evaluate.layers, simclr.evaluate.layers) == ((2,), ())
    assert [probe.name for probe in rotation.evaluate.probes] == ["knn", "linear_probe", "few_label", "retrieval"]
    assert league_page.sized(rotation.encoder, rotation.evaluate.layers) == "resnet 16, layer 2"


def test_every_recipe_of_a_method_takes_part_and_every_goal_has_a_recipe_or_no_method() -> None:
    known = league.recipes()
    assert {"simclr", "byol", "mae", "supervised"} <= set(known) and "simclr_gpu" not in known
    goals = {each["goal"].removeprefix("league: ").split(",")[0]: each["met"] for each in league._goals({})}
    assert goals.keys() == league_page.GOALS.keys() and set(goals.values()) == {None}, "nothing is met that was not run"
