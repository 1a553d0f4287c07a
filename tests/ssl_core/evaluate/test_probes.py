"""What each probe measures, against scikit-learn and small cases solved by hand."""

import gc
from collections.abc import Iterator
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.datasets import load_digits, make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from torch.nn.functional import cross_entropy, normalize

from ssl_core.catalog import find
from ssl_core.evaluate import knn
from ssl_core.evaluate._maths import linear, logistic
from ssl_core.evaluate._maths.features import place_in_class, standardized, stratified_slice
from ssl_core.evaluate.base import Labelled
from ssl_core.evaluate.few_label import FewLabel
from ssl_core.evaluate.knn import KNN, nearest
from ssl_core.evaluate.linear_probe import LinearProbe


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def split(x: np.ndarray, y: np.ndarray, num_train: int) -> tuple[Labelled, Labelled]:
    order = np.random.default_rng(0).permutation(len(x))
    features, label = torch.tensor(x[order], dtype=torch.float32), torch.tensor(y[order], dtype=torch.int64)
    return Labelled(features[:num_train], label[:num_train]), Labelled(features[num_train:], label[num_train:])


@pytest.fixture(scope="module")
def digits() -> tuple[Labelled, Labelled]:
    return split(*load_digits(return_X_y=True), num_train=1200)


@pytest.fixture(scope="module")
def synthetic() -> tuple[Labelled, Labelled]:
    x, y = make_classification(6000, 40, n_informative=15, n_redundant=15, n_classes=6, class_sep=2, random_state=0)
    return split(x, y, num_train=3000)


# --- logistic regression ---


def objective(classifier: logistic.Classifier, x: torch.Tensor, y: torch.Tensor, l2: list[float]) -> list[float]:
    """The objective of each strength, by the definition."""
    return [
        float(cross_entropy(x @ w + b, y) + strength / 2 * w.square().sum())
        for w, b, strength in zip(classifier.weight[0], classifier.bias[0], l2, strict=True)
    ]


@pytest.mark.parametrize("per_class", [40, 3])  # more samples than dimensions, and fewer
def test_solver_reaches_the_minimum_that_scikit_learn_finds(digits: tuple[Labelled, Labelled], per_class: int) -> None:
    some = place_in_class(digits[0].label, salt=0) < per_class
    x, y = digits[0].features[some] / 16, digits[0].label[some]
    l2 = [1.0, 1e-2, 1e-4]
    fit = logistic.fit_logistic(x[None], y[None], 10, l2, max_steps=2000, tolerance=1e-8)
    for got, strength in zip(objective(fit, x, y, l2), l2, strict=True):
        theirs = LogisticRegression(C=1 / (len(x) * strength), max_iter=5000, tol=1e-8).fit(x, y)
        weight, bias = torch.tensor(theirs.coef_.T).float(), torch.tensor(theirs.intercept_).float()
        best = objective(logistic.Classifier(weight[None, None], bias[None, None]), x, y, [strength])[0]
        assert got == pytest.approx(best, rel=1e-3)


def test_problems_solved_together_equal_problems_solved_alone() -> None:
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(3, 40, 6, generator=g), torch.randint(4, (3, 40), generator=g)
    together = logistic.fit_logistic(x, y, 4, [0.1, 0.01])
    for p in range(3):
        for s, strength in enumerate([0.1, 0.01]):
            alone = logistic.fit_logistic(x[p : p + 1], y[p : p + 1], 4, [strength])
            torch.testing.assert_close(together.weight[p, s], alone.weight[0, 0], atol=5e-3, rtol=0)


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 50, 6, generator=g), torch.randint(4, (2, 50), generator=g)
    whole = logistic.fit_logistic(x, y, 4, [0.1])
    score = logistic.accuracy(whole, x[0], y[0])
    monkeypatch.setattr(logistic, "_BLOCK", 70)  # a few rows at a time
    torch.testing.assert_close(logistic.fit_logistic(x, y, 4, [0.1]).weight, whole.weight, atol=1e-4, rtol=0)
    assert torch.equal(logistic.accuracy(whole, x[0], y[0]), score)


