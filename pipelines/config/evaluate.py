"""The keys under `evaluate:`."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SerializeAsAny,
    model_validator,
)

from ssl_core.augment._image.corruptions import COMMON, Kind
from ssl_core.augment.base import Augmentation
from ssl_core.catalog import config_type, find, named_in, names
from ssl_core.config import Config, NamedConfig

Fraction = Annotated[float, Field(ge=0, le=1)]

MEAN = "robust_top1"
"""Name of the score of robustness: the mean over all corruptions and severities."""
FINE_TUNED = "fine_tune_top1"
"""Name of the score of fine-tuning."""
TASKS = "pipelines.evaluate.tasks"
"""Where tasks are found by name: a config imports none of them."""
SHORT = ("robustness", "fine_tune")
"""Tasks that may also be given as keys of their own."""
QUICK = ("knn", "linear_probe", "few_label")
FULL: Mapping[str, Mapping[str, Any]] = {"clustering": {"dbscan": True}}
"""What the full suite sets."""


def _probes(given: Mapping[str, Any]) -> tuple[NamedConfig, ...]:
    """Those of the suite: the quick ones, or all there are."""
    full = given.get("suite") == "full"
    chosen = [*QUICK, *(name for name in names("ssl_core.evaluate") if name not in QUICK)] if full else QUICK
    more = FULL if full else {}
    kinds = {name: config_type("ssl_core.evaluate", name) for name in chosen}
    return tuple(kind.model_validate(more.get(name, {})) for name, kind in kinds.items())  # type: ignore[misc]


class RobustnessConfig(Config):
    corruptions: Annotated[tuple[Kind, ...], Field(min_length=1)] = COMMON
    """Which of the common corruptions: the paper's 15; see ssl_core/augment/_image/corruptions.py."""
    severities: Annotated[tuple[Annotated[int, Field(ge=1, le=5)], ...], Field(min_length=1)] = (1, 2, 3, 4, 5)
    max_samples: PositiveInt = 2000
    """Of the test split, spread evenly over it: each is encoded once per corruption and severity."""


def _robustness(given: Mapping[str, Any]) -> RobustnessConfig | None:
    named = any(task.name == "robustness" for task in given.get("tasks", ()))
    return RobustnessConfig() if given.get("suite") == "full" and not named else None


class FineTuneConfig(Config):
    """All weights trained on the labels of train; defaults after MAE, table 9 (He et al., 2022), at small scale."""

    epochs: PositiveInt = 20
    lr: PositiveFloat = 5e-4
    """For a global batch of 256, scaled linearly; AdamW with a warm-up and a cosine."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 0.75
    """Learning rate of a layer over that of the layer above it; the random-init floor is trained without."""
    weight_decay: NonNegativeFloat = 0.05
    warmup_fraction: Fraction = 0.05
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    global_batch_size: PositiveInt = 128
    view: Annotated[SerializeAsAny[NamedConfig], named_in("ssl_core.augment")] | None = None
    """Augmentation of the train images; null: image_crop at the size of the eval view."""


def check_headline(config: "EvaluateConfig") -> None:
    """
    Raises:
        ValueError: nothing that is measured can give a score of that name.
    """
    probes = [find("ssl_core.evaluate", probe.name)(probe) for probe in config.probes]
    known = [name for probe in probes for name in probe.score_names]
    known += [find(TASKS, task.name).score for _, task in listed_tasks(config)]
    if not known:
        raise ValueError("evaluate.probes: is empty and no task is asked for, so nothing would be scored; name one")
    if config.headline and config.headline not in known:
        close = get_close_matches(config.headline, known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"it can be one of {', '.join(known)}"
        raise ValueError(f"evaluate.headline: nothing measured gives '{config.headline}'; {hint}")


def listed_tasks(config: "EvaluateConfig") -> list[tuple[str, NamedConfig]]:
    """Dotted key -> task, those of keys of their own first."""
    own = [(name, getattr(config, name)) for name in SHORT if getattr(config, name) is not None]
    made = [(f"evaluate.{name}", config_type(TASKS, name).model_validate(given.model_dump())) for name, given in own]
    return [*made, *((f"evaluate.tasks.{index}", task) for index, task in enumerate(config.tasks))]  # type: ignore[list-item]


def check_tasks(config: "EvaluateConfig", chain: Augmentation) -> None:
    """
    Args:
        chain: of the eval view.
    Raises:
        ValueError: a task cannot be done on such views.
    """
    for key, task in listed_tasks(config):
        try:
            find(TASKS, task.name)(task).check(chain)
        except ValueError as error:
            if not _is_of_suite(config, key):
                raise ValueError(f"{key}: {error}") from None


def allowed_tasks(config: "EvaluateConfig", chain: Augmentation) -> list[NamedConfig]:
    """The tasks that views of this chain allow; the full suite asks for all there are, so it leaves the others out."""
    found = []
    for key, task in listed_tasks(config):
        try:
            find(TASKS, task.name)(task).check(chain)
        except ValueError:
            if not _is_of_suite(config, key):
                raise
            continue
        found.append(task)
    return found


def _is_of_suite(config: "EvaluateConfig", key: str) -> bool:
    return config.suite == "full" and key == "evaluate.robustness"


class EvaluateConfig(Config):
    suite: Literal["quick", "full"] = "quick"
    """What is measured where `probes` and `robustness` are not given: kNN, linear probe and few labels, or everything
    but fine-tuning; without labels, what needs none."""
    probes: tuple[Annotated[SerializeAsAny[NamedConfig], named_in("ssl_core.evaluate")], ...] = Field(
        default_factory=_probes
    )
    layer: int | tuple[int, ...] | None = None
    """Layer of the encoder whose features are scored and registered, several side by side; null: the last one. Blocks
    of transformers, stages of convolutional networks, counted from 0, or from -1 backwards."""
    headline: str = ""
    """The score that the verdict quotes; empty: the first one."""
    batch_size: PositiveInt = 256
    max_samples: PositiveInt = 100_000
    """Of each split, spread evenly over it: probes hold their features in memory."""
    resamples: NonNegativeInt = 1000
    """Bootstrap resamples of the test split behind every interval; 0: no intervals."""
    view_samples: NonNegativeInt = 256
    """Test samples encoded in ten training views each, for alignment and LiDAR; 0: neither is measured."""
    leaks: bool = True
    """Look for test samples that are near copies of train samples; reads all shards once per data set."""
    map_samples: PositiveInt = 1000
    """Test samples drawn in the embedding map and searched for the neighbour gallery."""
    tasks: tuple[Annotated[SerializeAsAny[NamedConfig], named_in(TASKS)], ...] = ()
    """What takes more than frozen features, e.g. [{name: robustness}, {name: fine_tune, epochs: 50}]; each once."""
    robustness: RobustnessConfig | None = Field(default_factory=_robustness)
    """Linear probe under common corruptions; {} takes all of them at all severities, as suite full does; null: none."""
    fine_tune: FineTuneConfig | None = None
    """Accuracy of all weights trained on the labels; {} takes the defaults. Costs a training, twice."""

    @property
    def layers(self) -> tuple[int, ...]:
        """Empty: the last one's, as the encoder gives them."""
        return () if self.layer is None else (self.layer,) if isinstance(self.layer, int) else self.layer

    @model_validator(mode="after")
    def _each_task_once(self) -> "EvaluateConfig":
        given = [name for name in SHORT if getattr(self, name) is not None] + [task.name for task in self.tasks]
        if twice := [name for name in given if given.count(name) > 1]:
            raise ValueError(f"tasks: {twice[0]} is asked for twice; give it once")
        return self
