"""The whole run as one typed value: what YAML fills, Tune varies and MLflow logs."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SerializeAsAny,
    ValidationError,
    field_serializer,
    model_validator,
)

from pipelines import plain_yaml, secret
from pipelines.errors import UserError
from pipelines.evaluate_config import EvaluateConfig, Fraction
from pipelines.review.config import ReviewConfig
from pipelines.tuning.config import TuneConfig
from ssl_core.build import build_chains, build_method
from ssl_core.catalog import find, named_in
from ssl_core.config import Config, NamedConfig
from ssl_core.optim import OptimConfig
from ssl_core.sharding import check_shardable

FROM_ENVIRONMENT = ("tracking.uri", "ray.address")
"""Keys whose value may refer to environment variables; it is looked up where it is used and never dumped."""
C = TypeVar("C", bound=Config)


class IngestConfig(Config):
    max_bad_fraction: Fraction = 0.01
    """Stop when a larger share of the samples cannot be read; below it they go to quarantine.parquet."""
    max_pixels: PositiveInt = 50_000_000
    """Refuse larger images before decoding them (decompression bombs)."""
    test_fraction: Fraction = 0.1
    """Share of the samples held out for evaluation when the source has no test split of its own."""
    shard_mb: PositiveInt = 64
    row_group_kb: PositiveInt = 512
    """Bytes of samples per row group (at most 256 rows): the unit that a shuffle window reads."""


class DataConfig(Config):
    shuffle_rows: PositiveInt = 16_384
    """Rows shuffled together, rounded up to whole row groups; see pipelines/order.py for what that is worth."""
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
    """auto: bf16 autocast on CUDA and on CPUs with AMX, else fp32."""
    accumulate: PositiveInt = 1
    """Micro-batches per optimizer step; a contrastive loss then sees the negatives of one micro-batch."""
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
            raise ValueError("give either epochs or steps")
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


class SetupConfig(Config):
    """What ingest, evaluation and tracking read: the data, the encoder, where results are kept."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    """Of the run, and of the registered model."""
    seed: NonNegativeInt = 0
    storage: Path = Path("selfray-runs")
    """Folder for shards, checkpoints, reports and the embedded MLflow; shared by all nodes of a cluster."""
    source: Annotated[SerializeAsAny[NamedConfig], named_in("pipelines.sources")]
    ingest: IngestConfig = IngestConfig()
    data: DataConfig = DataConfig()
    views: dict[str, Annotated[SerializeAsAny[NamedConfig], named_in("ssl_core.augment")]]
    """One augmentation chain per kind of view that the method reads; `eval` is the chain of all evaluation."""
    encoder: Annotated[SerializeAsAny[NamedConfig], named_in("ssl_core.encoders")]
    evaluate: EvaluateConfig = EvaluateConfig()
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
        needed = find("ssl_core.methods", self.method.name).view_kinds
        if missing := sorted({*needed, "eval"} - set(self.views)):
            raise ValueError(f"views needs {', '.join(missing)}: method {self.method.name} reads {', '.join(needed)}")
        build_chains(self.views)
        method = build_method(self.method, self.encoder, self.views, device="meta")
        if self.train.parallel == "fsdp":
            check_shardable(method)
        return self


def parse(tree: Mapping[str, Any], changes: Mapping[str, Any] | None = None) -> RunConfig:
    """Check a YAML tree after setting dotted keys, e.g. parse(tree, {"optim.lr": 3e-4}).

    Raises:
        UserError: one dotted line per mistake, all at once.
    """
    return parse_as(RunConfig, tree, changes)


def parse_as(kind: type[C], tree: Mapping[str, Any], changes: Mapping[str, Any] | None = None) -> C:
    """The same for another kind of config."""
    try:
        return kind.model_validate(with_changes(tree, changes))
    except ValidationError as error:
        lines = sorted({_line(e["loc"], e["msg"]) for e in error.errors(include_url=False)})
        raise UserError("cannot run this config:\n" + "\n".join(f"  {line}" for line in lines)) from None


def with_changes(tree: Mapping[str, Any], changes: Mapping[str, Any] | None) -> dict[str, Any]:
    """A copy of an unchecked tree with dotted keys set."""
    changed = deepcopy(dict(tree))
    for dotted, value in (changes or {}).items():
        _set(changed, dotted, value)
    return changed


def load(recipe: str | Path, changes: Mapping[str, Any] | None = None) -> RunConfig:
    """Read a recipe: a YAML file, or the name of one that ships in pipelines/recipes."""
    path = Path(recipe)
    if not path.exists():
        path = Path(__file__).parent / "recipes" / f"{Path(recipe).stem}.yaml"
    if not path.exists():
        shipped = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml")))
        raise UserError(f"recipe {recipe}: no such file; `selfray list` shows what ships: {shipped}")
    return parse(read_tree(path), changes)


def read_tree(path: Path) -> dict[str, Any]:
    """What a YAML file holds, unchecked.

    Raises:
        UserError: it is not YAML, or holds no keys.
    """
    try:
        tree = plain_yaml.load(path.read_text())
    except plain_yaml.NotPlain as error:
        raise UserError(f"recipe {path}: {error}") from None
    if not isinstance(tree, dict):
        raise UserError(f"recipe {path}: holds no keys")
    return tree


def flat(config: Config) -> dict[str, Any]:
    """Dotted keys to plain values: MLflow params, and the names that Tune may vary."""

    def walk(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for key, value in node.items():
            if isinstance(value, dict):
                yield from walk(value, f"{prefix}{key}.")
            else:
                yield prefix + key, value

    return dict(walk(config.model_dump(mode="json"), ""))


def fingerprint(value: Any) -> str:
    """Hash of a JSON-able value: what stages and runs are identified by."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def identity(config: SetupConfig) -> str:
    """Hash of everything that decides what a run computes; where it lies, and what else could be tried, does not."""
    return fingerprint(config.model_dump(mode="json", exclude={"storage", "tracking", "ray", "tune", "review"}))


def _set(tree: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, leaf = dotted.split(".")
    node: Any = tree
    for parent in parents:
        if not isinstance(node, dict):
            raise UserError(f"--set {dotted}: '{parent}' lies inside a plain value")
        node = node.setdefault(parent, {})
    if not isinstance(node, dict):
        raise UserError(f"--set {dotted}: '{leaf}' lies inside a plain value")
    node[leaf] = value


def _line(loc: tuple[int | str, ...], message: str) -> str:
    message = message.removeprefix("Value error, ")
    return f"{'.'.join(map(str, loc))}: {message}" if loc else message
