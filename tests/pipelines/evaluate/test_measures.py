"""What scores mean is declared, not read off the end of their names."""

from collections.abc import Iterator

import pytest
import torch

from pipelines.evaluate.report.text import rows
from pipelines.evaluate.scoring import probing
from pipelines.evaluate.scoring.probing import ProbeResult
from pipelines.evaluate.scoring.scores import Scores
from pipelines.evaluate.tasks import fine_tune, robustness
from ssl_core.evaluate._maths.resample import replicates
from ssl_core.evaluate.base import Score
from ssl_core.evaluate.knn import KNN
from ssl_core.measures.measure import ERROR, FRACTION, SHARE, UNKNOWN, Measure, measure_of


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Scores of a task to come."""
    more = {"tagging_precision": FRACTION, "wer": Measure("low", 0, 100)}
    monkeypatch.setattr(KNN, "measures", {**KNN.measures, **more})
    measure_of.cache_clear()
    yield
    measure_of.cache_clear()


def test_tasks_that_are_no_probes_have_a_measure_too() -> None:
    assert measure_of(fine_tune.SCORE) == measure_of(robustness.MEAN) == FRACTION


def test_todays_names_mean_what_they_did() -> None:
    for name in ("knn_top1_k200", "linear_macro_f1", "few_label_n5_top1", "clustering_nmi", "retrieval_recall_k5"):
        assert measure_of(name) == FRACTION
    assert measure_of("calibration_raw_error") == measure_of("calibration_error") == ERROR
    for name in ("pseudo_label_t90_precision", "clustering_dbscan_coverage", "label_propagation_n5_coverage"):
        assert measure_of(name) == SHARE


@pytest.mark.usefixtures("declared")
def test_names_that_end_like_others_mean_what_is_declared() -> None:
    encoder, floor = {"tagging_precision": 0.9, "wer": 30.0}, {"tagging_precision": 0.8, "wer": 37.0}
    table = {row.name: row for row in rows(Scores(encoder=encoder, random_init=floor, raw_input=floor))}
    assert table["tagging_precision"].gain == pytest.approx(0.1)
    assert table["wer"].gain == pytest.approx(7)
    draws = torch.linspace(0, 1, 5, dtype=torch.float64)
    sides = [ProbeResult(values, {}, {"wer": values["wer"] + draws}, {}) for values in (encoder, floor)]
    assert probing.gains(sides[0], sides[1:])["wer"] == pytest.approx((7, 7))
    score = Score(37.0, reweighted=lambda weight: 36 + float(weight[0]))
    assert replicates({"wer": score}, 20, 0, 50)["wer"].mean() == pytest.approx(37, abs=1)


def test_what_nobody_vouches_for_decides_nothing() -> None:
    assert measure_of("of_a_probe_that_is_gone") == UNKNOWN
    assert not UNKNOWN.is_compared
    (row,) = rows(Scores(encoder={"gone": 0.9}, random_init={"gone": 0.1}))
    assert row.gain is None
