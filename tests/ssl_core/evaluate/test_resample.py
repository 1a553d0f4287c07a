"""Replicates of scores: the same as the closed form where there is one, and honest about the truth."""

import numpy as np
import pytest
import torch

from ssl_core.evaluate._maths.contingency import normalized_mutual_information
from ssl_core.evaluate._maths.per_class import class_intervals, macro_f1, per_class
from ssl_core.evaluate._maths.resample import replicates
from ssl_core.evaluate.base import Score, mean_score
from ssl_core.evaluate.calibration import Calibration
from ssl_core.evaluate.clustering import _agreement
from ssl_core.measures import statistics
from ssl_core.measures.statistics import bootstrap_mean, percentiles, resample_weights


def test_replicates_of_a_mean_give_the_interval_of_bootstrap_mean(monkeypatch: pytest.MonkeyPatch):
    hits = torch.arange(90) % 3 > 0
    monkeypatch.setattr(statistics, "_BLOCK", 1000)  # eleven resamples at a time
    draws = replicates({"top1": mean_score(hits)}, 90, seed=4, resamples=200)["top1"]
    interval = bootstrap_mean(hits.numpy(), 4, resamples=200)
    assert percentiles(draws.numpy()) == pytest.approx((interval.low, interval.high))


def test_weights_count_every_sample_of_a_resample_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch):
    whole = np.concatenate(list(resample_weights(40, 1, 25)))
    assert (whole.sum(axis=1) == 40).all()
    assert whole.min() == 0 and whole.max() > 1
    monkeypatch.setattr(statistics, "_BLOCK", 200)
    assert np.array_equal(np.concatenate(list(resample_weights(40, 1, 25))), whole)


def test_a_score_that_is_no_mean_sees_the_same_resamples():
    """An accuracy given as a function of weights has the replicates of the accuracy given as a mean, but centered."""
    hits = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0] * 8)
    other = Score(0.6, reweighted=lambda weight: float((weight * hits).sum() / weight.sum()))
    draws = replicates({"a": mean_score(hits), "b": other, "a_std": Score(0.1)}, 40, seed=0, resamples=64)
    assert set(draws) == {"a", "b"}
    assert float(draws["b"].mean()) == pytest.approx(0.6)
    assert torch.allclose(draws["a"] - draws["a"].mean(), draws["b"] - 0.6)


def test_a_share_of_train_is_resampled_over_train():
    train, test = torch.arange(90) % 3 > 0, torch.arange(40) % 4 > 0
    share = Score(2 / 3, reweighted=lambda weight: float(weight @ train.double()) / 90, over=90)
    draws = replicates({"top1": mean_score(test), "share": share}, 40, seed=4, resamples=200)
    interval = bootstrap_mean(train.numpy(), 4, resamples=200)
    centered = draws["share"] - 2 / 3 + np.mean([w @ train.numpy() / 90 for w in next(resample_weights(90, 4, 200))])
    assert percentiles(centered.numpy()) == pytest.approx((interval.low, interval.high))
    assert torch.equal(draws["top1"], replicates({"top1": mean_score(test)}, 40, seed=4, resamples=200)["top1"])


def test_the_interval_of_f1_holds_the_truth_as_often_as_it_says():
    """Simulated predictions: 70 % right, else uniform over four classes; the truth is the F1 of very many."""
    covered, truth = 0, _f1(400_000, 999)[0].value
    for seed in range(200):
        score, count = _f1(300, seed)
        low, high = percentiles(replicates({"f1": score}, count, seed, 200)["f1"].numpy())
        covered += low <= truth <= high
    assert 0.90 <= covered / 200 <= 0.99  # 0.95 nominal, give or take three standard errors of 0.015


def test_the_interval_of_a_score_that_resamples_inflate_holds_the_score():
    """Confidences that are right as often as they say, and clusters that know nothing of the labels."""
    missed = {"calibration_error": 0, "clustering_nmi": 0}
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        confidence = 0.5 + 0.5 * torch.rand(300, generator=generator)
        hits = torch.rand(300, generator=generator) < confidence
        cluster, label = (torch.randint(5, (300,), generator=generator) for _ in range(2))
        scores = {
            "calibration_error": Calibration(Calibration.Config())._error(confidence, hits),
            "clustering_nmi": _agreement(normalized_mutual_information, cluster, label),
        }
        for name, draws in replicates(scores, 300, seed, 200).items():
            low, high = percentiles(draws.numpy())
            assert 0 <= low < scores[name].value < high
            plain = [scores[name].reweighted(torch.from_numpy(w)) for w in next(resample_weights(300, seed, 200))]
            missed[name] += scores[name].value < percentiles(plain)[0]
    assert min(missed.values()) > 0, missed  # what the shift is for: 11 and 2 of 20 without it


def test_macro_f1_is_that_of_the_table_per_class():
    generator = torch.Generator().manual_seed(0)
    predicted, label = (torch.randint(5, (60,), generator=generator) for _ in range(2))
    label[label == 3] = 2  # a class without samples does not count
    table = per_class(predicted, label, 5)
    assert macro_f1(predicted, label) == pytest.approx(float(table.f1[table.support > 0].mean()))
    twice = torch.cat([predicted, predicted[:30]]), torch.cat([label, label[:30]])
    weight = torch.where(torch.arange(60) < 30, 2.0, 1.0).double()
    assert macro_f1(predicted, label, weight) == pytest.approx(macro_f1(*twice))


def test_the_intervals_of_each_class_hold_the_truth():
    """Recall is a mean over the samples of a class: its interval is that of `bootstrap_mean` up to their number."""
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(400) % 2
    predicted = torch.where(torch.rand(400, generator=generator) < 0.8, label, 1 - label)
    found = class_intervals(predicted, label, 3, seed=0, resamples=1000)  # nothing is of the third class, or called so
    table = per_class(predicted, label, 3)
    for name, ends in found.items():
        point = getattr(table, name)
        assert ends.shape == (3, 2) and ends[2].tolist() == [0, 0]
        assert (ends[:2, 0] < point[:2]).all() and (point[:2] < ends[:2, 1]).all()
    right = (predicted == label)[label == 0].double()
    low, high = bootstrap_mean(right.numpy(), 0, resamples=1000)[1:]
    assert found["recall"][0].tolist() == pytest.approx([low, high], abs=0.02)
    assert class_intervals(predicted, label, 3, seed=0, resamples=0) == {}


def _f1(count: int, seed: int) -> tuple[Score, int]:
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(4, (count,), generator=generator)
    wrong = torch.randint(4, (count,), generator=generator)
    predicted = torch.where(torch.rand(count, generator=generator) < 0.7, label, wrong)
    return Score(macro_f1(predicted, label), reweighted=lambda weight: macro_f1(predicted, label, weight)), count
