"""Retrieval against scikit-learn and by hand."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.metrics import average_precision_score

from ssl_core.evaluate import retrieval
from ssl_core.evaluate.base import Labelled
from ssl_core.evaluate.retrieval import Retrieval, average_precision, ranked_relevance


def cloud(count: int, seed: int) -> Labelled:
    """Overlapping classes of uneven size."""
    g = torch.Generator().manual_seed(seed)
    label = torch.randint(16, (count,), generator=g).float().sqrt().long()  # 0..3
    centers = torch.randn(4, 6, generator=torch.Generator().manual_seed(9))
    return Labelled(centers[label] + 1.5 * torch.randn(count, 6, generator=g), label)


TRAIN, TEST = cloud(300, 0), cloud(80, 1)


def naive(train: Labelled, test: Labelled, k: int) -> tuple[float, float]:
    """mAP and recall at k, query by query."""
    precision, hits = [], []
    for query, label in zip(test.features, test.label, strict=True):
        similarity = torch.cosine_similarity(query[None].double(), train.features.double()).numpy()
        relevant = (train.label == label).numpy()
        precision.append(average_precision_score(relevant, similarity))
        hits.append(relevant[np.argsort(-similarity)[:k]].any())
    return float(np.mean(precision)), float(np.mean(hits))


@pytest.mark.parametrize("k", [1, 5, 10])
def test_scores_are_scikit_learns_query_by_query(k: int):
    scores = Retrieval(Retrieval.Config(k=(k,)))(TRAIN, TEST, seed=0)
    want_map, want_recall = naive(TRAIN, TEST, k)
    assert set(scores) == {"retrieval_map", f"retrieval_recall_k{k}"}
    assert scores["retrieval_map"] == pytest.approx(want_map, abs=1e-6)
    assert scores[f"retrieval_recall_k{k}"] == want_recall


def test_scores_are_means_over_queries_whatever_the_block(monkeypatch: pytest.MonkeyPatch):
    probe = Retrieval(Retrieval.Config())
    whole = probe(TRAIN, TEST, seed=0)
    halves = [probe(TRAIN, Labelled(TEST.features[i::2], TEST.label[i::2]), seed=0) for i in (0, 1)]
    monkeypatch.setattr(retrieval, "_BLOCK", 1000)  # three queries at a time
    blocked = probe(TRAIN, TEST, seed=0)
    for key, value in whole.items():
        assert blocked[key] == pytest.approx(value, abs=1e-12)
        assert (halves[0][key] + halves[1][key]) / 2 == pytest.approx(value, abs=1e-12)


def test_ranking_puts_the_nearest_first_and_of_equals_the_wrong_one():
    similarity = torch.tensor([[0.5, 0.9, 0.5, -1.0000001, 0.9]])
    relevant = torch.tensor([[True, True, False, True, False]])
    assert ranked_relevance(similarity, relevant).tolist() == [[False, True, False, True, True]]


def test_ranking_tells_neighboring_floats_apart():
    low = torch.tensor(0.7)
    high = torch.nextafter(low, torch.tensor(1.0))
    assert ranked_relevance(torch.stack([low, high])[None], torch.tensor([[False, True]])).tolist() == [[True, False]]


def test_average_precision_by_hand():
    ranked = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1]]).bool()
    assert average_precision(ranked).tolist() == pytest.approx([(1 + 2 / 3) / 2, 1 / 4, 0, 1], abs=1e-7)


def test_a_query_whose_class_train_lacks_scores_nothing():
    kept = TRAIN.label != 0
    strangers = Labelled(TEST.features[TEST.label == 0], TEST.label[TEST.label == 0])
    scores = Retrieval(Retrieval.Config())(Labelled(TRAIN.features[kept], TRAIN.label[kept]), strangers, seed=0)
    assert set(scores.values()) == {0.0}


def test_noise_finds_as_many_as_there_are():
    g = torch.Generator().manual_seed(5)
    train = Labelled(torch.randn(1200, 8, generator=g), torch.arange(1200) % 3)
    test = Labelled(torch.randn(300, 8, generator=g), torch.arange(300) % 3)
    scores = Retrieval(Retrieval.Config())(train, test, seed=0)
    assert scores["retrieval_map"] == pytest.approx(1 / 3, abs=0.02)
    assert scores["retrieval_recall_k1"] == pytest.approx(1 / 3, abs=0.09)
    assert scores["retrieval_recall_k10"] == pytest.approx(1 - (2 / 3) ** 10, abs=0.05)


@pytest.mark.parametrize("bad", [{"k": ()}, {"k": (0,)}])
def test_config_errors_name_the_key(bad: dict[str, object]):
    with pytest.raises(ValidationError, match="k"):
        Retrieval.Config(**bad)
