"""The report says what the scores say, also when they are bad; the pictures are pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from rich.console import Console
from sklearn.datasets import load_digits

from pipelines.config.parse import parse
from pipelines.evaluate.report import diagnostics, gallery, plots
from pipelines.evaluate.report.text import (
    ClassScores,
    LeakPair,
    Leaks,
    Scores,
    json_text,
    markdown,
    rich_table,
    rows,
    verdict,
)
from pipelines.evaluate.tasks._robustness_table import Robustness
from pipelines.registry.page import tables
from pipelines.storage import checkpoint
from pipelines.train.artifact import Checkpoint
from ssl_core.build import build_method
from ssl_core.optimize.optimizers import build_optimizer
from tests.support.recipe import TREE

GOOD = Scores(
    encoder={"knn_top1_k200": 0.62, "linear_top1": 0.7, "few_label_n5_top1": 0.5, "few_label_n5_top1_std": 0.04},
    random_init={"knn_top1_k200": 0.3, "linear_top1": 0.72, "few_label_n5_top1": 0.3, "few_label_n5_top1_std": 0.02},
    raw_input={"knn_top1_k200": 0.41, "linear_top1": 0.4, "few_label_n5_top1": 0.48, "few_label_n5_top1_std": 0.03},
    health={"rankme": 37.25},
    protocols={"knn": "knn v1: cosine, k = 200"},
    num_train=1000,
    num_test=500,
    seed=7,
)


def test_verdict_counts_only_gains_larger_than_the_spread() -> None:
    # kNN wins, linear loses to the random-init encoder, few_label's gain of 0.02 is less than its spread of 0.04
    assert verdict(GOOD) == "beats both floors on 1/3 | knn_top1_k200 0.620 (+0.210 over the better floor)"


def test_verdict_is_honest_about_an_encoder_below_its_floors() -> None:
    bad = GOOD.model_copy(update={"encoder": {"linear_top1": 0.5, "knn_top1_k200": 0.3}, "headline": "knn_top1_k200"})
    assert verdict(bad) == "does NOT beat both floors on any of 2 | knn_top1_k200 0.300 (-0.110 over the better floor)"


def test_verdict_with_one_floor_or_none() -> None:
    one = Scores(encoder={"linear_top1": 0.5}, random_init={"linear_top1": 0.25})
    assert verdict(one) == "beats its only floor on 1/1 | linear_top1 0.500 (+0.250 over its only floor)"
    assert verdict(Scores(encoder={"linear_top1": 0.5})) == "no floor was measured | linear_top1 0.500"


def test_a_tie_is_no_gain() -> None:
    same, less = {"linear_top1": 0.5}, {"linear_top1": 0.1}
    assert "does NOT beat" in verdict(Scores(encoder=same, random_init=same, raw_input=less))


def test_intervals_decide_where_there_are_some() -> None:
    gains = {"knn_top1_k200": (-0.01, 0.4), "linear_top1": (-0.1, 0.06), "few_label_n5_top1": (0.001, 0.04)}
    judged = GOOD.model_copy(update={"intervals": {"knn_top1_k200": (0.58, 0.66)}, "gains": gains})
    assert [row.beats_floors for row in rows(judged)] == [False, False, True]  # whatever the spread over draws
    assert verdict(judged).startswith("beats both floors on 1/3")
    lines = markdown(judged).splitlines()
    assert "| `knn_top1_k200` | 0.620 [0.580, 0.660] | 0.300 | 0.410 | +0.210 [-0.010, +0.400] |" in lines
    few = "0.500 \u00b1 0.040 | 0.300 \u00b1 0.020 | 0.480 \u00b1 0.030 | **+0.020** [+0.001, +0.040] |"
    assert f"| `few_label_n5_top1` | {few}" in lines
    assert "bootstrap interval" in markdown(judged) and "within the spread" not in markdown(judged)


def test_an_error_gains_by_falling_and_coverage_is_not_compared() -> None:
    sides = {"calibration_error": 0.02, "pseudo_label_t90_coverage": 0.9}
    floors = {"calibration_error": 0.05, "pseudo_label_t90_coverage": 0.1}
    table = {row.name: row for row in rows(Scores(encoder=sides, random_init=floors, raw_input=floors))}
    assert table["calibration_error"].gain == pytest.approx(0.03)
    assert table["calibration_error"].beats_floors
    assert table["pseudo_label_t90_coverage"].gain is None


def test_leaks_are_in_the_verdict_and_named() -> None:
    pair = LeakPair(train=3, test=7, kind="phash", distance=4, train_origin="a|b`c.png", test_origin="t.png")
    leaks = Leaks(num_exact=1, num_near=2, num_checked=200, rate=0.015, pairs=(pair,))
    judged = GOOD.model_copy(update={"leaks": leaks})
    assert verdict(judged).endswith("(+0.210 over the better floor) | 1.5 % of test is in train, or nearly")
    text = markdown(judged)
    assert "**1 exact and 2 near copies** among 200 test samples (1.50%)" in text
    assert "| 7 `t.png` | 3 `a/b c.png` | phash | 4 |" in text.splitlines()
    none = leaks.model_copy(update={"num_exact": 0, "num_near": 0, "rate": 0.0, "pairs": ()})
    assert "None of 200 test samples" in markdown(GOOD.model_copy(update={"leaks": none}))
    assert "in train, or nearly" not in verdict(GOOD.model_copy(update={"leaks": none}))


def test_of_many_classes_the_worst_are_listed() -> None:
    classes = [ClassScores(name=f"c{i}", support=2, precision=0.5, recall=0.5, f1=1 - i / 100) for i in range(40)]
    text = markdown(GOOD.model_copy(update={"per_class": tuple(classes), "predicted_by": "linear_top1"}))
    assert "The 30 classes with the lowest F1 of 40." in text
    assert "| `c39` | 2 | 0.500 | 0.500 | 0.610 |" in text and "`c5`" not in text


def test_rows_pair_scores_with_their_spread_and_better_floor() -> None:
    table = {row.name: row for row in rows(GOOD)}
    assert list(table) == ["knn_top1_k200", "linear_top1", "few_label_n5_top1"]
    assert table["linear_top1"].gain == pytest.approx(-0.02)
    assert table["few_label_n5_top1"].noise == 0.04
    assert [row.beats_floors for row in table.values()] == [True, False, False]


def test_markdown_holds_table_health_protocols_and_figures() -> None:
    text = markdown(GOOD, title="SimCLR on digits", figures={"Embedding map": "map.png"})
    lines = text.splitlines()
    assert lines[0] == "# SimCLR on digits"
    assert f"**{verdict(GOOD)}**" in lines
    assert "| `knn_top1_k200` | 0.620 | 0.300 | 0.410 | **+0.210** |" in lines
    assert "| `linear_top1` | 0.700 | 0.720 | 0.400 | -0.020 |" in lines
    few = "0.500 \u00b1 0.040 | 0.300 \u00b1 0.020 | 0.480 \u00b1 0.030 | +0.020 (within the spread) |"
    assert f"| `few_label_n5_top1` | {few}" in lines
    assert "| `rankme` | effective rank (RankMe), up to the width | 37.25 |" in lines
    assert "- knn v1: cosine, k = 200" in lines
    assert "![Embedding map](map.png)" in lines
    assert "1000 train samples, 500 test samples, seed 7." in text
    widths = {line.count("|") for line in lines if line.startswith("| `") and "rankme" not in line}
    assert widths == {6}


def test_markdown_without_floors_leaves_cells_open() -> None:
    assert "| `a` | 0.500 | - | - | - |" in markdown(Scores(encoder={"a": 0.5})).splitlines()


def test_json_reads_back() -> None:
    content = json.loads(json_text(GOOD))
    assert Scores.model_validate(content["scores"]) == GOOD
    assert content["gains"]["knn_top1_k200"] == pytest.approx(0.21)
    assert content["verdict"] == verdict(GOOD)


def test_terminal_table_shows_every_score() -> None:
    console = Console(width=140)
    with console.capture() as capture:
        console.print(rich_table(GOOD, title="digits"))
    shown = capture.get()
    for expected in ("digits", "knn_top1_k200", "0.620", "+0.210", "0.500 \u00b1 0.040", "within the spread"):
        assert expected in shown


def test_terminal_table_with_intervals_fits_80_columns() -> None:
    name = "pseudo_label_t90_precision"  # the longest there is
    sides = {"encoder": {name: 0.5}, "random_init": {name: 0.25}, "raw_input": {name: 0.125}}
    console = Console(width=80)
    with console.capture() as capture:
        console.print(rich_table(Scores.model_validate({**sides, "intervals": {name: (0.4375, 0.5625)}})))
    shown = capture.get().splitlines()
    assert any(name in line and "0.500 [0.438, 0.562]" in line and "0.250" in line for line in shown)
    assert max(map(len, shown)) <= 80


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"encoder": {"a": float("nan")}}, "encoder.a"),
        ({"encoder": {"a": 0.5}, "headline": "b"}, "headline: there is no score 'b'; choose one of a"),
        ({"encoder": {"a": 0.5}, "num_test": 0}, "num_test"),
    ],
)
def test_scores_that_make_no_sense_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Scores.model_validate(fields)


# --- pictures ---

DIGITS = load_digits()
IMAGES = np.repeat((DIGITS.images / 16 * 255).astype(np.uint8)[..., None], 3, axis=3)  # [N, 8, 8, 3]
LABEL = DIGITS.target.astype(np.int64)


def colors(path: Path) -> set[tuple[int, int, int]]:
    """Every color of a picture that opens as PNG."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert min(image.size) > 200
        return set(map(tuple, np.asarray(image.convert("RGB")).reshape(-1, 3).tolist()))


