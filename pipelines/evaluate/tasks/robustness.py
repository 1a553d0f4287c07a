"""Features of the test split under common corruptions, and what a linear probe of clean features makes of them.

Shapes: N samples of the test split that are looked at, K corrupted copies of each, D feature width.
"""

from collections.abc import Sequence
from itertools import product
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from pipelines.config.evaluate import MEAN, RobustnessConfig
from pipelines.config.flat import fingerprint
from pipelines.config.run import SetupConfig
from pipelines.data.shards.writing import MAX_GROUP_ROWS
from pipelines.evaluate.features import encode
from pipelines.evaluate.features.feature_set import FeatureSet
from pipelines.evaluate.tasks._robustness_table import Robustness, summed_up
from pipelines.evaluate.tasks.base import Evaluated, EvaluationTask, Outcome
from pipelines.runtime import session
from pipelines.storage import outbox
from ssl_core.augment.base import Augmentation
from ssl_core.augment.image_corrupt import ImageCorrupt
from ssl_core.build import build_chain
from ssl_core.config import NamedConfig
from ssl_core.evaluate._maths.resample import replicates
from ssl_core.evaluate.base import Labelled, Score, mean_score
from ssl_core.evaluate.linear_probe import LinearProbe
from ssl_core.measures.statistics import percentiles
from ssl_core.spec import IMAGE_AXES

Case = tuple[str, int]
"""A corruption and its severity; severity 0 is the clean view."""
CLEAN: Case = ("clean", 0)
PASS_BYTES = 192 << 20
"""Of the views of one row group, all corruptions side by side."""


class Corrupted(NamedTuple):
    """What was found out about one subject."""

    table: Robustness
    shares: Tensor
    """[N] float64, of its corrupted copies that each test sample was told from."""
    sample_id: Tensor
    """[N] int64, the test samples that were looked at."""


class CorruptionRobustness(EvaluationTask):
    """Accuracy under common corruptions of a linear probe that was fitted on clean features; images only."""

    score = MEAN

    class Config(RobustnessConfig, NamedConfig):
        name: Literal["robustness"] = "robustness"

    def __init__(self, config: Config):
        self.config = config

    @property
    def protocol(self) -> str:
        settings = self.config
        return (
            f"robustness v1: linear probe of clean train features on {len(settings.corruptions)} common corruptions "
            f"({', '.join(settings.corruptions)}) at severities {', '.join(map(str, settings.severities))}; at most "
            f"{settings.max_samples} test samples; score: mean over all"
        )

    def check(self, chain: Augmentation) -> None:
        if chain.spec.axes != IMAGE_AXES:
            raise ValueError(f"corruptions are of images; the views are {' x '.join(chain.spec.axes)}")

    def measure(self, given: Evaluated, outcome: Outcome) -> None:
        if not given.labels:  # the report says that nothing could be scored
            return
        outbox.note(given.folder, f"robustness: the test split under {len(self.config.corruptions)} corruptions")
        found = robustness(given, self.config)
        for name, side in found.items():
            outcome.scores[name][MEAN] = mean_score(side.shares)
        outcome.sample_id[MEAN], outcome.robustness = found["encoder"].sample_id, found["encoder"].table
        outcome.metrics |= outcome.robustness.metrics()
        outcome.protocols["robustness"] = self.protocol


def robustness(given: Evaluated, settings: RobustnessConfig) -> dict[str, Corrupted]:
    """By subject. The probe is fitted once per subject, on the clean train features, and reads every copy."""
    config, labels = given.config, given.labels
    cases = [CLEAN, *product(settings.corruptions, settings.severities)]
    corrupted = _features(given, settings, cases)
    found = {}
    for subject in given.subjects:
        train = given.features[subject.name].labelled("train", labels["train"])
        copies = [corrupted[subject.name, case].labelled("test", labels["test"]) for case in cases]
        label = torch.cat([copy.label for copy in copies])  # [K * N]
        test = Labelled(torch.cat([copy.features for copy in copies]), label)
        predicted = LinearProbe(LinearProbe.Config()).predict(train, test, config.seed)  # [K * N]
        hits = (predicted == label).view(len(cases), -1)  # [K, N]
        rows = {case: row.tolist() for case, row in zip(cases, hits, strict=True)}
        clean = rows.pop(CLEAN)
        table = summed_up(rows, clean, settings.severities)
        intervals = _intervals(hits, cases, config.seed, config.evaluate.resamples)
        found[subject.name] = Corrupted(
            table.model_copy(update={"intervals": intervals}),
            hits[1:].double().mean(dim=0),
            corrupted[subject.name, CLEAN].load("test")[1],
        )
    return found


def _intervals(hits: Tensor, cases: Sequence[Case], seed: int, resamples: int) -> dict[str, tuple[float, float]]:
    """The 95 % interval of every metric of the table, over resamples of the test samples.

    Args:
        hits: [K, N] bool, the clean ones first.
    """
    right, kinds = hits.double(), [kind for kind, _ in cases]
    of_kind = {kind: right[[k == kind for k in kinds]].mean(dim=0) for kind in dict.fromkeys(kinds)}  # [N] each
    clean = of_kind.pop(CLEAN[0])
    values = {"robustness/clean_top1": clean, "robustness/drop": clean - right[1:].mean(dim=0)}
    for kind, share in of_kind.items():
        values |= {f"robustness/{kind}_top1": share, f"robustness/{kind}_drop": clean - share}
    means = {name: Score(float(value.mean()), value) for name, value in values.items()}
    return {name: percentiles(draws) for name, draws in replicates(means, len(clean), seed, resamples).items()}


def _features(
    given: Evaluated, settings: RobustnessConfig, cases: Sequence[Case]
) -> dict[tuple[str, Case], FeatureSet]:
    """What is not on disk yet is made in as few passes as `PASS_BYTES` allows: each starts an actor, some seconds."""
    from pipelines.data.batches.stream import one_split

    config, shards, subjects = given.config, given.shards, given.subjects
    root = next(iter(given.features.values())).folder.parent
    kept: dict[tuple[str, Case], FeatureSet] = {}
    at_once = max(1, PASS_BYTES // (MAX_GROUP_ROWS * build_chain(config.views["eval"]).spec.nbytes))
    for first in range(0, len(cases), at_once):
        part = cases[first : first + at_once]
        for subject, (place, case) in product(subjects, enumerate(part)):
            view = _view(config, case).model_dump(mode="json")
            drawn = [config.seed, place]  # what a view's draws are keyed by
            key = fingerprint([shards.digest, view, settings.max_samples, subject.name, subject.identity, drawn])
            kept[subject.name, case] = FeatureSet(folder=root / key[:16])
        missing = [s for s in subjects if not all(kept[s.name, case].has("test") for case in part)]
        if not missing:
            continue
        session.connect(config)
        chains = [_view(config, case) for case in part]
        data = one_split(config, shards.folder, given.listing, "test", settings.max_samples, chains)
        sample_id, made = encode.embed(config, data, missing)
        for subject, (place, case) in product(missing, enumerate(part)):
            kept[subject.name, case].keep("test", made[f"{subject.name}/{place}"], sample_id)
    return kept


def _view(config: SetupConfig, case: Case) -> NamedConfig:
    """The eval view, corrupted."""
    view, (kind, severity) = config.views["eval"], case
    if case == CLEAN:
        return view
    crop = view.model_dump(include={"size", "crop_fraction"})
    return ImageCorrupt.Config.model_validate({**crop, "kind": kind, "severity": severity})
