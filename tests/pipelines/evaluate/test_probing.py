"""Probes on kept features: read again from disk, resampled together, compared in pairs."""

from pathlib import Path

import pytest
import torch

from pipelines.errors import UserError
from pipelines.evaluate.features.feature_set import FeatureSet
from pipelines.evaluate.scoring import outcomes, probing
from pipelines.evaluate.scoring.probing import ProbeResult
from ssl_core.evaluate.calibration import Calibration
from ssl_core.evaluate.knn import KNN
from ssl_core.evaluate.linear_probe import LinearProbe
from tests.contracts.test_probes import clusters, noise

PROBES = (KNN.Config(k=(5, 20)), Calibration.Config())


def kept(folder: Path, spread: float) -> tuple[FeatureSet, dict[str, dict[int, int]]]:
    features, labels = FeatureSet(folder=folder), {}
    for split, per_class, seed in (("train", 30, 0), ("test", 40, 1)):
        side = clusters(per_class, seed)
        ids = torch.arange(len(side.label)) + 1000 * seed
        features.keep(split, side.features + spread * noise(side, seed + 5).features, ids)
        labels[split] = dict(zip(ids.tolist(), side.label.tolist(), strict=True))
    return features, labels


def test_asked_twice_it_is_read_from_disk(tmp_path: Path) -> None:
    features, labels = kept(tmp_path, 1.0)
    told: list[dict[str, float]] = []
    first = probing.measure(features, PROBES, labels, 0, 50, told.append)
    (tmp_path / "train.safetensors").unlink()
    second = probing.measure(features, PROBES, labels, 0, 50, told.append)
    assert list(first.scores) == list(second.scores) == ["knn_top1_k5", "knn_top1_k20", *list(first.scores)[2:]]
    assert first.scores == second.scores
    for kind in ("values", "replicates", "predicted"):
        one, two = getattr(first, kind), getattr(second, kind)
        assert set(one) == set(two) and all(torch.equal(one[name], two[name]) for name in one)
    assert told[:2] == told[2:] and {**told[0], **told[1]} == first.scores
    assert set(first.intervals()) == set(first.scores)


def test_other_settings_are_other_files(tmp_path: Path) -> None:
    features, labels = kept(tmp_path, 1.0)
    for seed, resamples, probe in (
        (0, 10, KNN.Config(k=(5,))),
        (0, 20, KNN.Config(k=(5,))),
        (0, 20, KNN.Config(k=(6,))),
        (0, 20, LinearProbe.Config(l2=(1e-3, 1e-2, 1.0))),
        (0, 20, LinearProbe.Config(l2=(1e-3, 1e-1, 1.0))),  # of the same protocol line
    ):
        probing.measure(features, (probe,), labels, seed, resamples, lambda _: None)
    assert len(list(tmp_path.glob("probe-*.safetensors"))) == 5


def test_without_resamples_there_are_no_intervals(tmp_path: Path) -> None:
    features, labels = kept(tmp_path, 1.0)
    made = probing.measure(features, PROBES, labels, 0, 0, lambda _: None)
    assert made.scores and made.values and made.intervals() == {} == probing.gains(made, [made])


def test_the_gain_is_over_the_better_floor_and_paired(tmp_path: Path) -> None:
    """Two encoders of one noise differ less than their own intervals are wide."""
    sides = [kept(tmp_path / str(spread), spread) for spread in (0.9, 1.0, 3.0)]
    labels = sides[0][1]
    encoder, near, far = (probing.measure(f, PROBES, labels, 0, 400, lambda _: None) for f, _ in sides)
    low, high = probing.gains(encoder, [far, near])["knn_top1_k20"]
    gain = encoder.scores["knn_top1_k20"] - near.scores["knn_top1_k20"]
    assert low <= gain <= high
    own = encoder.intervals()["knn_top1_k20"]
    assert high - low < own[1] - own[0]
    assert probing.gains(encoder, [far])["knn_top1_k20"][0] > 0.1


def test_an_error_gains_by_falling() -> None:
    draws = torch.linspace(0.0, 0.1, 50, dtype=torch.float64)
    low = ProbeResult({"calibration_error": 0.05}, {}, {"calibration_error": draws}, {})
    high = ProbeResult({"calibration_error": 0.25}, {}, {"calibration_error": draws + 0.2}, {})
    assert probing.gains(low, [high])["calibration_error"] == pytest.approx((0.2, 0.2))
    assert probing.gains(high, [low, high])["calibration_error"] == pytest.approx((-0.2, -0.2))


def test_outcomes_come_back_and_what_is_not_there_is_said(tmp_path: Path) -> None:
    ids, values = torch.tensor([4, 9]), {"knn_top1_k5": torch.tensor([1.0, 0.0], dtype=torch.float64)}
    outcomes.save(tmp_path, ids, values)
    found = outcomes.load(tmp_path)
    assert found.sample_id.tolist() == [4, 9] and found.values["knn_top1_k5"].tolist() == [1.0, 0.0]
    values["robust_top1"] = torch.tensor([0.5])
    outcomes.save(tmp_path, ids, values, {"robust_top1": torch.tensor([9])})  # looked at one of the two
    found = outcomes.load(tmp_path)
    assert set(found.values) == {"knn_top1_k5", "robust_top1"}
    assert [found.ids(name).tolist() for name in values] == [[4, 9], [9]]
    with pytest.raises(UserError, match="not there"):
        outcomes.load(tmp_path / "none")
    (tmp_path / outcomes.NAME).write_bytes(b"broken")
    with pytest.raises(UserError, match="cannot be read"):
        outcomes.load(tmp_path)
