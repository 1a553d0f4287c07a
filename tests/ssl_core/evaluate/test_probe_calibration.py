"""Calibration and per-class scores against naive loops and scikit-learn."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.optimize import minimize_scalar
from sklearn import metrics
from sklearn.datasets import make_classification
from torch.nn.functional import cross_entropy

from ssl_core.evaluate._maths import linear
from ssl_core.evaluate._maths.per_class import per_class
from ssl_core.evaluate.base import Labelled
from ssl_core.evaluate.calibration import Calibration, best_temperature, expected_calibration_error
from ssl_core.evaluate.knn import KNN
from ssl_core.evaluate.linear_probe import LinearProbe

Split = tuple[Labelled, Labelled]


@pytest.fixture(scope="module")
def hard() -> Split:
    """Few samples for many noisy dimensions: a probe that fits them is too sure of itself."""
    x, y = make_classification(
        3000, 100, n_informative=8, n_redundant=4, n_classes=4, class_sep=0.8, flip_y=0.2, random_state=0
    )
    features, label = torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.int64)
    return Labelled(features[:500], label[:500]), Labelled(features[500:], label[500:])


def test_calibration_error_is_the_loop_over_bins():
    g = torch.Generator().manual_seed(0)
    sure, hits = torch.rand(400, generator=g), torch.rand(400, generator=g) < 0.4
    sure[:3] = torch.tensor([0.0, 0.2, 1.0])
    want = 0.0
    for b in range(15):
        inside = (sure > b / 15) & (sure <= (b + 1) / 15) | ((sure == 0) if b == 0 else torch.zeros(400).bool())
        if inside.any():
            want += abs(float(sure[inside].double().mean() - hits[inside].double().mean())) * int(inside.sum()) / 400
    assert expected_calibration_error(sure, hits) == pytest.approx(want, abs=1e-7)
    assert expected_calibration_error(torch.ones(9), torch.zeros(9).bool()) == 1
    assert expected_calibration_error(torch.full((10,), 0.5), torch.arange(10) < 5) == pytest.approx(0, abs=1e-12)


def test_temperature_is_the_likeliest():
    g = torch.Generator().manual_seed(0)
    logits = 6 * torch.randn(300, 5, generator=g).double()
    label = torch.distributions.Categorical(logits=logits / 2.5).probs.multinomial(1, generator=g)[:, 0]
    want = minimize_scalar(lambda t: float(cross_entropy(logits / t, label)), bounds=(0.1, 10), method="bounded").x
    assert best_temperature(logits, label) == pytest.approx(want, rel=1e-3)
    assert 2 < want < 3.2


def test_temperature_of_logits_that_are_always_right_or_say_nothing_is_finite():
    label = torch.arange(30) % 3
    assert 1e-3 <= best_temperature(torch.eye(3)[label], label) < 0.05
    assert best_temperature(torch.zeros(30, 3), label) == pytest.approx(1e3, rel=0.01)


def test_temperature_repairs_a_classifier_that_is_too_sure(hard: Split):
    scores = Calibration(Calibration.Config(l2=(1e-5,)))(*hard, seed=0)
    assert scores["calibration_raw_error"] > 0.1
    assert scores["calibration_error"] < scores["calibration_raw_error"] / 2
    assert 0.35 < scores["calibration_top1"] < 0.7


def test_predictions_are_the_likeliest_class_and_its_probability(monkeypatch: pytest.MonkeyPatch):
    g = torch.Generator().manual_seed(0)
    x, weight, bias = torch.randn(20, 3, generator=g), torch.randn(3, 4, generator=g), torch.randn(4, generator=g)
    want = (x @ weight + bias).softmax(dim=1)
    for block in (1 << 24, 10):  # all rows at once, two at a time
        monkeypatch.setattr(linear, "_BLOCK", block)
        found = linear.predict(x, weight, bias)
        assert torch.equal(found.label, want.argmax(dim=1))
        torch.testing.assert_close(found.confidence, want.amax(dim=1))


@pytest.mark.parametrize("bad", [{"bins": 0}, {"l2": ()}, {"holdout_every": 1}])
def test_config_errors_name_the_key(bad: dict[str, object]):
    with pytest.raises(ValidationError, match=next(iter(bad))):
        Calibration.Config(**bad)


def test_no_samples_to_calibrate_is_an_error():
    with pytest.raises(ValueError, match="confidences and hits"):
        expected_calibration_error(torch.zeros(0), torch.zeros(0).bool())


# --- per class ---


def test_per_class_scores_are_scikit_learns():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 4, 300)
    predicted = np.where(rng.random(300) < 0.6, label, rng.integers(0, 3, 300))  # class 3 is never a wrong guess
    found = per_class(torch.tensor(predicted), torch.tensor(label), num_classes=5)  # class 4 has no samples
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        label, predicted, labels=range(5), zero_division=0
    )
    assert np.array_equal(found.confusion.numpy(), metrics.confusion_matrix(label, predicted, labels=range(5)))
    assert np.allclose(found.precision, precision) and np.allclose(found.recall, recall)
    assert np.allclose(found.f1, f1) and np.array_equal(found.support, support)
    assert found.accuracy == metrics.accuracy_score(label, predicted)


@pytest.mark.parametrize("name", ["knn", "linear"])
def test_predictions_are_those_that_were_scored(name: str, hard: Split):
    probe = KNN(KNN.Config()) if name == "knn" else LinearProbe(LinearProbe.Config())
    predicted = probe.predict(*hard, seed=0)
    assert predicted.dtype == torch.int64
    scores = probe(*hard, seed=0)
    found = per_class(predicted, hard[1].label, num_classes=4)
    assert found.accuracy == scores["knn_top1_k200" if name == "knn" else "linear_top1"]


def test_predictions_that_cannot_be_compared():
    with pytest.raises(ValueError, match="one length"):
        per_class(torch.zeros(3).long(), torch.zeros(4).long(), 2)
    with pytest.raises(ValueError, match="one length"):
        per_class(torch.zeros(0).long(), torch.zeros(0).long(), 2)
    with pytest.raises(ValueError, match=r"predictions must be 0..1; they span -1 to 0"):
        per_class(torch.tensor([0, -1]), torch.tensor([0, 1]), 2)
