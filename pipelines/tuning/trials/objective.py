"""What a trial is ranked by: probes and gauges of the representation on a slice of train, never on test.

A fixed handful of train samples, the same for all trials, is encoded at each look. A share of it is held out: the
probes fit on the rest, with its labels, and are scored on the held-out share. Pre-training has seen the held-out
samples, as it has all of train, but never a label of them. All trials are looked at in the views of the recipe's own
config: alignment and LiDAR in a trial's own views would rank weak augmentation first.

Shapes: N samples, n of them augmented, V views of each, D embedding width.
"""

import time
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_core.augment.base import Augmentation
from ssl_core.evaluate._maths.features import stratified_slice
from ssl_core.evaluate.base import Labelled
from ssl_core.evaluate.knn import KNN
from ssl_core.evaluate.linear_probe import LinearProbe
from ssl_core.measures.gauges import alignment, feature_std, rankme, uniformity
from ssl_core.measures.health import alpha_req, lidar
from ssl_core.methods.base import Method
from ssl_core.noise import salt, view_salt

Arrays = Mapping[str, NDArray[Any]]
Encode = Callable[[Tensor, Augmentation], Tensor]
"""Finished views [B, 3, S, S] and their chain -> features [B, D]."""

SECONDS = "seconds"
NUM_VIEWS = 4
NEIGHBOURS = 20
_HOLDOUT = 0x401D
_PART = 256  # samples encoded at once


class Objective:
    """The monitor of a trial: called on its method at each look."""

    def __init__(
        self,
        plain: Arrays,
        augmented: Arrays,
        chains: tuple[Augmentation, Augmentation],
        labels: Mapping[int, int] | None,
        holdout: float,
        device: torch.device,
        *,
        seed: int,
        prefix: str = "",
        spent: float = 0.0,
        reading: float = 0.0,
    ):
        """
        Args:
            plain: `view0`, the eval view of N samples, `sample_id` and `planned_id`.
            augmented: `view0` ... `view3`, four training views of n samples, and their ids; not of the trial's config.
            chains: of the eval view and of the training view.
            labels: sample id -> class number; None: no probe is fitted.
            holdout: share of the N that is held out.
            seed: by which the views were drawn.
            prefix: of the names of all metrics.
            spent: seconds that earlier processes of this trial took.
            reading: seconds that this one took to read what is given here; they count as part of its first look.
        """
        self._plain, self._augmented, self._chains, self._device = plain, augmented, chains, device
        self._label = None if labels is None else torch.tensor([labels[i] for i in plain["sample_id"].tolist()])
        if self._label is not None:
            self._held = stratified_slice(self._label, max(2, round(1 / holdout)), salt(_HOLDOUT))  # [N] bool
        self._seed, self._prefix, self._reading, self._since = seed, prefix, reading, time.monotonic() - spent - reading

    @torch.no_grad()
    def __call__(self, method: Method) -> dict[str, float]:
        """Metrics by name; what is not finite (alpha-ReQ of a spectrum that has ended) is left out."""
        began, was_training = time.monotonic(), method.training
        found = self.of_encoder(method.eval())
        method.train(was_training)
        found["look_seconds"] = time.monotonic() - began + self._reading
        found[SECONDS], self._reading = time.monotonic() - self._since, 0.0
        return {self._prefix + name: value for name, value in found.items() if isfinite(value)}

    def of_encoder(self, method: Method) -> dict[str, float]:
        """Of a method in eval mode; some may be infinite."""
        return self._of(lambda x, chain: method.exported(x, chain.valid(x)).pooled)

    def of_pixels(self) -> dict[str, float]:
        """Of the same views without any encoder."""
        return self._of(lambda x, chain: chain.floor(chain.restore(x), chain.valid(x)))

    @torch.no_grad()
    def _of(self, encode: Encode) -> dict[str, float]:
        z = self._features(encode, self._plain, 0, self._chains[0])  # [N, D]
        each = [self._features(encode, self._augmented, i, self._chains[1]) for i in range(NUM_VIEWS)]  # V x [n, D]
        views = torch.stack(each, dim=1)  # [n, V, D]
        found = {"feature_std": feature_std(z).item(), "rankme": rankme(z).item(), "alpha_req": alpha_req(z).item()}
        found["uniformity"], found["alignment"] = uniformity(z).item(), alignment(views[:, 0], views[:, 1]).item()
        found["alignment_uniformity"] = found["alignment"] + found["uniformity"]
        found["lidar"] = lidar(views).item()
        if self._label is not None:
            bank, asked = (Labelled(z[part], self._label[part]) for part in (~self._held, self._held))
            found["knn_top1"] = KNN(KNN.Config(k=(NEIGHBOURS,)))(bank, asked, 0)[f"knn_top1_k{NEIGHBOURS}"]
            found["linear_top1"] = LinearProbe(LinearProbe.Config())(bank, asked, 0)["linear_top1"]
        return found

    def _features(self, encode: Encode, arrays: Arrays, index: int, chain: Augmentation) -> Tensor:
        view, keys = torch.from_numpy(np.array(arrays[f"view{index}"])), arrays["planned_id"]
        parts = [
            encode(chain.finish(part.to(self._device), ids, view_salt(self._seed, 0, index)), chain)
            for part, ids in zip(view.split(_PART), np.split(keys, range(_PART, len(view), _PART)), strict=True)
        ]
        return torch.cat(parts).float().cpu()  # [N, D]
