"""Clustering against scikit-learn."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn import metrics
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

from ssl_core.evaluate._maths import kmeans as _kmeans
from ssl_core.evaluate._maths.contingency import adjusted_rand_index, contingency, normalized_mutual_information, purity
from ssl_core.evaluate._maths.features import centered_unit
from ssl_core.evaluate._maths.kmeans import assigned, kmeans
from ssl_core.evaluate.base import Labelled
from ssl_core.evaluate.clustering import Clustering

Split = tuple[Labelled, Labelled]


@pytest.fixture(scope="module")
def digits() -> Split:
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    features, label = torch.tensor(x[order], dtype=torch.float32), torch.tensor(y[order], dtype=torch.int64)
    return Labelled(features[:1200], label[:1200]), Labelled(features[1200:], label[1200:])


@pytest.mark.parametrize(("clusters", "classes"), [(5, 5), (3, 12), (12, 3), (1, 4), (4, 1), (1, 1)])
def test_agreement_is_scikit_learns(clusters: int, classes: int):
    rng = np.random.default_rng(clusters)
    label = rng.integers(0, classes, 200)
    cluster = np.where(rng.random(200) < 0.6, label % clusters, rng.integers(0, clusters, 200))
    table = contingency(torch.tensor(cluster), torch.tensor(label))
    assert np.array_equal(table.numpy(), metrics.cluster.contingency_matrix(cluster, label))
    assert adjusted_rand_index(table) == pytest.approx(metrics.adjusted_rand_score(label, cluster), abs=1e-12)
    want = metrics.normalized_mutual_info_score(label, cluster)
    assert normalized_mutual_information(table) == pytest.approx(want, abs=1e-12)
    assert purity(table) == sum(np.bincount(label[cluster == c]).max() for c in range(clusters)) / 200


def test_kmeans_is_as_tight_as_scikit_learns(digits: Split):
    x, _ = centered_unit(digits[0].features, digits[1].features)
    centers = kmeans(x, 10, seed=0)
    got = float((x - centers[assigned(x, centers)]).square().sum())
    assert got <= 1.01 * KMeans(10, n_init=4, random_state=0).fit(x.numpy()).inertia_


def test_a_lloyd_step_is_the_naive_one():
    g = torch.Generator().manual_seed(0)
    x, centers = torch.randn(50, 3, generator=g), torch.randn(2, 4, 3, generator=g)
    found, distance = _kmeans._nearest(x, centers)
    moved = _kmeans._means(x, found, centers)
    for r in range(2):
        naive = torch.cdist(x, centers[r])
        assert torch.equal(found[r], naive.argmin(dim=1))
        torch.testing.assert_close(distance[r], naive.min(dim=1).values.square(), rtol=1e-4, atol=1e-5)
        for k in range(4):
            torch.testing.assert_close(moved[r, k], x[found[r] == k].mean(dim=0), rtol=1e-5, atol=1e-6)


def test_starts_are_samples_far_apart_and_keyed():
    x = torch.eye(6).repeat_interleave(30, dim=0)  # six heaps of equal samples
    starts = _kmeans._starts(x, 6, 0, 4)
    assert all(torch.equal(s.sum(dim=0), torch.ones(6)) for s in starts)  # one of each heap: no other is at distance 0
    assert not torch.equal(starts[0], starts[1])
    assert not torch.equal(starts, _kmeans._starts(x, 6, 1, 4))


def test_blocks_change_nothing_and_an_empty_cluster_keeps_its_center(monkeypatch: pytest.MonkeyPatch):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(60, 3, generator=g)
    whole = kmeans(x, 4, seed=0)
    monkeypatch.setattr(_kmeans, "_BLOCK", 100)
    torch.testing.assert_close(kmeans(x, 4, seed=0), whole, rtol=1e-5, atol=1e-6)
    assert kmeans(torch.ones(8, 2), 3, seed=0).isfinite().all()


def test_scores_are_those_of_the_test_split(digits: Split):
    train, test = digits
    scores = Clustering(Clustering.Config())(train, test, seed=0)
    x, x_test = centered_unit(train.features, test.features)
    reference = KMeans(10, n_init=4, random_state=0).fit(x.numpy()).predict(x_test.numpy())
    assert scores["clustering_nmi"] == pytest.approx(
        metrics.normalized_mutual_info_score(test.label, reference), abs=0.03
    )
    assert scores["clustering_ari"] == pytest.approx(metrics.adjusted_rand_score(test.label, reference), abs=0.05)
    assert scores["clustering_purity"] >= scores["clustering_top1"] > 0.7


def test_more_clusters_are_purer(digits: Split):
    few, many = (Clustering(Clustering.Config(num_clusters=k))(*digits, seed=0) for k in (5, 50))
    assert few["clustering_purity"] < 0.6
    assert many["clustering_purity"] > 0.85


def test_dbscan_on_demand(digits: Split):
    assert not any("dbscan" in key for key in Clustering(Clustering.Config())(*digits, seed=0))
    scores = Clustering(Clustering.Config(dbscan=True))(*digits, seed=0)
    assert scores["clustering_dbscan_nmi"] > 0.7
    assert scores["clustering_dbscan_purity"] > scores["clustering_dbscan_coverage"] - 0.1
    assert 0.6 < scores["clustering_dbscan_coverage"] < 0.9
    capped = Clustering(Clustering.Config(dbscan=True, dbscan_samples=300))(*digits, seed=0)
    assert capped["clustering_dbscan_nmi"] != scores["clustering_dbscan_nmi"]


def test_dbscan_of_features_all_alike_is_one_cluster():
    same = Labelled(torch.ones(60, 4), torch.arange(60) % 3)
    scores = Clustering(Clustering.Config(dbscan=True))(same, same, seed=0)
    assert scores["clustering_dbscan_coverage"] == 1
    assert scores["clustering_dbscan_nmi"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("bad", [{"num_clusters": 0}, {"restarts": 0}, {"dbscan_core_share": 1.0}])
def test_config_errors_name_the_key(bad: dict[str, object]):
    with pytest.raises(ValidationError, match=next(iter(bad))):
        Clustering.Config(**bad)
