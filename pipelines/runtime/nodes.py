"""What every node of a cluster is and sees, asked by a small task on each; and whether they agree with each other."""

import platform
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipelines.config.run import RunConfig, SetupConfig
from pipelines.errors import UserError
from pipelines.storage.root import storage_root

ANSWER_S = 120
"""A node that has to fetch the code and start Python takes half a minute on a bad day."""
SKEW_S = 2.0
PACKAGES = ("ray", "torch", "torchvision", "mlflow", "numpy", "pyarrow", "opencv-python-headless", "pydantic")


@dataclass(frozen=True)
class Seen:
    """One node's answer."""

    node_id: str
    name: str
    """Address and the beginning of the id; several nodes may share an address."""
    resources: dict[str, float]
    versions: dict[str, str]
    clock_ahead: float
    """Seconds before (-) or after (+) this process's clock, beyond what the asking took."""
    missing: frozenset[str]
    """Paths asked for that are not there."""
    unread: frozenset[str]
    """Names of nodes whose file on the shared storage this one cannot read."""
    cannot_write: str
    """Why it cannot write to the shared storage; empty: it can."""
    disk_free: int
    """Bytes on the shared storage."""
    tracking: str
    """Why it does not reach the tracking server; empty: it does, or there is none to reach."""


def ask(storage: Path, paths: Sequence[Path], tracking: str | None = None) -> list[Seen]:
    """Let every node write a file under `storage`, read those of all others, and look for `paths`.

    Args:
        tracking: URL of an MLflow server that every node should reach.

    Raises:
        UserError: a node does not answer.
    """
    probe = storage / f".nodes-{uuid.uuid4().hex[:12]}"
    probe.mkdir(parents=True)
    nodes = _staying()
    names = _names(nodes)
    try:
        first = _on_each(names, lambda _: (_write, str(probe), [str(path) for path in paths], tracking))
        unread = _on_each(names, lambda _: (_read, str(probe), names))
        asked = time.time()
        clocks = _on_each(names, lambda _: (_clock,))  # last: the first task on a node takes seconds
        answered = time.time()
    finally:
        shutil.rmtree(probe, ignore_errors=True)
    return [
        Seen(
            node_id=i,
            name=names[i],
            resources=dict(nodes[i]["Resources"]),
            versions=first[i]["versions"],
            clock_ahead=ahead(clocks[i], asked, answered),
            missing=frozenset(first[i]["missing"]),
            unread=frozenset(unread[i]),
            cannot_write=first[i]["cannot_write"],
            disk_free=first[i]["disk_free"],
            tracking=first[i]["tracking"],
        )
        for i in names
    ]


def leaving() -> set[str]:
    """Ids of nodes that are about to be taken away."""
    import ray._private.state  # as Ray Train's own watcher asks; its public question is a barrier on all workers

    return set(ray._private.state.state.get_draining_nodes())


def ahead(told: float, asked: float, answered: float) -> float:
    """Seconds that a clock is before (-) or after (+) ours at least, having been read between two of our times."""
    return min(0.0, told - asked) + max(0.0, told - answered)


def agree(config: SetupConfig) -> None:
    """Whether the nodes of the joined cluster can work on one run.

    Raises:
        UserError: they do not share the storage, do not all see the data, or run different versions.
    """
    here = [path for path in paths_read(config).values() if path.exists()]
    faults = disagreements(config, ask(storage_root(config), here))
    if faults:
        raise UserError("; ".join(faults))


def disagreements(config: SetupConfig, seen: Sequence[Seen]) -> list[str]:
    """What keeps these nodes from working on one run, a line each; the clock is not one of it."""
    faults = []
    if apart := [node.name for node in seen if node.cannot_write or node.unread]:
        faults.append(
            f"storage: {config.storage}: not one folder on all nodes: {_some(apart, len(seen))} cannot read what the "
            "others write there; --set storage=A_FOLDER_THAT_ALL_NODES_MOUNT"
        )
    for key, path in paths_read(config).items():
        if blind := [node.name for node in seen if str(path) in node.missing]:
            faults.append(
                f"{key}: {path}: exists on this node, but not on {_some(blind, len(seen))}; put the data where all "
                "nodes see it"
            )
    for package in ("python", *PACKAGES):
        have = {node.versions.get(package, "none") for node in seen}
        if len(have) > 1:
            which = ", ".join(f"{node.versions.get(package, 'none')} on {node.name}" for node in seen)
            faults.append(f"{package}: versions differ: {which}; install the same on every node")
    return faults


def paths_read(config: SetupConfig) -> dict[str, Path]:
    """Dotted key -> folder or file that nodes read; of a pattern, the folder before its first wildcard."""
    parts = {"source": config.source}
    if isinstance(config, RunConfig):  # an encoder that is only evaluated is packed by the driver
        parts["encoder"] = config.encoder
    found = {}
    for part, values in parts.items():
        for name in type(values).model_fields:
            value = getattr(values, name)
            if isinstance(value, Path):
                path = value.expanduser().absolute()
                plain = next((p for p in (path, *path.parents) if not set("*?[") & set(str(p))), path)
                found[f"{part}.{name}"] = plain
    return found


def _staying() -> dict[str, dict[str, Any]]:
    """Id -> what Ray knows of a node; one that is about to leave takes no task any more, and would keep us waiting."""
    import ray

    gone = leaving()
    return {node["NodeID"]: node for node in ray.nodes() if node["Alive"] and node["NodeID"] not in gone}


def _names(nodes: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    return {i: f"{node['NodeManagerAddress']}/{i[:6]}" for i, node in nodes.items()}


def _some(names: Sequence[str], of: int) -> str:
    return f"{len(names)} of {of} nodes ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''})"


def _on_each(names: dict[str, str], call: Callable[[str], tuple[Any, ...]]) -> dict[str, Any]:
    """The result of `function(node id, *arguments)` on every node."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    waiting = {}
    for i in names:
        function, *arguments = call(i)
        task = ray.remote(num_cpus=0, max_retries=0)(function)
        on_it = task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(i, soft=False))
        waiting[i] = on_it.remote(i, *arguments)
    _, late = ray.wait(list(waiting.values()), num_returns=len(waiting), timeout=ANSWER_S)
    if late:
        silent = [names[i] for i, task in waiting.items() if task in late]
        raise UserError(f"ray: {_some(silent, len(names))} ran no task within {ANSWER_S} s; see `ray status` there")
    try:
        return {i: ray.get(task) for i, task in waiting.items()}
    except ray.exceptions.RayError as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"ray: a node left while it was asked ({reason}); run the same again") from None


def _write(node_id: str, probe: str, paths: list[str], tracking: str | None) -> dict[str, Any]:
    reason = ""
    try:
        (Path(probe) / node_id).write_text(node_id)
    except OSError as error:
        reason = error.strerror or str(error)
    there = Path(probe) if Path(probe).exists() else Path("/")
    return {
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "missing": [path for path in paths if not Path(path).exists()],
        "cannot_write": reason,
        "disk_free": shutil.disk_usage(there).free,
        "tracking": _unreachable(tracking) if tracking and tracking.startswith("http") else "",
    }


def _read(node_id: str, probe: str, names: dict[str, str]) -> list[str]:
    """Names of the nodes whose file is not there; asked for by name, since NFS caches listings."""
    return [name for other, name in names.items() if not (Path(probe) / other).is_file()]


def _clock(node_id: str) -> float:
    return time.time()


def _unreachable(url: str) -> str:
    """Why no server answers there; one that asks for a password has answered."""
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or (443 if url[4] == "s" else 80)), timeout=10):
            return ""
    except OSError as error:
        return str(error)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
