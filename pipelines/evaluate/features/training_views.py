"""Several training views of the same test samples, through the encoder: what alignment and LiDAR are measured on.

Shapes: n samples, V views of each, D feature width.
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from pipelines.config.flat import fingerprint
from pipelines.config.run import RunConfig, SetupConfig
from pipelines.data.batches.reading import Arrays
from pipelines.data.shards.manifest import Manifest
from pipelines.evaluate.features.encode import Subject, network
from pipelines.storage.atomic import write_tensors
from pipelines.train.artifact import Checkpoint
from ssl_core.build import build_chain
from ssl_core.catalog import find
from ssl_core.noise import view_salt

NUM_VIEWS = 10
"""LiDAR's authors advise ten or more (https://arxiv.org/abs/2312.04000)."""
_PART = 256  # views encoded at once
FORMAT = 2
"""Of the kept features; raised when they are of other views."""


@torch.no_grad()
def features(config: SetupConfig, given: Checkpoint, listing: Manifest, root: Path, encoder: Subject) -> Tensor | None:
    """[n, V, D] float32, made in this process, as they are few, and kept under `root`.

    The views are those of the method's first kind. None: no method is known, as of a model that is only evaluated, or
    `evaluate.view_samples` is 0.
    """
    count = config.evaluate.view_samples
    if not isinstance(config, RunConfig) or not count:
        return None
    kind = find("ssl_core.methods", config.method.name).kinds(config.method)[0]
    view = config.views[kind].model_dump(mode="json")
    key = fingerprint([FORMAT, given.shards.digest, encoder.identity, view, count, NUM_VIEWS, config.seed])[:16]
    path = root / key / "views.safetensors"
    if path.exists():
        return load_file(path)["features"]
    from pipelines.data.batches.stream import parts_of

    encode = _Encode(config, encoder, kind)
    parts = parts_of(config, given.shards.folder, listing, "test", count, (kind,) * NUM_VIEWS)
    found = torch.cat([torch.stack([encode(part, i) for i in range(NUM_VIEWS)], dim=1) for part in parts])  # [n, V, D]
    write_tensors(path, {"features": found})
    return found


class _Encode:
    """One view of each sample of a part -> [n, D]."""

    def __init__(self, config: RunConfig, encoder: Subject, kind: str):
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._encoder = network(config).build(encoder).to(self._device)
        self._chain, self._seed = build_chain(config.views[kind]), config.seed

    def __call__(self, arrays: Arrays, index: int) -> Tensor:
        view, ids = torch.from_numpy(np.array(arrays[f"view{index}"])), arrays["planned_id"]
        finished = (
            self._chain.finish(rows.to(self._device), keys, view_salt(self._seed, 0, index))
            for rows, keys in zip(view.split(_PART), np.split(ids, range(_PART, len(ids), _PART)), strict=True)
        )
        return torch.cat([self._encoder(x, self._chain.valid(x)).pooled for x in finished]).float().cpu()