def rgb(code: str) -> tuple[int, int, int]:
    return int(code[1:3], 16), int(code[3:5], 16), int(code[5:7], 16)


def test_curves(tmp_path: Path) -> None:
    plots.curves({"loss": [(0, 2.0), (10, 1.0)], "rankme": [(0, 5.0)], "empty": []}, tmp_path / "a" / "curves.png")
    assert rgb("#332288") in colors(tmp_path / "a" / "curves.png")
    with pytest.raises(ValueError, match="no curve to draw"):
        plots.curves({"loss": []}, tmp_path / "none.png")


def test_embedding_map_is_the_same_twice_and_differs_by_seed(tmp_path: Path) -> None:
    features = DIGITS.data[:150].astype(np.float32)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        plots.embedding_map(features, LABEL[:150], tmp_path / f"{name}.png", seed=seed, limit=60)
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b
    assert a != c


@pytest.mark.parametrize("features", [np.ones((40, 4)), np.eye(3), np.ones((1, 5)), np.arange(12.0).reshape(12, 1)])
def test_embedding_map_of_collapsed_or_tiny_data(features: np.ndarray, tmp_path: Path) -> None:
    plots.embedding_map(features.astype(np.float32), None, tmp_path / "map.png")
    assert len(colors(tmp_path / "map.png")) > 1


