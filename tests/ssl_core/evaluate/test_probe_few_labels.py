"""Label propagation and pseudo-labels against dense algebra, scikit-learn and loops."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.semi_supervised import LabelSpreading
from torch.nn.functional import normalize, one_hot

from ssl_core.evaluate._maths import graph as _graph
from ssl_core.evaluate._maths.features import centered_unit, place_in_class
from ssl_core.evaluate._maths.graph import Links, neighbor_graph, spread, weighted
from ssl_core.evaluate.base import Labelled
from ssl_core.evaluate.few_label import FewLabel
from ssl_core.evaluate.knn import nearest
from ssl_core.evaluate.label_propagation import LabelPropagation
from ssl_core.evaluate.pseudo_label import PseudoLabel
from ssl_core.noise import salt

Split = tuple[Labelled, Labelled]


@pytest.fixture(scope="module")
def digits() -> Split:
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    features, label = torch.tensor(x[order], dtype=torch.float32), torch.tensor(y[order], dtype=torch.int64)
    return Labelled(features[:1200], label[:1200]), Labelled(features[1200:], label[1200:])


def cloud(rows: int, width: int = 4, seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def dense(unit: torch.Tensor, k: int, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """W and its degrees, entry by entry."""
    weight = torch.zeros(len(unit), len(unit), dtype=torch.float64)
    for i, row in enumerate(unit):
        similarity = unit @ row
        similarity[i] = -torch.inf
        for j in similarity.argsort(descending=True)[:k].tolist():
            weight[i, j] = np.exp((float(similarity[j]) - 1) / temperature)
    weight = (weight + weight.mT) / 2
    return weight, weight.sum(dim=1)


@pytest.mark.parametrize("tile", [4096, 7])
def test_graph_is_the_dense_one(tile: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_graph, "_TILE", tile)
    unit = cloud(40)
    weight, degree = dense(unit, 5, 0.3)
    graph = neighbor_graph(unit, 5, 0.3)
    torch.testing.assert_close(graph.scale.double() ** -2, degree, rtol=1e-4, atol=1e-6)
    got = _graph._times(graph, torch.eye(40)).double()
    torch.testing.assert_close(got, weight / (degree[:, None] * degree).sqrt(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("tile", [4096, 7])
def test_of_equal_neighbors_those_of_lower_rows_are_taken_whatever_the_tiles(
    tile: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(_graph, "_TILE", tile)
    unit = torch.eye(3).repeat_interleave(6, dim=0)  # every row has five equals
    value, index = _graph._nearest_each(unit, 4)
    assert index.tolist() == [[6 * (row // 6) + i for i in range(4)] for row in range(18)]
    assert bool((value == 1).all())


def test_spreading_solves_the_papers_equation_also_for_a_sample_outside(monkeypatch: pytest.MonkeyPatch):
    unit, outside = cloud(40), cloud(7, seed=1)
    weight, degree = dense(unit, 5, 0.3)
    seeds = torch.zeros(40, 3)
    seeds[torch.arange(6), torch.arange(6) % 3] = 1
    system = torch.eye(40, dtype=torch.float64) - 0.9 * weight / (degree[:, None] * degree).sqrt()
    inside = torch.linalg.solve(system, 0.1 * seeds.double())
    similarity = outside @ unit.mT
    near = similarity.topk(5, dim=1)
    outward = torch.zeros(7, 40, dtype=torch.float64)
    outward.scatter_(1, near.indices, ((near.values - 1) / 0.3).exp().double())
    want = outward / degree.sqrt() @ inside
    graph, links = neighbor_graph(unit, 5, 0.3), weighted(*nearest(3 * outside, unit, 5), 0.3)
    for block in (1 << 24, 80):  # all columns at once, two at a time
        monkeypatch.setattr(_graph, "_BLOCK", block)
        got = spread(graph, links, seeds, 0.9, tolerance=1e-6).double()
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-7)


def test_the_default_tolerance_is_enough_for_the_same_answer(digits: Split):
    unit = normalize(digits[0].features, dim=1)
    graph, links = neighbor_graph(unit, 15, 0.07), weighted(*nearest(digits[1].features, unit, 15), 0.07)
    seeds = (place_in_class(digits[0].label, salt(0)) < 5)[:, None] * one_hot(digits[0].label, 10).float()
    rough, fine = (spread(graph, links, seeds, 0.99, tolerance=t, max_steps=500).argmax(dim=1) for t in (1e-3, 1e-6))
    assert float((rough == fine).float().mean()) > 0.995


def test_label_propagation_is_as_good_as_scikit_learns(digits: Split):
    train, test = digits
    unit = normalize(torch.cat([train.features, test.features]), dim=1)
    reference = []
    for draw in range(3):
        labelled = place_in_class(train.label, salt(0, draw)) < 5
        target = torch.cat([torch.where(labelled, train.label, -1), torch.full_like(test.label, -1)])
        model = LabelSpreading(kernel="knn", n_neighbors=15, alpha=0.99, max_iter=200).fit(unit, target)
        reference.append(float((model.transduction_[len(train.label) :] == test.label.numpy()).mean()))
    scores = LabelPropagation(LabelPropagation.Config(per_class=(5,), draws=3))(train, test, seed=0)
    assert scores["label_propagation_n5_top1"] > np.mean(reference) - 0.02


def test_the_graph_adds_to_few_labels(digits: Split):
    graph = LabelPropagation(LabelPropagation.Config())(*digits, seed=0)
    alone = FewLabel(FewLabel.Config())(*digits, seed=0)
    for n in (1, 5):
        assert graph[f"label_propagation_n{n}_top1"] > alone[f"few_label_n{n}_top1"] + 0.03
    assert graph["label_propagation_n1_top1_std"] > 0


def test_a_sample_that_no_label_reaches_is_wrong():
    """Two islands; the labels of class 0 and 1 lie on the first."""
    graph = neighbor_graph(torch.eye(2).repeat_interleave(4, dim=0), 3, 0.07)
    seeds = torch.zeros(8, 2)
    seeds[0, 0] = seeds[1, 1] = 1
    links = Links(torch.tensor([[0, 1], [4, 5]]), torch.ones(2, 2))
    reached = spread(graph, links, seeds, 0.9)
    assert (reached[0] > 0).all()
    assert reached[1].tolist() == [0, 0]


def test_settings_the_data_cannot_supply_are_left_out():
    label = torch.tensor([0] * 40 + [1] * 7)
    data = Labelled(cloud(47), label)
    scores = LabelPropagation(LabelPropagation.Config(draws=1))(data, data, seed=0)
    names = {f"label_propagation_n{n}_{score}" for n in (1, 5) for score in ("top1", "coverage")}
    assert set(scores) == names


def test_coverage_is_the_share_that_a_label_reaches():
    """Two islands of one class each; with a label per class both are reached, of a third without labels none."""
    islands = torch.eye(3).repeat_interleave(8, dim=0)
    train = Labelled(islands[:16], torch.arange(16) // 8)
    scores = LabelPropagation(LabelPropagation.Config(per_class=(1,), draws=2, neighbors=3, temperature=0.001))(
        train, Labelled(islands, torch.tensor([0] * 8 + [1] * 8 + [0] * 8)), seed=0
    )
    assert scores["label_propagation_n1_coverage"] == pytest.approx(2 / 3)
    assert scores["label_propagation_n1_top1"] == pytest.approx(2 / 3)


def test_pseudo_labels_are_the_loop_with_scikit_learn(digits: Split):
    train, test = digits
    x, x_test = (part.numpy() for part in centered_unit(train.features, test.features))
    y = train.label.numpy()
    labelled = (place_in_class(train.label, salt(3, 0)) < 5).numpy()
    first = LogisticRegression(C=100, max_iter=5000, tol=1e-6).fit(x[labelled], y[labelled])
    sure = first.predict_proba(x).max(axis=1) >= 0.7
    added = sure & ~labelled
    target = np.where(labelled, y, first.predict(x))
    again = LogisticRegression(C=100, max_iter=5000, tol=1e-6).fit(x[labelled | added], target[labelled | added])
    scores = PseudoLabel(PseudoLabel.Config(confidence=(0.7,), draws=1))(train, test, seed=3)
    assert scores["pseudo_label_start_top1"] == pytest.approx(first.score(x_test, test.label), abs=0.006)
    assert scores["pseudo_label_t70_top1"] == pytest.approx(again.score(x_test, test.label), abs=0.01)
    assert scores["pseudo_label_t70_coverage"] == pytest.approx(added.sum() / (~labelled).sum(), abs=0.02)
    assert scores["pseudo_label_t70_precision"] == pytest.approx((target == y)[added].mean(), abs=0.01)


def test_more_confidence_covers_less_and_is_right_more_often(digits: Split):
    scores = PseudoLabel(PseudoLabel.Config())(*digits, seed=0)
    coverage, precision = (
        [scores[f"pseudo_label_t{t}_{kind}"] for t in (50, 70, 90)] for kind in ("coverage", "precision")
    )
    assert coverage == sorted(coverage, reverse=True)
    assert precision == sorted(precision)
    assert scores["pseudo_label_t70_top1"] > scores["pseudo_label_start_top1"] + 0.01


def test_a_threshold_that_nothing_passes_changes_nothing(digits: Split):
    scores = PseudoLabel(PseudoLabel.Config(confidence=(0.9999,), inverse_l2=0.1, draws=1))(*digits, seed=0)
    assert scores["pseudo_label_t99.99_coverage"] == 0
    assert scores["pseudo_label_t99.99_top1"] == scores["pseudo_label_start_top1"]
    assert "pseudo_label_t99.99_precision" not in scores


@pytest.mark.parametrize(
    ("cls", "bad"),
    [(LabelPropagation, {"alpha": 1.0}), (LabelPropagation, {"per_class": ()}), (LabelPropagation, {"neighbors": 0}),
     (PseudoLabel, {"confidence": (1.0,)}), (PseudoLabel, {"per_class": 0}), (PseudoLabel, {"draws": 0})],
)  # fmt: skip
def test_config_errors_name_the_key(cls: type, bad: dict[str, object]):
    with pytest.raises(ValidationError, match=next(iter(bad))):
        cls.Config(**bad)  # type: ignore[attr-defined]
