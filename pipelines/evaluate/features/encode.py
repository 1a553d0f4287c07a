"""Frozen features of encoders and floors, made in one Ray Data pass over the eval views and kept on disk.

Shapes: B samples of a batch, N of a split, S side of a view, D feature width.
"""

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipelines.config.flat import fingerprint
from pipelines.config.run import RunConfig, SetupConfig
from pipelines.data.shards.manifest import Manifest
from pipelines.data.shards.shard_set import ShardSet
from pipelines.evaluate.features.feature_set import FeatureSet
from pipelines.model import loader
from pipelines.runtime import capacity, session
from pipelines.train.artifact import Checkpoint
from ssl_core.build import build_chain, drawn_encoder, untrained
from ssl_core.config import NamedConfig
from ssl_core.encoders._at_layers import at_layers
from ssl_core.encoders.base import Encoder

if TYPE_CHECKING:
    from ray.data import Dataset

Columns = Mapping[str, NDArray[Any]]
FORMAT = 2
"""Of kept features: before 2, test rows could lie among those of train."""


@dataclass(frozen=True)
class Subject:
    """Something whose features the probes score: the encoder, or a floor."""

    name: str
    """`encoder`, `random_init` or `raw_input`."""
    identity: str
    """What tells its features from others on the same shards."""
    weights: str | None = None
    """Folder of a checkpoint or a packed model; None: drawn from the run's seed."""


@dataclass(frozen=True)
class Network:
    """What every subject but the raw input is built from."""

    encoder: NamedConfig
    view: NamedConfig
    seed: int
    threads: int | None
    layers: tuple[int, ...] = ()
    """See `evaluate.layer`."""

    def build(self, subject: Subject) -> Encoder:
        """In eval mode, on the CPU."""
        config = untrained(self.encoder)
        encoder = drawn_encoder(config, {"eval": self.view}, self.seed)
        if subject.weights is not None:
            encoder.load_state_dict(loader.encoder_weights(Path(subject.weights)))
        return at_layers(encoder.eval(), self.layers)


def network(config: SetupConfig) -> Network:
    threads = config.train.threads if isinstance(config, RunConfig) else None
    return Network(config.encoder, config.views["eval"], config.seed, threads, config.evaluate.layers)


def subjects_of(config: SetupConfig, given: Checkpoint) -> list[Subject]:
    """The encoder and its two floors."""
    trained, drawn = (e.model_dump(mode="json") for e in (config.encoder, untrained(config.encoder)))
    layers = [config.evaluate.layers] if config.evaluate.layers else []
    return [
        Subject("encoder", fingerprint([trained, given.digest, *layers]), str(given.folder)),
        Subject("random_init", fingerprint([drawn, config.seed, *layers])),
        Subject("raw_input", build_chain(config.views["eval"]).floor_name),
    ]


class Encode:
    """A Ray Data actor: views in, one feature vector per sample, view and subject out."""

    def __init__(self, network: Network, subjects: Sequence[Subject]):
        torch.set_num_threads(network.threads or os.cpu_count() or 1)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._chain = build_chain(network.view)
        self._encoders: dict[str, nn.Module | None] = {}
        for subject in subjects:
            self._encoders[subject.name] = None
            if subject.name != "raw_input":
                encoder = network.build(subject).to(self._device)
                self._encoders[subject.name] = encoder.to(memory_format=encoder.memory_format)

    @torch.no_grad()
    def __call__(self, batch: Columns) -> dict[str, NDArray[Any]]:
        """`view0`, `view1`, ... [B, S, S, 3] uint8 -> `SUBJECT/0`, `SUBJECT/1`, ... [B, D] float32."""
        made: dict[str, NDArray[Any]] = {"sample_id": batch["sample_id"]}
        for index in range(sum(name.startswith("view") and name[4:].isdecimal() for name in batch)):
            raw = torch.from_numpy(np.array(batch[f"view{index}"])).to(self._device)  # [B, S, S, 3] uint8
            view, valid = self._chain.finish(raw), self._chain.valid(raw)
            for name, encoder in self._encoders.items():
                features = self._chain.floor(raw, valid) if encoder is None else encoder(view, valid).pooled  # [B, D]
                made[f"{name}/{index}"] = features.float().cpu().numpy()
        return made


def features(
    config: SetupConfig, shards: ShardSet, listing: Manifest, root: Path, subjects: Sequence[Subject]
) -> dict[str, FeatureSet]:
    """Features of every subject on both splits; what is not on disk yet is made in one pass over the shards."""
    view, limit = config.views["eval"].model_dump(mode="json"), config.evaluate.max_samples
    keys = {s.name: fingerprint([FORMAT, shards.digest, view, limit, s.name, s.identity])[:16] for s in subjects}
    kept: dict[str, FeatureSet] = {name: FeatureSet(folder=root / key) for name, key in keys.items()}
    missing = [s for s in subjects if not (kept[s.name].has("train") and kept[s.name].has("test"))]
    if not missing:
        return kept
    from pipelines.data.batches.stream import both_splits

    session.connect(config)
    data, num_train = both_splits(config, shards.folder, listing, limit)
    sample_id, made = embed(config, data, missing)
    for subject in missing:
        rows = made[f"{subject.name}/0"]
        kept[subject.name].keep("train", rows[:num_train], sample_id[:num_train])
        kept[subject.name].keep("test", rows[num_train:], sample_id[num_train:])
    return kept


def embed(config: SetupConfig, data: "Dataset", subjects: Sequence[Subject]) -> tuple[Tensor, dict[str, Tensor]]:
    """Stream a data set of views through the actor; the caller has connected to Ray.

    Returns: sample ids [N], and `SUBJECT/VIEW` -> features [N, D], in the order of the data.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*ray_remote_args")  # max_restarts has no other way in
        made = data.map_batches(
            Encode,
            fn_constructor_args=(network(config), subjects),
            batch_size=config.evaluate.batch_size,
            concurrency=1,
            num_gpus=int(capacity.num_gpus() > 0),
            max_restarts=0,  # else Ray says on the terminal that restarts could lose the arguments; `run` again does it
        )
    parts = list(made.iter_batches(batch_size=None, batch_format="numpy"))
    columns = {name: torch.from_numpy(np.concatenate([part[name] for part in parts])) for name in parts[0]}
    return columns.pop("sample_id"), columns