def test_embedding_map_of_many_classes_greys_the_rare(tmp_path: Path) -> None:
    label = np.arange(9, dtype=np.int64) + 4
    features = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    plots.embedding_map(features, label, tmp_path / "few.png", class_names=[f"c{i}" for i in range(13)])
    many = np.random.default_rng(0).normal(size=(80, 4)).astype(np.float32)
    plots.embedding_map(many, np.arange(80, dtype=np.int64) % 13, tmp_path / "many.png")
    assert len(colors(tmp_path / "few.png")) > 10
    assert len(colors(tmp_path / "many.png")) > 10


def test_gallery_frames_right_and_wrong_neighbors(tmp_path: Path) -> None:
    queries = np.array([0, 1])
    right = np.array([np.flatnonzero(same == LABEL)[1:4] for same in LABEL[queries]])
    wrong = np.array([np.flatnonzero(same != LABEL)[:3] for same in LABEL[queries]])
    green, red = rgb("#009E73"), rgb("#D55E00")
    for name, neighbors, label in (("right", right, LABEL), ("wrong", wrong, LABEL), ("unlabeled", wrong, None)):
        plots.gallery(IMAGES, queries, neighbors, label, tmp_path / f"{name}.png")
    found = {name: colors(tmp_path / f"{name}.png") & {green, red} for name in ("right", "wrong", "unlabeled")}
    assert found == {"right": {green}, "wrong": {red}, "unlabeled": set()}


