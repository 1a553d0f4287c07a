"""The Ray that stages run on: one of our own on this machine, or a cluster that is already there."""

import logging
import os
import shutil
import signal
import threading
from pathlib import Path

from pipelines.config import RayConfig, RunConfig
from pipelines.errors import UserError

logger = logging.getLogger("selfray.ray")


def connect(config: RunConfig) -> None:
    """`connect_to` the Ray that a run's config names, with the CPUs that the run needs."""
    connect_to(config.ray, cpus_needed(config))


def connect_to(config: RayConfig, cpus: int) -> None:
    """Start or join Ray once; later calls do nothing.

    The local Ray has its own temp folder and a token of 0600; nothing of it outlives this process.

    Args:
        cpus: logical CPUs of a local Ray at least, unless `ray.num_cpus` says how many.

    Raises:
        UserError: the cluster at `ray.address` does not answer.
    """
    import ray

    if ray.is_initialized():
        return
    if config.address != "local":
        try:
            ray.init(address=config.address, logging_level=logging.ERROR, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = str(error).strip().split("\n")[0]
            raise UserError(f"ray.address: {config.address}: no cluster answers ({reason})") from None
        return
    start_local(config.num_cpus or max(os.cpu_count() or 1, cpus), _object_store_bytes(config))


def start_local(num_cpus: int, object_store_bytes: int) -> None:
    """A Ray of our own on this machine, quiet and without a dashboard.

    Raises:
        UserError: it did not start, twice.
    """
    import ray

    on_sigterm = signal.getsignal(signal.SIGTERM)
    for last in (False, True):
        try:
            ray.init(
                address="local",
                num_cpus=num_cpus,
                object_store_memory=object_store_bytes,
                include_dashboard=False,
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
            break
        except Exception as error:  # Ray gives its node 30 s to start and raises a plain Exception
            ray.shutdown()
            if last or "timed out during startup" not in str(error):
                raise UserError(
                    f"ray: did not start ({error}); is the machine overloaded? run the same again"
                ) from None
            logger.warning("ray: did not start within 30 s on this busy machine; trying once more")
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray puts its own there, which aborts the process


def cpus_needed(config: RunConfig) -> int:
    """Logical CPUs of one run: a training worker and its readers each, and one for the stages around them."""
    return config.train.num_workers * (1 + config.data.cpus) + 1


def close() -> None:
    """End the Ray that `connect` started; one that was joined goes on."""
    import ray

    if ray.is_initialized():
        ray.shutdown()


def reservations() -> set[str]:
    """Ids of this job's placement groups that hold resources or wait for them; an id ends with that of its job."""
    import ray
    from ray.util import placement_group_table

    job = ray.get_runtime_context().get_job_id()
    return {i for i, row in placement_group_table().items() if i.endswith(job) and row["state"] != "REMOVED"}


def release(reserved: set[str]) -> None:
    """Give back placement groups whose owner died: Ray's own cleaner needs a dashboard (ray.md, section 3.2)."""
    from ray._raylet import PlacementGroupID
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    for name in reserved:
        remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(name))))


def num_gpus() -> int:
    """GPUs of the Ray this process is connected to."""
    import ray

    return int(ray.cluster_resources().get("GPU", 0))


def describe() -> str:
    """Nodes and resources of the Ray this process is connected to."""
    import ray

    has = ray.cluster_resources()
    store = has.get("object_store_memory", 0) / (1 << 20)
    nodes = sum(node["Alive"] for node in ray.nodes())
    cpus, gpus = has.get("CPU", 0), has.get("GPU", 0)
    return f"{ray.__version__}: {nodes} nodes, {cpus:.0f} CPUs, {gpus:.0f} GPUs, {store:.0f} MB object store"


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

    from pipelines.stages.pacing import Pace

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = 300
    context.use_datasource_v2 = False
    context.execution_options.preserve_order = True
    context.execution_options.resource_limits = ray.data.ExecutionResources.for_limits(cpu=cpus)
    if Pace not in context.custom_execution_callback_classes:
        context.custom_execution_callback_classes.append(Pace)
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _object_store_bytes(config: RayConfig) -> int:
    wanted = config.object_store_mb << 20
    shared = Path("/dev/shm")
    if shared.exists() and (free := shutil.disk_usage(shared).free) < wanted:
        raise UserError(
            f"ray.object_store_mb: {config.object_store_mb} MB asked for, /dev/shm has {free >> 20} MB free; "
            "lower it or enlarge /dev/shm (docker run --shm-size)"
        )
    return wanted
