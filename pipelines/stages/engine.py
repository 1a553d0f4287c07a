"""The Ray that stages run on: one of our own on this machine, or a cluster that is already there."""

import logging
import os
import secrets
import shutil
import tempfile
import warnings
from pathlib import Path

from pipelines.config import RunConfig
from pipelines.errors import UserError


def connect(config: RunConfig) -> None:
    """Start or join Ray once; later calls do nothing.

    The local Ray has its own temp folder and a token of 0600; nothing of it outlives this process.

    Raises:
        UserError: the cluster at `ray.address` does not answer.
    """
    _settings()
    import ray

    if ray.is_initialized():
        return
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    if config.ray.address != "local":
        try:
            ray.init(address=config.ray.address, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = str(error).strip().split("\n")[0]
            raise UserError(f"ray.address: {config.ray.address}: no cluster answers ({reason})") from None
        return
    ray.init(
        address="local",
        num_cpus=config.ray.num_cpus or max(os.cpu_count() or 1, cpus_needed(config)),
        object_store_memory=_object_store_bytes(config),
        include_dashboard=False,
        **quiet,
    )


def cpus_needed(config: RunConfig) -> int:
    """Logical CPUs of one run: a training worker and its readers each, and one for the stages around them."""
    return config.train.num_workers * (1 + config.data.cpus) + 1


def close() -> None:
    """End the Ray that `connect` started; one that was joined goes on."""
    import ray

    if ray.is_initialized():
        ray.shutdown()


def describe() -> str:
    """Nodes and resources of the Ray this process is connected to."""
    import ray

    has = ray.cluster_resources()
    store = has.get("object_store_memory", 0) / (1 << 20)
    nodes = sum(node["Alive"] for node in ray.nodes())
    return f"{ray.__version__}: {nodes} nodes, {has.get('CPU', 0):.0f} CPUs, {has.get('GPU', 0):.0f} GPUs, {store:.0f} MB object store"


def nodes_that_see(path: Path) -> tuple[int, int]:
    """How many of the cluster's nodes see this file, and how many there are."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    @ray.remote(num_cpus=0)  # type: ignore[untyped-decorator]
    def sees() -> bool:
        return path.exists()

    alive = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    asked = [sees.options(scheduling_strategy=NodeAffinitySchedulingStrategy(n, soft=False)).remote() for n in alive]
    return sum(ray.get(asked)), len(alive)


def data_context(cpus: int) -> None:
    """Ray Data settings of this process: quiet, in order, loud about a stall (ray.md, sections 1.5 and 2)."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = 300
    context.use_datasource_v2 = False
    context.execution_options.preserve_order = True
    context.execution_options.resource_limits = ray.data.ExecutionResources.for_limits(cpu=cpus)
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _settings() -> None:
    """What Ray reads from the environment; must be set before it is imported. The user's own values win."""
    state = Path(tempfile.gettempdir()) / f"selfray-{os.getuid()}"
    state.mkdir(mode=0o700, exist_ok=True)
    token = state / "ray-token"
    if not token.exists():
        handle = os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32))
    for name, value in {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_TMPDIR": str(state),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
        "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", module=r"ray\..*")


def _object_store_bytes(config: RunConfig) -> int:
    wanted = config.ray.object_store_mb << 20
    shared = Path("/dev/shm")
    if shared.exists() and (free := shutil.disk_usage(shared).free) < wanted:
        raise UserError(
            f"ray.object_store_mb: {config.ray.object_store_mb} MB asked for, /dev/shm has {free >> 20} MB free; "
            "lower it or enlarge /dev/shm (docker run --shm-size)"
        )
    return wanted