def test_collapse_and_confusion(tmp_path: Path) -> None:
    features = torch.from_numpy(DIGITS.data[:200].astype(np.float32))
    features[3] *= 9  # an outlier
    diagnostics.collapse({"encoder": features, "random_init": features[:, :9]}, tmp_path / "collapse.png")
    assert {rgb("#332288"), rgb("#CC6677")} <= colors(tmp_path / "collapse.png")
    for count in (20, 1):
        diagnostics.collapse({"encoder": torch.ones(count, 4)}, tmp_path / "collapsed.png")
        assert len(colors(tmp_path / "collapsed.png")) > 1
    for size in (3, 40):
        diagnostics.confusion(np.eye(size, dtype=np.int64), [f"c{i}" for i in range(size)], tmp_path / "c.png", "c")
        assert len(colors(tmp_path / "c.png")) > 2


def test_reconstructions_show_all_three_rows(tmp_path: Path) -> None:
    shown, made, original = (
        np.full((4, 8, 8, 3), value, np.uint8) for value in ([200, 0, 0], [0, 200, 0], [0, 0, 200])
    )
    plots.reconstructions(shown, made, original, tmp_path / "rec.png")
    assert {(200, 0, 0), (0, 200, 0), (0, 0, 200)} <= colors(tmp_path / "rec.png")


@pytest.mark.parametrize(
    ("method", "figures"),
    [
        ({"name": "simclr"}, set()),
        ({"name": "vae", "latent_dim": 4, "decoder_width": 4}, {"reconstructions.png", "generated.png"}),
        ({"name": "gan", "latent_dim": 4, "generator_width": 4}, {"generated.png"}),
    ],
)
def test_a_method_that_paints_shows_it(tmp_path: Path, method: dict[str, object], figures: set[str]) -> None:
    config = parse(TREE, {"method": method})
    built = build_method(config.method, config.encoder, config.views)
    path = checkpoint.save(tmp_path / "checkpoints", 1, built, build_optimizer(config.optim, built, 0.1), {})
    given = Checkpoint.model_construct(folder=path)
    views = np.zeros((2, 8, 8, 3), np.uint8)
    assert set(gallery._of_method(config, given, views, np.arange(2), tmp_path).values()) == figures
    assert {file.name for file in tmp_path.glob("*.png")} == figures
    if "generated.png" in figures:
        assert len(colors(tmp_path / "generated.png")) > 10


def test_without_labels_the_report_says_so_and_keeps_the_health():
    scores = Scores(health={"rankme": 12.3})
    assert verdict(scores) == "no labels, so not scored | rankme 12.3"
    text = markdown(scores)
    assert "not scored" in text and "`rankme`" in text and "random-init" not in text


def test_means_over_other_corruptions_are_no_comparison() -> None:
    both = Robustness(severities=(1, 5), clean=0.8, top1={"snow": (0.7, 0.5), "fog": (0.6, 0.4)}, num_test=100)
    fewer = both.model_copy(update={"top1": {"snow": (0.7, 0.5)}})
    here, same, other = (GOOD.model_copy(update={"robustness": each}) for each in (both, both, fewer))
    assert {row[2] for row in tables.robustness(here, other).cells} == {"-"}
    assert [row[1] for row in tables.robustness(here, same).cells] == [
        row[2] for row in tables.robustness(here, same).cells
    ]
