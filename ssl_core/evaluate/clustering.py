"""Clustering of frozen features: do the classes show without a single label?

Shapes: N train samples, M test samples, D feature width, K clusters, C classes.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from ssl_core.config import NamedConfig
from ssl_core.evaluate._maths.contingency import adjusted_rand_index, contingency, normalized_mutual_information, purity
from ssl_core.evaluate._maths.features import centered_unit, count_classes
from ssl_core.evaluate._maths.kmeans import assigned, kmeans
from ssl_core.evaluate.base import Labelled, Probe, Score, mean_score
from ssl_core.evaluate.knn import nearest
from ssl_core.measures.measure import FRACTION, SHARE, Measure
from ssl_core.noise import keyed_permutation, salt

_BLOCK = 1 << 24  # similarities held at once: 64 MB of float32


class Clustering(Probe):
    """k-means (and, if asked for, DBSCAN) without labels: how far clusters and classes agree."""

    version: ClassVar[int] = 1
    measures: ClassVar[Mapping[str, Measure]] = {"clustering_dbscan_coverage": SHARE, "clustering_*": FRACTION}

    class Config(NamedConfig):
        name: Literal["clustering"] = "clustering"
        num_clusters: PositiveInt | None = None
        """k of k-means; empty: as many as train has classes."""
        restarts: PositiveInt = 4
        """k-means++ starts; the tightest result is kept."""
        max_steps: PositiveInt = 50
        """Lloyd's steps per start at most."""
        dbscan: bool = False
        """Also cluster by density, which finds its number of clusters itself."""
        dbscan_min_samples: int = Field(10, ge=2)
        """A sample with this many neighbors (itself included) within eps is a core."""
        dbscan_core_share: float = Field(0.5, gt=0, lt=1)
        """eps makes this share of train cores: the quantile of the distances to the min_samples-th neighbor."""
        dbscan_samples: PositiveInt = 10_000
        """Train samples that DBSCAN sees at most: its time grows with their square."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def protocol(self) -> str:
        c = self.config
        density = (
            f"; DBSCAN (min_samples = {c.dbscan_min_samples}, eps that makes {100 * c.dbscan_core_share:g} % "
            f"cores) on at most {c.dbscan_samples} of train"
        )
        return (
            f"clustering v{self.version}: k-means (k = {c.num_clusters or 'classes of train'}, {c.restarts} k-means++ "
            f"starts, {c.max_steps} steps) on centered, L2-normalized features of train, test samples go to the "
            f"nearest center; top1 names a cluster by its majority in train{density if c.dbscan else ''}"
        )

    @property
    def score_names(self) -> tuple[str, ...]:
        names = ("clustering_top1", "clustering_nmi", "clustering_ari", "clustering_purity")
        density = tuple(f"clustering_dbscan_{kind}" for kind in ("nmi", "ari", "purity", "coverage"))
        return names + (density if self.config.dbscan else ())

    def measure(self, train: Labelled, test: Labelled, seed: int) -> dict[str, Score]:
        """`clustering_top1`, `_nmi`, `_ari` and `_purity` of test, and `clustering_dbscan_...` on demand.

        An adjusted Rand index below 0 (worse than chance) is given as 0. DBSCAN's noise counts as one more cluster;
        `clustering_dbscan_coverage` is the share of test that is not noise.

        Raises:
            ValueError: splits that cannot be scored; see `count_classes`.
        """
        count_classes(train, test)
        x, x_test = centered_unit(train.features.float(), test.features.float())  # [N, D], [M, D]
        num_clusters = min(self.config.num_clusters or len(train.label.unique()), len(x))
        centers = kmeans(
            x, num_clusters, salt(seed, 0), restarts=self.config.restarts, max_steps=self.config.max_steps
        )  # [K, D]
        counts = contingency(assigned(x, centers), train.label)  # [K', C], K' up to the last cluster that is used
        majority = torch.full_like(train.label, -1)[:num_clusters]  # [K], -1 where train has no sample
        majority[: len(counts)] = torch.where(counts.any(dim=1), counts.argmax(dim=1), -1)
        found = assigned(x_test, centers)  # [M]
        named = majority[found]  # [M]
        scores = {
            "clustering_top1": mean_score(named == test.label),
            "clustering_nmi": _agreement(normalized_mutual_information, found, test.label),
            "clustering_ari": _agreement(_rand, found, test.label),
            "clustering_purity": _agreement(purity, found, test.label),
        }
        return scores | (self._dbscan(x, x_test, test.label, salt(seed, 1)) if self.config.dbscan else {})

    def _dbscan(self, x: Tensor, x_test: Tensor, label: Tensor, key: int) -> dict[str, Score]:
        """Density clusters of train; a test sample belongs to its nearest core's cluster if that is within eps.

        eps is read off the distances to the k-th neighbor, as Ester et al. 1996 propose (DBSCAN, section 4.2). Not at
        their knee: in feature space that lies so far out that one cluster takes all (digits: NMI 0.08, median 0.78).
        """
        from sklearn.cluster import DBSCAN  # a second to import, and only for those who ask

        some = torch.from_numpy(keyed_permutation(len(x), key)[: self.config.dbscan_samples])
        x = x[some]
        reach = _kth_distance(x, min(self.config.dbscan_min_samples, len(x)))  # [N]
        eps = max(float(reach.quantile(self.config.dbscan_core_share)), 1e-3)  # equal features differ by rounding
        fitted = DBSCAN(eps=eps, min_samples=self.config.dbscan_min_samples).fit(x.numpy())
        cores = torch.from_numpy(fitted.core_sample_indices_)
        cluster = torch.zeros_like(label)  # [M], 0 is noise
        if len(cores):
            similarity, index = _nearest_in_blocks(x_test, x[cores], 1)  # [M, 1] each
            names = torch.from_numpy(fitted.labels_).long()[cores] + 1
            cluster = torch.where((2 - 2 * similarity[:, 0]).clamp_min(0).sqrt() <= eps, names[index[:, 0]], 0)
        return {
            "clustering_dbscan_nmi": _agreement(normalized_mutual_information, cluster, label),
            "clustering_dbscan_ari": _agreement(_rand, cluster, label),
            "clustering_dbscan_purity": _agreement(purity, cluster, label),
            "clustering_dbscan_coverage": mean_score(cluster > 0),
        }


def _agreement(of: Callable[[Tensor], float], cluster: Tensor, label: Tensor) -> Score:
    """A score of the table of [M] clusters and [M] classes."""

    def reweighted(weight: Tensor) -> float:
        return of(contingency(cluster, label, weight))

    return Score(of(contingency(cluster, label)), reweighted=reweighted)


def _rand(table: Tensor) -> float:
    return max(adjusted_rand_index(table), 0.0)


def _kth_distance(unit: Tensor, k: int) -> Tensor:
    """[N] distance of each row of [N, D] to its k-th nearest row, itself included."""
    similarity, _ = _nearest_in_blocks(unit, unit, k)
    return (2 - 2 * similarity[:, -1]).clamp_min(0).sqrt()


def _nearest_in_blocks(queries: Tensor, unit_keys: Tensor, k: int) -> tuple[Tensor, Tensor]:
    parts = [nearest(rows, unit_keys, k) for rows in queries.split(max(1, _BLOCK // len(unit_keys)))]
    return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])