# --- linear probe ---


@pytest.mark.parametrize("data", ["digits", "synthetic"])
def test_linear_probe_is_as_good_as_scikit_learn_at_its_best_c(data: str, request: pytest.FixtureRequest) -> None:
    train, test = request.getfixturevalue(data)
    x, x_test = standardized(train.features, test.features)
    reference = max(
        LogisticRegression(C=c, max_iter=2000).fit(x, train.label).score(x_test, test.label)
        for c in (1e-3, 1e-2, 0.1, 1, 10)
    )
    assert LinearProbe(LinearProbe.Config())(train, test, seed=0)["linear_top1"] >= reference - 0.005


def test_linear_probe_ignores_the_scale_of_each_dimension(synthetic: tuple[Labelled, Labelled]) -> None:
    train, test = synthetic
    scale = torch.logspace(-3, 3, train.features.shape[1])
    scaled = [Labelled(s.features * scale + 5 * scale, s.label) for s in (train, test)]
    probe = LinearProbe(LinearProbe.Config(l2=(1e-2,)))
    assert probe(*scaled, seed=0)["linear_top1"] == pytest.approx(probe(train, test, seed=0)["linear_top1"], abs=0.002)


def test_linear_probe_chooses_the_strength_that_holds_out_best(digits: tuple[Labelled, Labelled]) -> None:
    strong, weak, either = (
        LinearProbe(LinearProbe.Config(l2=l2))(*digits, seed=0)["linear_top1"] for l2 in ((3.0,), (1e-3,), (3.0, 1e-3))
    )
    assert weak > strong + 0.03
    assert either == weak


def test_stratified_slice_follows_the_classes() -> None:
    label = torch.tensor([0] * 500 + [1] * 100 + [2] * 7)
    held = stratified_slice(label, every=10, salt=3)
    counts = torch.bincount(label[held], minlength=3)
    assert counts[0] == 50
    assert counts[1] == 10
    assert counts[2] in (0, 1)
    assert not torch.equal(held, stratified_slice(label, every=10, salt=4))
    assert stratified_slice(torch.tensor([0, 1]), every=10, salt=0).sum() == 1


# --- knn ---


@pytest.mark.parametrize("k", [1, 20, 200])
def test_knn_agrees_with_scikit_learn(digits: tuple[Labelled, Labelled], k: int) -> None:
    train, test = digits
    reference = KNeighborsClassifier(k, metric="cosine", algorithm="brute", weights=lambda d: np.exp(-d / 0.07))
    want = reference.fit(train.features, train.label).score(test.features, test.label)
    got = KNN(KNN.Config(k=(k,)))(train, test, seed=0)
    assert list(got) == [f"knn_top1_k{k}"]
    assert got[f"knn_top1_k{k}"] == pytest.approx(want, abs=2 / len(test.label))


def test_knn_with_fewer_train_samples_than_k_uses_all(digits: tuple[Labelled, Labelled]) -> None:
    train = Labelled(digits[0].features[:50], digits[0].label[:50])
    scores = KNN(KNN.Config(k=(50, 200)))(train, digits[1], seed=0)
    assert scores["knn_top1_k200"] == scores["knn_top1_k50"]


def test_near_votes_outweigh_many_far_ones() -> None:
    angle = torch.tensor([0.0, 0.9, 0.9, 0.9])
    train = Labelled(torch.stack([angle.cos(), angle.sin()], dim=1), torch.tensor([0, 1, 1, 1]))
    test = Labelled(torch.tensor([[2.0, 0.0]]), torch.tensor([0]))
    assert KNN(KNN.Config(k=(4,), temperature=0.07))(train, test, seed=0)["knn_top1_k4"] == 1.0
    assert KNN(KNN.Config(k=(4,), temperature=100.0))(train, test, seed=0)["knn_top1_k4"] == 0.0


