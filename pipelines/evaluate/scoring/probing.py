"""Every probe on the frozen features of one subject, with what is needed to say how sure each score is.

Asked twice, it is read from the folder of the features.

Shapes: M test samples, R resamples.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from pipelines.config.flat import fingerprint
from pipelines.evaluate.features.feature_set import FeatureSet
from pipelines.evaluate.scoring.scores import is_compared, is_error
from pipelines.storage.atomic import write_tensors
from ssl_core.catalog import find
from ssl_core.config import NamedConfig
from ssl_core.evaluate._maths.resample import replicates
from ssl_core.evaluate.base import Labelled, Probe, Score
from ssl_core.measures.statistics import percentiles

FORMAT = 4
"""Of the kept files; raised when they hold something else."""


@dataclass(frozen=True)
class Measured:
    """What one subject scored."""

    scores: dict[str, float] = field(default_factory=dict)
    values: dict[str, Tensor] = field(default_factory=dict)
    """Score -> [M] float32, one per test sample, whose mean is the score; absent where it is no such mean. A task that
    looked at some samples only gives one for each of these."""
    replicates: dict[str, Tensor] = field(default_factory=dict)
    """Score -> [R] float64 on bootstrap resamples of the test samples, the same ones for all subjects."""
    predicted: dict[str, Tensor] = field(default_factory=dict)
    """Score -> [M] int64 classes; absent where there is no single prediction per sample."""

    def add(self, scores: Mapping[str, Score], seed: int, resamples: int) -> None:
        """Take in scores measured elsewhere, each a mean over test samples, or over some of them."""
        for name, score in scores.items():
            self.scores[name] = score.value
            if score.per_sample is not None:
                self.replicates.update(replicates({name: score}, len(score.per_sample), seed, resamples))
                self.values[name] = score.per_sample.to(torch.float32)

    def intervals(self) -> dict[str, tuple[float, float]]:
        """Score -> its 95 % interval."""
        return {name: percentiles(draws) for name, draws in self.replicates.items()}


def measure(
    features: FeatureSet,
    probes: Sequence[NamedConfig],
    labels: Mapping[str, Mapping[int, int]],
    seed: int,
    resamples: int,
    done: Callable[[dict[str, float]], None],
) -> Measured:
    """Run each probe that has not been run on these features.

    Args:
        labels: `train` and `test` -> sample id -> class number.
        resamples: of the test samples; 0: no replicates.
        done: called after each probe with its scores.
    """
    built: list[Probe] = [find("ssl_core.evaluate", config.name)(config) for config in probes]
    paths = [_path(features.folder, config, seed, resamples) for config in probes]
    found: dict[Path, dict[str, Score]] = {}
    sides: tuple[Labelled, Labelled] | None = None
    for probe, path in zip(built, paths, strict=True):
        if not path.exists():
            sides = sides or (features.labelled("train", labels["train"]), features.labelled("test", labels["test"]))
            found[path] = probe.measure(*sides, seed)
        done(_read(path).scores if path.exists() else {name: s.value for name, s in found[path].items()})
    if sides:
        every = {name: score for scores in found.values() for name, score in scores.items()}
        draws = replicates(every, len(sides[1].label), seed, resamples)  # one pass for all: drawing is the dear part
        for path, scores in found.items():
            _keep(path, scores, draws)
    made = Measured()
    for path in paths:
        part = _read(path)
        for name in ("scores", "values", "replicates", "predicted"):
            getattr(made, name).update(getattr(part, name))
    return made


def gains(encoder: Measured, floors: Sequence[Measured]) -> dict[str, tuple[float, float]]:
    """Score -> 95 % interval of the encoder's gain over the better floor, on the same resamples of the test samples."""
    found = {}
    for name, draws in encoder.replicates.items():
        if not is_compared(name):
            continue
        sign = -1 if is_error(name) else 1
        measured = [floor for floor in floors if name in floor.replicates]
        if measured:
            better = max(measured, key=lambda floor: sign * floor.scores[name])
            found[name] = percentiles(sign * (draws - better.replicates[name]))
    return found


def _path(folder: Path, config: NamedConfig, seed: int, resamples: int) -> Path:
    probe = find("ssl_core.evaluate", config.name)
    key = fingerprint([FORMAT, probe.version, config.model_dump(mode="json"), seed, resamples])[:16]
    return folder / f"probe-{key}.safetensors"


def _keep(path: Path, scores: Mapping[str, Score], draws: Mapping[str, Tensor]) -> None:
    tensors: dict[str, Tensor] = {f"replicates/{name}": draws[name] for name in scores if name in draws}
    for name, score in scores.items():
        if score.per_sample is not None:
            tensors[f"values/{name}"] = score.per_sample.to(torch.float32)
        if score.predicted is not None:
            tensors[f"predicted/{name}"] = score.predicted
    values = {name: score.value for name, score in scores.items()}
    write_tensors(path, tensors, {"scores": json.dumps(values)})


def _read(path: Path) -> Measured:
    with safe_open(path, "pt") as file:
        made = Measured(scores=json.loads(file.metadata()["scores"]))
        for key in file.keys():  # noqa: SIM118 - safe_open is no mapping
            kind, name = key.split("/", 1)
            getattr(made, kind)[name] = file.get_tensor(key)
    return made
