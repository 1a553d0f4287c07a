"""The Ray that stages run on: one of our own on this machine, or a cluster that is already there."""

import logging
import os
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from pipelines.config import secret
from pipelines.config.run import RunConfig, SetupConfig
from pipelines.config.sections import RayConfig
from pipelines.errors import UserError
from pipelines.runtime import JOIN_AT, STATE, nodes, old_sessions
from pipelines.storage import permissions

logger = logging.getLogger("selfray.ray")
HEAD_PORT = 6379
CONNECT_S = 10


def connect(config: SetupConfig) -> None:
    """`connect_to` the Ray that a run's config names, with the CPUs that the run needs.

    Raises:
        UserError: as there, or the nodes of the cluster do not agree.
    """
    import ray

    if ray.is_initialized():
        return
    connect_to(config.ray, cpus_needed(config))
    if config.ray.address != "local":
        nodes.agree(config)


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
        join(config.address)
        return
    start_local(config.num_cpus or max(os.cpu_count() or 1, cpus), _object_store_bytes(config))


def join(address: str) -> None:
    """Connect to a cluster that is there; `auto` is the one that this job was submitted to.

    Raises:
        UserError: it does not answer, or refuses the token.
    """
    import ray
    from ray.exceptions import AuthenticationError, RpcError

    permissions.named()
    at = os.environ.get(JOIN_AT, address) if address == "auto" else secret.resolve(address, "ray.address")
    host, _, port = at.rpartition(":")
    if host in ("127.0.0.1", "localhost"):  # Ray would take the machine's outer address for it
        at = f"[::ffff:127.0.0.1]:{port}"
    if at != "auto":
        _reach(at, address)
    with _own_sigterm():
        try:
            if at != "auto":
                _show_token(at)
            ray.init(address=at, logging_level=logging.ERROR, log_to_driver=False)
        except AuthenticationError:
            raise UserError(
                f"ray.address: {address}: the cluster refused the token; give its own: RAY_AUTH_TOKEN_PATH=FILE"
            ) from None
        except (ConnectionError, RuntimeError, ValueError, RpcError) as error:
            raise UserError(f"ray.address: {address}: {refusal(secret.shown(str(error)))}") from None


def refusal(said: str) -> str:
    """What Ray says when it does not join, in one line."""
    lines = [line.strip() for line in said.strip().splitlines()]
    if lines and lines[0].startswith("Version mismatch"):  # theirs and ours are in the lines below
        return f"versions differ: {' '.join(lines).partition(': ')[2]}; use the same on both sides"
    return f"no cluster answers ({lines[0] if lines else 'no reason given'})"


def _reach(at: str, address: str) -> None:
    """Ray would ask a host that does not answer for three minutes, and fill the screen meanwhile."""
    try:
        place = urlsplit(f"//{at}")
        socket.create_connection((place.hostname or "", place.port or HEAD_PORT), timeout=CONNECT_S).close()
    except (OSError, ValueError) as error:
        raise UserError(
            f"ray.address: {address}: no cluster answers there ({error}); give HOST:PORT of the head, whose port is "
            f"{HEAD_PORT} unless changed"
        ) from None


def _show_token(at: str) -> None:
    """`ray.init` would try a refused token for 20 s, with a line each, and then speak of the connection.

    Raises:
        ray.exceptions.AuthenticationError: it is refused.
    """
    from ray._raylet import GcsClient  # type: ignore[attr-defined]

    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)  # what is not Python's writes there itself
    try:
        GcsClient(address=at)
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Ray puts a handler of its own there, which aborts the process."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def start_local(num_cpus: int, object_store_bytes: int) -> None:
    """A Ray of our own on this machine: quiet, without a dashboard, on loopback, with a token that is a secret.

    Raises:
        UserError: it did not start, twice, or its token is not a secret.
    """
    permissions.closed()
    old_sessions.remove(STATE / "ray")
    import ray

    for last in (False, True):
        try:
            with _own_sigterm(), _on_loopback():
                ray.init(
                    address="local",
                    num_cpus=num_cpus,
                    object_store_memory=object_store_bytes,
                    include_dashboard=False,
                    logging_level=logging.ERROR,
                    log_to_driver=False,
                )
            return
        except Exception as error:  # Ray gives its node 30 s to start and raises a plain Exception
            ray.shutdown()
            if last or "timed out during startup" not in str(error):
                raise UserError(
                    f"ray: did not start ({error}); is the machine overloaded? run the same again"
                ) from None
            logger.warning("ray: did not start within 30 s on this busy machine; trying once more")


@contextmanager
def _on_loopback() -> Iterator[None]:
    """All that starts meanwhile listens on 127.0.0.1 alone: by default so on macOS and Windows, on all addresses here.

    The constant is what RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 sets when Ray is imported.
    """
    from ray._private import ray_constants

    before, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def cpus_needed(config: SetupConfig) -> int:
    """Logical CPUs of one run: a training worker and its readers each, and one for the stages around them."""
    workers = config.train.num_workers if isinstance(config, RunConfig) else 1
    return workers * (1 + config.data.cpus) + 1


def close() -> None:
    """End the Ray that `connect` started; one that was joined goes on."""
    import ray

    if ray.is_initialized():
        ray.shutdown()


def reservations(state: str | None = None) -> set[str]:
    """Ids of this job's placement groups that hold resources or wait for them; an id ends with that of its job.

    Args:
        state: only those in it; `CREATED` are those that hold what they asked for.
    """
    import ray
    from ray.util import placement_group_table

    job = ray.get_runtime_context().get_job_id()
    mine = {i: row["state"] for i, row in placement_group_table().items() if i.endswith(job)}
    return {i for i, found in mine.items() if (found == state if state else found != "REMOVED")}


def release(reserved: set[str]) -> None:
    """Give back placement groups whose owner died: Ray's own cleaner needs a dashboard."""
    from ray._raylet import PlacementGroupID
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    for name in reserved:
        remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(name))))


def data_context(cpus: int) -> None:
    """Ray Data settings of this process: quiet, in order."""
    import ray.data

    from pipelines.runtime.pacing import PacedExecution

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = (
        -1
    )  # it takes a slow consumer for a stall; see ray_worker.with_wait_warnings
    context.use_datasource_v2 = False
    context.execution_options.preserve_order = True
    context.execution_options.resource_limits = ray.data.ExecutionResources.for_limits(cpu=cpus)
    if PacedExecution not in context.custom_execution_callback_classes:
        context.custom_execution_callback_classes.append(PacedExecution)
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
