"""Frozen features of encoders and floors, made in one Ray Data pass over the eval views and kept on disk.

Shapes: B samples of a batch, N of a split, S side of a view, D feature width.
"""

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipelines import checkpoint
from pipelines.artifacts import ShardSet
from pipelines.config import RunConfig, fingerprint, parse
from pipelines.features import FeatureSet, raw_input
from pipelines.manifest import Manifest
from pipelines.stages import engine
from ssl_core.build import build_chain, build_method

Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Subject:
    """Something whose features the probes score: the encoder, or a floor."""

    name: str
    """`encoder`, `random_init` or `raw_input`."""
    identity: str
    """What tells its features from others on the same shards."""
    checkpoint: str | None = None
    """Folder of its weights; None: drawn from the run's seed."""


class Encode:
    """A Ray Data actor: eval views in, one feature vector per sample and subject out."""

    def __init__(self, config: dict[str, Any], subjects: Sequence[Subject]):
        run_config = parse(config)
        torch.set_num_threads(run_config.train.threads or os.cpu_count() or 1)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._chain = build_chain(run_config.views["eval"])
        self._encoders: dict[str, nn.Module | None] = {}
        for subject in subjects:
            if subject.name == "raw_input":
                self._encoders[subject.name] = None
                continue
            method = build_method(run_config.method, run_config.encoder, run_config.views, seed=run_config.seed)
            if subject.checkpoint is not None:
                method.load_state_dict(checkpoint.weights(Path(subject.checkpoint)))
            encoder = method.encoder.eval().to(self._device)
            self._encoders[subject.name] = encoder.to(memory_format=torch.channels_last)

    @torch.no_grad()
    def __call__(self, batch: Columns) -> dict[str, NDArray[Any]]:
        raw = torch.from_numpy(np.array(batch["view0"])).to(self._device)  # [B, S, S, 3] uint8
        view = self._chain.finish(raw)
        made: dict[str, NDArray[Any]] = {"sample_id": batch["sample_id"]}
        for name, encoder in self._encoders.items():
            features = raw_input(raw) if encoder is None else encoder(view).pooled  # [B, D]
            made[name] = features.float().cpu().numpy()
        return made


def features(
    config: RunConfig, shards: ShardSet, listing: Manifest, root: Path, subjects: Sequence[Subject]
) -> dict[str, FeatureSet]:
    """Features of every subject on both splits; what is not on disk yet is made in one pass over the shards."""
    view, limit = config.views["eval"].model_dump(mode="json"), config.evaluate.max_samples
    keys = {s.name: fingerprint([shards.digest, view, limit, s.name, s.identity])[:16] for s in subjects}
    kept: dict[str, FeatureSet] = {name: FeatureSet(folder=root / key) for name, key in keys.items()}
    missing = [s for s in subjects if not (kept[s.name].has("train") and kept[s.name].has("test"))]
    if not missing:
        return kept
    from pipelines.stages.views import both_splits

    engine.connect(config)
    engine.data_context(cpus=1 + config.data.cpus)
    data, num_train = both_splits(config, shards.folder, listing, limit)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*ray_remote_args")  # max_restarts has no other way in
        made = data.map_batches(
            Encode,
            fn_constructor_args=(config.model_dump(mode="json"), missing),
            batch_size=config.evaluate.batch_size,
            concurrency=1,
            num_gpus=int(engine.num_gpus() > 0),
            max_restarts=0,  # else Ray says on the terminal that restarts could lose the arguments; `run` again does it
        )
    parts = list(made.iter_batches(batch_size=None, batch_format="numpy"))
    sample_id = torch.from_numpy(np.concatenate([part["sample_id"] for part in parts]))  # [N]
    for subject in missing:
        rows = torch.from_numpy(np.concatenate([part[subject.name] for part in parts]))  # [N, D]
        kept[subject.name].keep("train", rows[:num_train], sample_id[:num_train])
        kept[subject.name].keep("test", rows[num_train:], sample_id[num_train:])
    return kept