def test_of_equal_neighbors_the_lower_row_comes_first() -> None:
    keys = normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat(40, 1))  # rows 0, 2, 4, ... are equal
    _, index = nearest(torch.tensor([[1.0, 0.0], [0.0, 3.0]]), keys, k=5)
    assert index.tolist() == [[0, 2, 4, 6, 8], [1, 3, 5, 7, 9]]


# --- few labels ---


def test_five_labels_per_class_on_raw_digits(digits: tuple[Labelled, Labelled]) -> None:
    scores = FewLabel(FewLabel.Config())(*digits, seed=0)
    assert 0.83 < scores["few_label_n5_top1"] < 0.88
    assert 0.005 < scores["few_label_n5_top1_std"] < 0.05
    assert scores["few_label_n1_top1"] < scores["few_label_n5_top1"] < scores["few_label_n10_top1"]
    assert scores["few_label_p1_top1"] < scores["few_label_p10_top1"]


def test_draws_differ_by_seed_and_one_draw_has_no_spread(digits: tuple[Labelled, Labelled]) -> None:
    probe = FewLabel(FewLabel.Config(per_class=(5,), percent=(), draws=1))
    first, second = probe(*digits, seed=0), probe(*digits, seed=1)
    assert set(first) == {"few_label_n5_top1"}
    assert first != second


def test_settings_the_data_cannot_supply_are_left_out() -> None:
    g = torch.Generator().manual_seed(0)
    label = torch.tensor([0] * 300 + [1] * 300 + [3] * 6)  # class 2 is missing: it is no obstacle
    data = Labelled(torch.randn(606, 4, generator=g), label)
    scores = FewLabel(FewLabel.Config(draws=2))(data, data, seed=0)
    settings = {name.split("_")[2] for name in scores}
    assert settings == {"n1", "n5", "p10"}  # 10 of class 3 are not there; 1 % of it is no sample


def test_place_in_class_numbers_each_class() -> None:
    label = torch.tensor([2, 0, 2, 2, 0, 5])
    place = place_in_class(label, salt=1)
    for c in (0, 2, 5):
        assert sorted(place[label == c].tolist()) == list(range(int((label == c).sum())))
    long = torch.zeros(100, dtype=torch.int64)
    assert not torch.equal(place_in_class(long, salt=1), place_in_class(long, salt=2))


@pytest.mark.parametrize(
    ("cls", "bad"),
    [(KNN, {"k": (0,)}), (KNN, {"temperature": 0}), (LinearProbe, {"l2": ()}), (LinearProbe, {"holdout_every": 1}),
     (FewLabel, {"percent": (120,)}), (FewLabel, {"draws": 0})],
)  # fmt: skip
def test_config_errors_name_the_key(cls: type, bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(bad))):
        cls.Config(**bad)  # type: ignore[attr-defined]


def test_what_probes_share_is_worked_out_once_and_forgotten_with_the_split(monkeypatch: pytest.MonkeyPatch):
    train, test = (Labelled(torch.randn(60, 5), torch.arange(60) % 3) for _ in range(2))
    fitted, searched = Mock(wraps=linear.fit_logistic), Mock(wraps=knn.nearest)
    monkeypatch.setattr(linear, "fit_logistic", fitted)
    monkeypatch.setattr(knn, "nearest", searched)
    for name in ("calibration", "linear_probe", "knn", "label_propagation"):
        component = find("ssl_core.evaluate", name)
        component(component.Config())(train, test, 0)
    assert (fitted.call_count, searched.call_count) == (1, 1)
    kept = len(linear._CHOSEN), len(knn._FOUND)
    del train, test
    fitted.reset_mock(), searched.reset_mock()  # they hold what they were called with
    gc.collect()
    assert (len(linear._CHOSEN), len(knn._FOUND)) == (kept[0] - 1, kept[1] - 1)
