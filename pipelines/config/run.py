"""The whole run as one typed value: what YAML fills, Tune varies and MLflow logs."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, NonNegativeInt, SerializeAsAny, model_validator

from pipelines.config import codecs
from pipelines.config.chosen import chosen
from pipelines.config.evaluate import EvaluateConfig, check_headline, check_tasks
from pipelines.config.flat import fingerprint, flat
from pipelines.config.review import ReviewConfig
from pipelines.config.sections import DataConfig, IngestConfig, RayConfig, RegistryConfig, TrackingConfig, TrainConfig
from pipelines.config.tune import TuneConfig
from ssl_core.catalog import checks_keys_only, find, named_in
from ssl_core.config import Config, LocalPath, NamedConfig
from ssl_core.optimize.optim_config import OptimConfig

FROM_ENVIRONMENT = ("tracking.uri", "ray.address")
"""Keys whose value may refer to environment variables; it is looked up where it is used and never dumped."""


AnySource = Annotated[SerializeAsAny[NamedConfig], named_in("pipelines.data.sources")]


class SourceConfig(Config):
    """What is read where there is no run: the input of `embed` and `export`."""

    source: AnySource


class SetupConfig(Config):
    """What ingest, evaluation and tracking read: the data, the encoder, where results are kept."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    """Of the run, and of the registered model."""
    seed: NonNegativeInt = 0
    storage: LocalPath = Path("selfray-runs")
    """Folder for shards, checkpoints, reports and the embedded MLflow; shared by all nodes of a cluster."""
    source: AnySource
    ingest: IngestConfig = IngestConfig()
    data: DataConfig = DataConfig()
    views: dict[str, Annotated[SerializeAsAny[NamedConfig], named_in("ssl_core.augment")]]
    """One augmentation chain per kind of view that the method reads; `eval` is the chain of all evaluation."""
    encoder: Annotated[SerializeAsAny[NamedConfig], named_in("ssl_core.encoders")]
    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig)
    registry: RegistryConfig = RegistryConfig()
    tracking: TrackingConfig = TrackingConfig()
    ray: RayConfig = RayConfig()

    @model_validator(mode="after")
    def _references_are_looked_up(self) -> Self:
        for key, value in flat(self).items():
            if key not in FROM_ENVIRONMENT and "${env:" in str(value):
                allowed = " and ".join(FROM_ENVIRONMENT)
                raise ValueError(f"{key}: ${{env:...}} is looked up in {allowed} only; write the value itself")
        return self


class RunConfig(SetupConfig):
    method: Annotated[SerializeAsAny[NamedConfig], named_in("ssl_core.methods")]
    optim: OptimConfig = OptimConfig()
    train: TrainConfig
    tune: TuneConfig | None = None
    """What `selfray tune` searches; other verbs do not look at it."""
    review: ReviewConfig = ReviewConfig()
    """What `selfray review` and `selfray promote` ask of a version; nothing before that looks at it."""

    @model_validator(mode="after")
    def _parts_agree(self) -> "RunConfig":
        """Build everything once without memory, so that what does not fit is said before Ray starts."""
        if checks_keys_only():
            return self
        from ssl_core.build import (  # torch: two seconds
            build_chain,
            build_method,
            check_encoder_reads,
            check_eval_view,
            check_views,
        )
        from ssl_core.encoders._at_layers import at_layers
        from ssl_core.optimize.sharding import check_shardable

        check_headline(self.evaluate)
        codecs.check(self)
        check_views(self.method, self.views)
        check_eval_view(self.views)
        check_tasks(self.evaluate, build_chain(self.views["eval"]))
        together = self.train.global_batch_size // self.train.accumulate
        if together < (fewest := find("ssl_core.methods", self.method.name).min_samples):
            raise ValueError(
                f"train.global_batch_size: {self.train.global_batch_size} / accumulate {self.train.accumulate} is "
                f"{together} per micro-batch; method {self.method.name} compares samples and needs at least {fewest}"
            )
        try:
            method = build_method(self.method, self.encoder, self.views, device="meta")
        except RuntimeError as error:  # a width whose square overflows
            raise ValueError(f"encoder and method cannot be built: {str(error).splitlines()[0]}") from None
        check_encoder_reads(method, self.method, self.views)
        at_layers(method.encoder, self.evaluate.layers)
        if self.train.parallel == "fsdp":
            check_shardable(method)
        return self


def identity(config: SetupConfig) -> str:
    """Hash of everything that decides what a run computes; where it lies, and what else could be tried, does not."""
    aside = ("storage", "tracking", "ray", "tune", "review")
    return fingerprint({key: value for key, value in chosen(config).items() if key not in aside})
