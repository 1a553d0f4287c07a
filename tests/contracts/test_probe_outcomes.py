"""Every probe hands over how its scores come about, held to what base.Score promises. Nothing here names a probe."""

import pytest
import torch

from ssl_core import catalog
from ssl_core.evaluate._maths.resample import replicates
from ssl_core.evaluate.base import Labelled, Probe, Score
from ssl_core.measures.statistics import percentiles, resample_weights
from tests.contracts.test_probes import PROBES, clusters, noise

TRAIN, TEST = clusters(20, seed=0), noise(clusters(25, seed=1), 3)  # neither perfect nor hopeless
TEST = Labelled(clusters(25, seed=1).features + 1.2 * TEST.features, TEST.label)


@pytest.fixture(scope="module", params=PROBES)
def measured(request: pytest.FixtureRequest) -> tuple[Probe, dict[str, Score]]:
    component = catalog.find("ssl_core.evaluate", request.param)
    settings = {"dbscan": True} if "dbscan" in component.Config.model_fields else {}
    probe: Probe = component(component.Config(**settings))
    return probe, probe.measure(TRAIN, TEST, seed=2)


def test_a_call_gives_the_values(measured: tuple[Probe, dict[str, Score]]) -> None:
    probe, scores = measured
    assert probe(TRAIN, TEST, seed=2) == {name: score.value for name, score in scores.items()}


def test_what_each_test_sample_scored_averages_to_the_score(measured: tuple[Probe, dict[str, Score]]) -> None:
    _, scores = measured
    means = {name: score for name, score in scores.items() if score.per_sample is not None}
    assert means
    for score in means.values():
        assert score.per_sample is not None and score.reweighted is None
        assert score.per_sample.shape == TEST.label.shape
        assert score.per_sample.min() >= 0 and score.per_sample.max() <= 1 + 1e-9
        assert float(score.per_sample.double().mean()) == pytest.approx(score.value, abs=1e-9)


def test_an_accuracy_is_a_mean_over_samples(measured: tuple[Probe, dict[str, Score]]) -> None:
    _, scores = measured
    assert all(score.per_sample is not None for name, score in scores.items() if name.endswith("_top1"))


def test_a_score_that_is_no_mean_can_be_had_for_a_resample(measured: tuple[Probe, dict[str, Score]]) -> None:
    """Equal weights give the score itself; every score moves when the weights do."""
    _, scores = measured
    others = [score for score in scores.values() if score.reweighted is not None]
    for score in others:
        assert score.reweighted is not None
        count = score.over or len(TEST.label)
        weights = torch.from_numpy(next(resample_weights(count, 5, 1))[0])
        assert score.reweighted(torch.ones(count, dtype=torch.float64)) == pytest.approx(score.value)
        assert 0 <= score.reweighted(weights) <= 1
        assert score.value in (0, 1) or score.reweighted(weights) != score.value


def test_predictions_are_those_the_score_counts(measured: tuple[Probe, dict[str, Score]]) -> None:
    _, scores = measured
    for score in scores.values():
        if score.predicted is not None:
            assert float((score.predicted == TEST.label).double().mean()) == pytest.approx(score.value)


def test_scores_without_an_interval_are_spreads(measured: tuple[Probe, dict[str, Score]]) -> None:
    _, scores = measured
    draws = replicates(scores, len(TEST.label), seed=0, resamples=50)
    left_out = set(scores) - set(draws)
    assert all(name.endswith("_std") for name in left_out)
    for name, values in draws.items():
        low, high = percentiles(values.numpy())
        assert low - 1e-9 <= scores[name].value <= high + 1e-9
        assert values.shape == (50,)
