"""Sections of a recipe that belong to the product as a whole; components bring their own."""

from typing import Annotated, Literal, cast

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SerializeAsAny,
    field_serializer,
    model_validator,
)

from pipelines.config import secret
from pipelines.config.evaluate import Fraction
from ssl_core.catalog import config_type, named_in
from ssl_core.config import Config, NamedConfig


class IngestConfig(Config):
    max_bad_fraction: Fraction = 0.01
    """Stop when a larger share of the samples cannot be read; below it they go to quarantine.parquet."""
    max_pixels: PositiveInt = 50_000_000
    """Refuse larger images before decoding them (decompression bombs)."""
    resize_shorter: PositiveInt | None = None
    """Pixels of the shorter side above which images are stored smaller, for views of no more; null: as they are."""
    dark_16_bit: Literal["refuse", "keep"] = "refuse"
    """Of 16-bit gray images that all use 14 bits or fewer: 8 bits of them would be nearly black; keep: so be it."""
    codecs: dict[str, Annotated[SerializeAsAny[NamedConfig], named_in("ssl_core.codecs")]] = {}
    """Field of a sample -> the limits of its codec, e.g. {series: {name: series, max_values: 1000000}}."""
    test_fraction: Fraction = 0.1
    """Share of the samples held out for evaluation when the source has no test split of its own."""
    shard_mb: PositiveInt = 64
    row_group_kb: PositiveInt = 512
    """Bytes of samples per row group (at most 256 rows): the unit that a shuffle window reads."""

    def codec(self, field: str, name: str) -> NamedConfig:
        """The config of a field's codec.

        Raises:
            ValueError: `codecs` names another one for this field.
        """
        given = self.codecs.get(field)
        if given is None:
            limits = {"max_pixels": self.max_pixels, "resize_shorter": self.resize_shorter} if name == "image" else {}
            return cast(NamedConfig, config_type("ssl_core.codecs", name).model_validate({"name": name, **limits}))
        if given.name != name:
            raise ValueError(f"ingest.codecs.{field}: is {given.name}; the source and the views need {name}")
        return given


class DataConfig(Config):
    shuffle_rows: PositiveInt = 16_384
    """Rows shuffled together, rounded up to whole row groups; see data/batches/order.py for what that is worth."""
    block_mb: PositiveInt = 16
    """Augmented bytes per Ray Data block; smaller blocks cost 20-40 ms of CPU each."""
    cpus: PositiveInt = 1
    """CPUs reserved for reading and augmenting, per training worker."""
    slow_read_seconds: PositiveFloat = 30
    """A read that takes longer is reported, with the file's name; it goes on all the same."""


class TrainConfig(Config):
    epochs: PositiveInt | None = None
    steps: PositiveInt | None = None
    """Optimizer steps; give this or `epochs`."""
    global_batch_size: PositiveInt = 256
    num_workers: PositiveInt = 1
    min_workers: PositiveInt | None = None
    """When nodes leave, go on with as few, and with more again when nodes come; by default `num_workers`."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """ddp: each worker holds the whole method; fsdp: its share of weights, gradients and optimizer state."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 autocast on CUDA and where all workers' CPUs have AVX512-BF16 or AMX, else fp32. What a run began in
    it keeps, also when it goes on elsewhere."""
    accumulate: PositiveInt = 1
    """Micro-batches per optimizer step, all of one weight; a contrastive loss then sees the negatives of one of them,
    and a mean over tokens is over the tokens of one of them."""
    compile: bool = False
    """Compile the encoders with torch.compile: worth its minute at the start in all but short runs on a GPU."""
    threads: PositiveInt | None = None
    """CPU threads of one worker; by default the machine's cores shared out."""
    log_every: PositiveInt = 10
    """Steps between logged points; also how often the loss is checked to be finite."""
    checkpoint_seconds: PositiveFloat = 60
    monitor_every: PositiveInt | None = None
    """Steps between looks at the representation (kNN, RankMe, ...); by default twenty in a run."""
    monitor_samples: NonNegativeInt = 1024
    """Train samples that these looks encode; 0 turns them off."""
    max_failures: NonNegativeInt = 3
    """Worker crashes that a run, or each trial of a campaign, survives before it gives up."""

    @model_validator(mode="after")
    def _even_split(self) -> "TrainConfig":
        if (self.epochs is None) == (self.steps is None):
            both = ", not both; set the other to null, e.g. --set train.epochs=null" if self.epochs else ""
            raise ValueError(f"give either epochs or steps{both}")
        if self.fewest_workers > self.num_workers:
            raise ValueError(f"min_workers {self.min_workers} is more than num_workers {self.num_workers}")
        for workers in range(self.fewest_workers, self.num_workers + 1):
            if self.global_batch_size % (workers * self.accumulate):
                raise ValueError(
                    f"global_batch_size {self.global_batch_size} does not split over "
                    f"num_workers {workers} x accumulate {self.accumulate}"
                    + (f"; min_workers {self.min_workers} lets it come to that" if workers < self.num_workers else "")
                )
        if self.compile and self.parallel == "fsdp":
            raise ValueError("compile has not been tried with parallel fsdp; turn it off, or take parallel ddp")
        return self

    @property
    def fewest_workers(self) -> int:
        return self.min_workers or self.num_workers

    def num_steps(self, batches_per_epoch: int) -> int:
        """Optimizer steps of the whole training."""
        return self.steps or (self.epochs or 0) * batches_per_epoch


class RegistryConfig(Config):
    examples: NonNegativeInt = 0
    """Test samples stored with the version, to check it by; 0: drawn pictures, so that no data leaves with a model."""


class TrackingConfig(Config):
    uri: Annotated[str | None, Field(repr=False)] = None
    """MLflow tracking server; by default SQLite under `storage`. `${env:NAME}` keeps a password out of the recipe."""
    experiment: str = "selfray"
    when_unreachable: Literal["error", "outbox"] = "error"
    """At the start: stop with a clear line, or keep everything in the local outbox and ship it on the next run."""

    @field_serializer("uri")
    def _without_login(self, uri: str | None) -> str | None:
        """Nothing that is dumped (MLflow, stage folders, Ray's state) holds a password."""
        return uri and secret.shown(uri)


class RayConfig(Config):
    address: str = "local"
    """`local` starts a Ray of our own; else the address of a running cluster; `auto`: the one this job runs in."""
    num_cpus: PositiveInt | None = None
    """Logical CPUs of the local Ray; by default what the run needs, at least the machine's cores."""
    worker_resource: str | None = None
    """A custom resource of Ray, e.g. `trainer`, of which each training worker takes one: nodes without it only read."""
    object_store_mb: Annotated[int, Field(ge=256)] = 512
    wait_seconds: NonNegativeInt = 300
    """How long to wait for a cluster to grow when it has too few CPUs or GPUs; a local Ray does not grow."""
