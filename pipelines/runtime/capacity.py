"""What the Ray that this process is connected to has: nodes, CPUs, GPUs; and waiting until it has enough."""

import time
from collections.abc import Mapping

from pipelines.config.run import SetupConfig
from pipelines.config.sections import RayConfig
from pipelines.errors import UserError
from pipelines.runtime import nodes
from pipelines.runtime.placement import Node
from pipelines.runtime.session import data_context
from pipelines.tracking.display import say


def wait_for(config: SetupConfig, needed: Mapping[str, float]) -> dict[str, float]:
    """What the cluster has, once it has `grown`.

    Raises:
        UserError: nodes have come meanwhile, and do not agree with the others.
    """
    before = _alive()
    has = grown(config.ray, needed)
    if _alive() - before:
        nodes.agree(config)
    return has


def grown(config: RayConfig, needed: Mapping[str, float]) -> dict[str, float]:
    """What the cluster has, once that is as much as `needed`, or after `ray.wait_seconds`.

    A cluster that was joined may grow: an autoscaler is asked to, and somebody may add a node by hand.
    """
    import ray
    from ray.autoscaler.sdk import request_resources

    has = ray.cluster_resources()
    lacking = [f"{n:g} {kind}s ({has.get(kind, 0):g} there)" for kind, n in needed.items() if has.get(kind, 0) < n]
    if not lacking or config.address == "local" or not config.wait_seconds:
        return has
    say(f"ray: waiting up to {config.wait_seconds} s for {' and '.join(lacking)}; an autoscaler is asked for them")
    deadline = time.monotonic() + config.wait_seconds
    request_resources(bundles=[{kind: 1} for kind, n in needed.items() for _ in range(int(n))])
    try:
        while time.monotonic() < deadline:
            has = ray.cluster_resources()
            if all(has.get(kind, 0) >= n for kind, n in needed.items()):
                say("ray: they are there")
                break
            time.sleep(1)
    finally:
        request_resources(bundles=[])
    return has


def read_everywhere(has: Mapping[str, float]) -> None:
    """`data_context` with all CPUs of a cluster that has these resources; of none, Ray says nothing at all.

    Raises:
        UserError: it has none.
    """
    cpus = int(has.get("CPU", 0))
    if not cpus:
        raise UserError(
            "ray.address: no node of the cluster has a CPU for tasks; add one, or let the autoscaler (max_workers) and "
            "wait longer (ray.wait_seconds)"
        )
    data_context(cpus)


def _alive() -> set[str]:
    import ray

    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def num_gpus() -> int:
    """GPUs of the Ray this process is connected to."""
    import ray

    return int(ray.cluster_resources().get("GPU", 0))


def here() -> dict[str, float]:
    """Resources of the node that this process runs on."""
    import ray

    node_id = ray.get_runtime_context().get_node_id()
    return next((dict(node["Resources"]) for node in ray.nodes() if node["NodeID"] == node_id), {})


def members() -> list[Node]:
    """The nodes of the Ray that this process is connected to."""
    import ray

    return [
        Node(f"{node['NodeManagerAddress']}/{node['NodeID'][:6]}", node["NodeManagerAddress"], node["Resources"])
        for node in ray.nodes()
        if node["Alive"]
    ]


def describe() -> str:
    """Nodes and resources of the Ray this process is connected to."""
    import ray

    has = ray.cluster_resources()
    store = has.get("object_store_memory", 0) / (1 << 20)
    cpus, gpus = has.get("CPU", 0), has.get("GPU", 0)
    return f"{ray.__version__}: {len(_alive())} nodes, {cpus:.0f} CPUs, {gpus:.0f} GPUs, {store:.0f} MB object store"
