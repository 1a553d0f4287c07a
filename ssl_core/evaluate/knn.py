"""k nearest neighbors on frozen features (Wu et al. 2018, section 3.4, https://arxiv.org/abs/1805.01978).

Shapes: N train samples, M test samples, Q test samples at once, D feature width, C classes.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal
from weakref import WeakKeyDictionary

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn.functional import normalize

from ssl_core.config import NamedConfig
from ssl_core.evaluate._maths.features import count_classes
from ssl_core.evaluate.base import Labelled, Probe, Score, mean_score
from ssl_core.measures.measure import FRACTION, Measure

_BLOCK = 1 << 24  # similarities held at once: 64 MB of float32


class KNN(Probe):
    """Weighted vote of the k most similar train samples; nothing is trained."""

    version: ClassVar[int] = 1
    measures: ClassVar[Mapping[str, Measure]] = {"knn_top1_k*": FRACTION}

    class Config(NamedConfig):
        name: Literal["knn"] = "knn"
        k: tuple[PositiveInt, ...] = Field((20, 200), min_length=1)
        """Numbers of neighbors, one score each."""
        temperature: PositiveFloat = 0.07
        """A neighbour's vote weighs exp(cosine similarity / temperature)."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def protocol(self) -> str:
        ks = ", ".join(map(str, self.config.k))
        return (
            f"knn v{self.version}: exact cosine neighbors in train, votes exp(similarity / "
            f"{self.config.temperature:g}), k = {ks} (all of train if it is smaller)"
        )

    @property
    def score_names(self) -> tuple[str, ...]:
        return tuple(f"knn_top1_k{k}" for k in self.config.k)

    def measure(self, train: Labelled, test: Labelled, seed: int) -> dict[str, Score]:
        """Top-1 accuracy per k. Exact, so `seed` changes nothing.

        Raises:
            ValueError: splits that cannot be scored; see `count_classes`.
        """
        votes = self._voted(train, test)
        return {f"knn_top1_k{k}": mean_score(found == test.label, found) for k, found in votes.items()}

    def predict(self, train: Labelled, test: Labelled, seed: int) -> Tensor:
        """The class of each test sample that the score of the largest k rests on: [M] int64. Raises as `measure`."""
        return self._voted(train, test)[max(self.config.k)]

    def _voted(self, train: Labelled, test: Labelled) -> dict[int, Tensor]:
        """k -> [M] int64, the class with the heaviest vote."""
        num_classes = count_classes(train, test)
        ks = {k: min(k, len(train.label)) for k in self.config.k}
        similarity, index = neighbors(train, test, max(ks.values()))  # [M, k] each
        weight = ((similarity - 1) / self.config.temperature).exp()  # <= 1 each: no overflow at low temperature
        found = {}
        for k, used in ks.items():
            votes = weight.new_zeros(len(weight), num_classes)  # [M, C]
            votes.scatter_add_(1, train.label[index[:, :used]], weight[:, :used])
            found[k] = votes.argmax(dim=1)
        return found


_FOUND: WeakKeyDictionary[Labelled, WeakKeyDictionary[Labelled, tuple[Tensor, Tensor]]] = WeakKeyDictionary()


def neighbors(train: Labelled, test: Labelled, k: int) -> tuple[Tensor, Tensor]:
    """`nearest` of all test samples among all of train: [M, k] each.

    Several probes ask for them, so they are kept for as long as both splits are.
    """
    kept = _FOUND.setdefault(test, WeakKeyDictionary())
    if train not in kept or kept[train][0].shape[1] < k:
        keys = normalize(train.features.float(), dim=1)  # [N, D]
        parts = [nearest(rows, keys, k) for rows in test.features.split(max(1, _BLOCK // len(keys)))]
        kept[train] = torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])
    similarity, index = kept[train]
    return similarity[:, :k], index[:, :k]


def nearest(queries: Tensor, unit_keys: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k most similar keys of each query, most similar first; of equals, the lower row first.

    Args:
        queries: [Q, D], of any length.
        unit_keys: [N, D], rows of length 1; k <= N.
    Returns: [Q, k] cosine similarity and [Q, k] int64 row of unit_keys.
    """
    similarity = normalize(queries.float(), dim=1) @ unit_keys.mT  # [Q, N]
    value, index = similarity.topk(min(k + 1, len(unit_keys)), dim=1)  # [Q, k+1]: one more, to see a tie at the end
    tied = (value.diff(dim=1) == 0).any(dim=1)  # [Q]
    if bool(tied.any()):  # topk orders equals as it likes; a stable sort is slower, so only these rows pay for it
        value[tied], index[tied] = (
            part[:, : value.shape[1]] for part in similarity[tied].sort(dim=1, descending=True, stable=True)
        )
    return value[:, :k], index[:, :k]
