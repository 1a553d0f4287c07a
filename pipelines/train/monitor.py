"""Looks at the representation while it trains: has it collapsed, does kNN get better?

A fixed handful of train samples is read once; every look encodes them in eval mode. Labels, where
there are any, serve the kNN gauge only: half of the samples vote on the other half.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_core.augment.base import Augmentation
from ssl_core.evaluate.base import Labelled
from ssl_core.evaluate.knn import KNN
from ssl_core.measures.gauges import alignment, feature_std, rankme, uniformity
from ssl_core.methods.base import Method
from ssl_core.noise import view_salt

NEIGHBOURS = 20
PART = 256  # samples encoded at once


class Monitor:
    def __init__(
        self,
        arrays: Mapping[str, NDArray[Any]],
        chains: list[Augmentation],
        labels: Mapping[int, int] | None,
        device: torch.device,
        seed: int,
    ):
        """arrays: `sample_id` and `view0` (eval), `view1`, `view2` (two draws of a training view); chains likewise."""
        self._keys, self._salts = arrays["planned_id"], [view_salt(seed, 0, i) for i in range(len(chains))]
        self._views = [torch.from_numpy(np.array(arrays[f"view{i}"])) for i in range(len(chains))]  # [N, S, S, 3] each
        self._chains, self._device = chains, device
        ids = arrays["sample_id"].tolist()
        self._label = None if labels is None else torch.tensor([labels[i] for i in ids])

    @torch.no_grad()
    def __call__(self, method: Method) -> dict[str, float]:
        was_training = method.training
        method.eval()
        z, z_a, z_b = (self._encode(method, index) for index in range(len(self._chains)))
        method.train(was_training)
        seen = {
            "monitor/feature_std": feature_std(z).item(),
            "monitor/rankme": rankme(z).item(),
            "monitor/uniformity": uniformity(z).item(),
            "monitor/alignment": alignment(z_a, z_b).item(),
        }
        if self._label is not None:
            probe = KNN(KNN.Config(k=(NEIGHBOURS,)))
            bank, asked = (Labelled(z[start::2], self._label[start::2]) for start in (0, 1))
            seen["monitor/knn_top1"] = probe(bank, asked, 0)[f"knn_top1_k{NEIGHBOURS}"]
        return seen

    def _encode(self, method: Method, index: int) -> Tensor:
        view, chain = self._views[index], self._chains[index]
        finished = (
            chain.finish(part.to(self._device), keys, self._salts[index])
            for part, keys in zip(view.split(PART), np.split(self._keys, range(PART, len(view), PART)), strict=True)
        )
        return torch.cat([method.exported(x, chain.valid(x)).pooled for x in finished]).float().cpu()  # [N, D]
