"""The `tune:` section of a recipe: what is searched, how trials are ranked, when they are stopped."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from itertools import combinations
from math import isfinite
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, field_validator, model_serializer
from pydantic import model_validator as validator

from ssl_core.config import Config

Whole = int  # `int` is a key of Range


class Metric(NamedTuple):
    """Something that ranks trials; larger is better once `oriented`."""

    needs_labels: bool
    meaning: str


METRICS = {
    "knn_top1": Metric(True, "kNN (k=20, cosine) of the held-out slice of train in the rest of it"),
    "linear_top1": Metric(True, "linear probe fitted on the rest of train, scored on the held-out slice"),
    "rankme": Metric(False, "effective rank of the features (Garrido et al., 2023), more is taken for better"),
    "alignment_uniformity": Metric(False, "alignment + uniformity (Wang & Isola, 2020), less is taken for better"),
    "lidar": Metric(False, "rank of the between-sample scatter (Thilak et al., 2023), more is taken for better"),
    "alpha_req": Metric(False, "decay of the spectrum (Agrawal et al., 2022), near 1 is taken for better"),
    "loss": Metric(False, "the pretext loss, less is taken for better"),
}


def oriented(metric: str, value: float) -> float:
    """The value such that larger is better."""
    if metric == "alpha_req":
        return -abs(value - 1)
    return -value if metric in ("loss", "alignment_uniformity") else value


class Range(Config):
    """The values of one key; exactly one of the four, e.g. `{loguniform: [0.05, 1.0]}`."""

    choice: tuple[Any, ...] | None = None
    uniform: tuple[float, float] | None = None
    loguniform: tuple[float, float] | None = None
    int: tuple[Whole, Whole] | None = None
    """Whole numbers, both ends included."""

    @validator(mode="before")
    @classmethod
    def _is_written_out(cls, given: Any) -> Any:
        if isinstance(given, list | tuple):
            values = ", ".join(map(str, given))
            raise ValueError(f"is a list; write {{choice: [{values}]}}, or a range, e.g. {{uniform: [a, b]}}")
        return given

    @property
    def kind(self) -> str:
        return next(iter(self.model_fields_set))

    @property
    def values(self) -> Sequence[Any] | None:
        """All of them; None: a continuum. Whole numbers are not written out: there may be billions."""
        if self.int is not None:
            return range(self.int[0], self.int[1] + 1)
        return self.choice

    @property
    def num_values(self) -> Whole | None:
        """None: a continuum. May be more than `len` can say."""
        if self.int is not None:
            return self.int[1] - self.int[0] + 1
        return None if self.choice is None else len(self.choice)

    @property
    def ends(self) -> tuple[Any, ...]:
        """Each choice, or both ends."""
        return self.choice or self.uniform or self.loguniform or self.int or ()

    @validator(mode="after")
    def _is_a_range(self) -> "Range":
        if len(self.model_fields_set) != 1 or not self.ends:
            raise ValueError("give one of choice: [...], uniform: [a, b], loguniform: [a, b], int: [a, b]")
        if self.choice is not None:
            texts = [repr(value) for value in self.choice]
            if doubled := sorted({text for text in texts if texts.count(text) > 1}):
                raise ValueError(f"choice names {', '.join(doubled)} twice")
        if len(self.ends) == 1 or (self.choice is None and self.ends[0] == self.ends[1]):
            raise ValueError(f"holds one value only ({self.ends[0]}); set the key itself to it")
        if self.choice is None and self.ends[0] > self.ends[1]:
            raise ValueError(f"{self.kind} {list(self.ends)}: the first end must be the lower one")
        if self.loguniform is not None and self.loguniform[0] <= 0:
            raise ValueError(f"loguniform {list(self.ends)}: both ends must be above 0")
        if self.choice is None and not all(map(isfinite, self.ends)):
            raise ValueError(f"{self.kind} {list(self.ends)}: the ends must be finite")
        return self

    @model_serializer
    def _only_what_is_set(self) -> dict[str, Any]:
        return {self.kind: list(self.ends)}


class ConfirmConfig(Config):
    """The best configs run again on fresh seeds, beside the recipe's own config."""

    top_k: PositiveInt = 2
    seeds: NonNegativeInt = 3
    """Fresh seeds of each; 0 skips the confirmation, and then no noise is known."""


