"""Every file in ssl_core/evaluate, held to the promises of base.Probe. Nothing here names a probe."""

import re
from fnmatch import fnmatchcase

import pytest
import torch

from ssl_core import catalog
from ssl_core.evaluate.base import Labelled, Probe
from ssl_core.measures.measure import measure_of

PROBES = catalog.names("ssl_core.evaluate")
every_probe = pytest.mark.parametrize("name", PROBES)


def probe(name: str) -> Probe:
    cls = catalog.find("ssl_core.evaluate", name)
    built: Probe = cls(cls.Config())
    return built


def clusters(per_class: int, seed: int, width: int = 8) -> Labelled:
    """Three well separated classes, in turn; every seed has the same centers."""
    label = torch.arange(per_class * 3) % 3
    centers = torch.randn(3, width, generator=torch.Generator().manual_seed(99))
    random = torch.randn(len(label), width, generator=torch.Generator().manual_seed(seed))
    return Labelled(centers[label] + 0.4 * random, label)


def noise(like: Labelled, seed: int) -> Labelled:
    """The same labels, on features that know nothing of them."""
    return Labelled(torch.randn(like.features.shape, generator=torch.Generator().manual_seed(seed)), like.label)


def accuracies(scores: dict[str, float]) -> dict[str, float]:
    """The scores of which chance and the mean over samples are known; see `Probe`."""
    return {key: value for key, value in scores.items() if key.endswith("_top1") or "_top1_k" in key}


TRAIN, TEST = clusters(40, seed=0), clusters(100, seed=1)


@every_probe
def test_name_is_file_name_and_protocol_says_name_and_version(name: str) -> None:
    cls = catalog.find("ssl_core.evaluate", name)
    assert issubclass(cls, Probe)
    assert cls.Config().name == name
    assert catalog.summary("ssl_core.evaluate", name)
    assert probe(name).protocol.startswith(f"{name} v{cls.version}: ")
    assert "\n" not in probe(name).protocol


@every_probe
def test_every_score_has_a_measure_and_lies_within_its_bounds(name: str) -> None:
    declared = catalog.find("ssl_core.evaluate", name).measures
    for key, value in probe(name)(TRAIN, TEST, seed=0).items():
        assert any(fnmatchcase(key, pattern) for pattern in declared), f"{key}: declare it in `measures`"
        assert measure_of(key) in declared.values(), "another probe claims the name"
        assert measure_of(key).low <= value <= measure_of(key).high


@every_probe
def test_scores_are_named_fractions(name: str) -> None:
    scores = probe(name)(TRAIN, TEST, seed=0)
    assert scores
    for key, value in scores.items():
        assert re.fullmatch(r"[A-Za-z0-9_./]+", key)
        assert isinstance(value, float)
        assert 0 <= value <= 1


@every_probe
def test_all_scores_are_named_beforehand(name: str) -> None:
    kind = catalog.find("ssl_core.evaluate", name)
    everything = {"dbscan": True} if "dbscan" in kind.Config.model_fields else {}
    for config in (kind.Config(**everything), *([kind.Config(draws=1)] if "draws" in kind.Config.model_fields else [])):
        names = kind(config).score_names
        assert set(kind(config)(TRAIN, TEST, seed=0)) <= set(names) and len(set(names)) == len(names)


@every_probe
def test_separable_classes_score_high_and_noise_at_chance(name: str) -> None:
    scores = probe(name)(TRAIN, TEST, seed=0)
    assert max(scores.values()) > 0.97
    lost = accuracies(probe(name)(noise(TRAIN, 2), noise(TEST, 3), seed=0))
    assert all(value < 0.45 for value in lost.values())  # chance is 1/3, give or take 0.03 on 300 samples


@every_probe
def test_same_seed_same_scores_and_no_global_draw(name: str) -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = probe(name)(TRAIN, TEST, seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(4)
    assert probe(name)(TRAIN, TEST, seed=5) == first


@every_probe
def test_test_split_only_gives_the_score(name: str) -> None:
    """Each half of test scores alone as it does within the whole, so test chose nothing."""
    halves = [Labelled(TEST.features[i::2], TEST.label[i::2]) for i in (0, 1)]
    whole = probe(name)(TRAIN, TEST, seed=0)
    parts = [probe(name)(TRAIN, half, seed=0) for half in halves]
    for key in accuracies(whole):
        assert sum(part[key] for part in parts) / 2 == pytest.approx(whole[key], abs=1e-6)


@every_probe
def test_inputs_are_left_as_they_were(name: str) -> None:
    train, test = clusters(40, seed=0), clusters(100, seed=1)
    probe(name)(train, test, seed=0)
    for got, want in ((train, TRAIN), (test, TEST)):
        assert torch.equal(got.features, want.features)
        assert torch.equal(got.label, want.label)


@every_probe
def test_more_dimensions_than_samples(name: str) -> None:
    scores = probe(name)(clusters(12, 0, width=200), clusters(20, 1, width=200), seed=0)
    assert max(scores.values()) > 0.95


@every_probe
def test_class_missing_in_train_counts_as_wrong(name: str) -> None:
    kept = TRAIN.label != 1
    scores = probe(name)(Labelled(TRAIN.features[kept], TRAIN.label[kept]), TEST, seed=0)
    found = accuracies(scores).values()
    assert all(value <= 2 / 3 + 1e-6 for value in found)
    assert not found or max(found) > 0.6


@every_probe
def test_constant_features_score_at_chance(name: str) -> None:
    scores = probe(name)(Labelled(torch.full((120, 8), 1e3), TRAIN.label), TEST, seed=0)
    assert all(0 <= value <= 1 for value in scores.values())
    assert all(abs(value - 1 / 3) < 0.15 for value in accuracies(scores).values())


@every_probe
@pytest.mark.parametrize("split", ["train", "test"])
def test_nan_features_are_counted(name: str, split: str) -> None:
    broken = TRAIN.features.clone()
    broken[[3, 5], 2] = torch.tensor([float("nan"), float("inf")])
    sides = {"train": TRAIN, "test": TRAIN} | {split: Labelled(broken, TRAIN.label)}
    with pytest.raises(ValueError, match=f"2 of 120 rows of the {split} features"):
        probe(name)(sides["train"], sides["test"], seed=0)


@every_probe
def test_splits_that_cannot_be_scored(name: str) -> None:
    one_class = Labelled(TRAIN.features, torch.full_like(TRAIN.label, 2))
    with pytest.raises(ValueError, match=r"one class only \(label 2\)"):
        probe(name)(one_class, TEST, seed=0)
    with pytest.raises(ValueError, match="test split is empty"):
        probe(name)(TRAIN, Labelled(torch.zeros(0, 8), torch.zeros(0, dtype=torch.int64)), seed=0)
    with pytest.raises(ValueError, match="differ in width: 8 and 5"):
        probe(name)(TRAIN, Labelled(TEST.features[:, :5], TEST.label), seed=0)
    with pytest.raises(ValueError, match=r"train needs features \[N, D\] and labels \[N\]"):
        probe(name)(Labelled(TRAIN.features, TRAIN.label[:7]), TEST, seed=0)
    with pytest.raises(ValueError, match="smallest is -1"):
        probe(name)(TRAIN, Labelled(TEST.features, TEST.label - 1), seed=0)