class TuneConfig(Config):
    space: dict[str, Range] = {}
    """Dotted key -> its range, e.g. `method.temperature: {loguniform: [0.05, 1.0]}`."""
    num_trials: PositiveInt = 16
    searcher: Literal["optuna", "random", "grid"] = "optuna"
    """optuna: TPE (Bergstra et al., 2011); grid needs `choice` or `int` and runs at most num_trials of it, in an order
    that the seed draws, so that those which are run are spread over all of it."""
    scheduler: Literal["asha", "none"] = "asha"
    """asha: asynchronous successive halving (Li et al., 2020), in its stopping form."""
    grace: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of a full training before which nothing is stopped; at a tenth, who is stopped is nearly a lottery."""
    reduction: Annotated[int, Field(ge=2)] = 3
    """At each rung the best 1/reduction go on; the next rung is `reduction` times as far."""
    looks: PositiveInt = 9
    """Times that a trial's representation is scored, evenly spread; rungs lie at looks."""
    metric: str = "knn_top1"
    holdout: Annotated[float, Field(gt=0, le=0.5)] = 0.25
    """Share of the scored train samples that is held out from the probes; the test split is never read."""
    samples: Annotated[int, Field(ge=32)] = 4096
    """About how many train samples are scored at each look, spread evenly over the split."""
    view_samples: Annotated[int, Field(ge=8)] = 256
    """About how many, spread alike, are augmented four times for alignment and LiDAR."""
    min_feature_std: NonNegativeFloat = 0.01
    """A trial whose features spread less than this (0: all point one way, 1: evenly) is stopped as collapsed."""
    min_rankme: NonNegativeFloat = 1.5
    """The same for the effective rank."""
    confirm: ConfirmConfig = ConfirmConfig()
    max_concurrent: PositiveInt | None = None
    """Trials at a time; by default what the CPUs (GPUs) of the cluster hold."""

    @validator(mode="before")
    @classmethod
    def _without_retired(cls, raw: Any) -> Any:
        """Records of older versions hold the size of a cache that never changed what trials compute."""
        return {key: value for key, value in raw.items() if key != "decoded_cache_mb"} if isinstance(raw, dict) else raw

    @field_validator("space")
    @classmethod
    def _keys_stand_apart(cls, space: Mapping[str, Range]) -> Mapping[str, Range]:
        if not space:
            raise ValueError("is empty; name the keys to search, e.g. method.temperature: {loguniform: [0.05, 1.0]}")
        for one, other in combinations(sorted(space), 2):
            if other.startswith(f"{one}."):
                raise ValueError(f"{one} and {other} overlap; search one of them")
        return space

    @field_validator("scheduler", mode="before")
    @classmethod
    def _not_population_based(cls, scheduler: object) -> object:
        if scheduler in ("pbt", "pb2"):
            raise ValueError(
                "population based training copies checkpoints that Ray Tune keeps from trial to trial; trials on Ray "
                "Train V2 give Tune none, so it would copy nothing; take asha or none"
            )
        return scheduler

    @field_validator("metric")
    @classmethod
    def _never_test(cls, metric: str) -> str:
        if metric in METRICS:
            return metric
        choices = ", ".join(METRICS)
        if "test" in metric or metric.startswith(("knn_top1_k", "few_label")):
            raise ValueError(f"'{metric}' is a score on the test split, which chooses nothing; take one of {choices}")
        close = get_close_matches(metric, METRICS, n=1)
        raise ValueError(f"there is no '{metric}'; " + (f"did you mean '{close[0]}'?" if close else f"take {choices}"))

    @validator(mode="after")
    def _parts_agree(self) -> "TuneConfig":
        if self.searcher == "grid" and (endless := [key for key, r in self.space.items() if r.values is None]):
            raise ValueError(f"searcher grid needs choice or int, not {', '.join(endless)}; list the values")
        if self.scheduler == "asha" and round(self.grace * self.looks) < 1:
            raise ValueError(f"grace {self.grace} is before the first of {self.looks} looks; raise looks or grace")
        return self
