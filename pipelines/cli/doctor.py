"""Checks of this machine and cluster, each with what to do about its fault."""

import os
import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, NamedTuple

from pipelines.config.run import RunConfig
from pipelines.errors import UserError
from pipelines.storage.root import storage_root
from pipelines.tracking.display import console

FREE_GB = 5
STORE_MB = 256
NEEDED = {"ray": "2.60", "mlflow": "3.17", "torch": "2.11", "torchvision": "0.26", "pyarrow": "20"}


class Finding(NamedTuple):
    state: Literal["ok", "warn", "FAULT"]
    what: str
    seen: str
    advice: str = ""


def examine(config: RunConfig) -> int:
    """Print one line per check; 1 if something would stop a run."""
    findings = []
    for check in (_versions, _storage, _memory, _gpu, _mlflow, _ray):
        for finding in check(config):
            findings.append(finding)
            color = {"ok": "green", "warn": "yellow", "FAULT": "red"}[finding.state]
            console.print(f"[{color}]{finding.state:5}[/] {finding.what:14} {finding.seen}", highlight=False)
            if finding.advice:
                console.print(f"      -> {finding.advice}", markup=False)
    return int(any(finding.state == "FAULT" for finding in findings))


def _versions(config: RunConfig) -> Iterator[Finding]:
    yield Finding("ok", "python", platform.python_version())
    for package, least in NEEDED.items():
        try:
            have = version(package)
        except PackageNotFoundError:
            yield Finding("FAULT", package, "not installed", "run `make env`, or `uv pip install -e .`")
            continue
        enough = _numbers(have) >= _numbers(least)
        same = package != "ray" or have.startswith("2.60.")
        advice = "" if enough and same else f"install {package} {least}: run `make env`"
        yield Finding("ok" if not advice else "FAULT", package, have, advice)


def _storage(config: RunConfig) -> Iterator[Finding]:
    try:
        root = storage_root(config)
    except UserError as error:
        yield Finding("FAULT", "storage", str(error), "give a folder that you may write to")
        return
    free = shutil.disk_usage(root).free / 1e9
    few = free < FREE_GB
    yield Finding(
        "warn" if few else "ok",
        "disk",
        f"{free:.0f} GB free at {root}",
        "shards, checkpoints and artifacts lie there: free space, or --set storage=ANOTHER_FOLDER" if few else "",
    )


def _memory(config: RunConfig) -> Iterator[Finding]:
    cores = os.cpu_count() or 1
    yield Finding("ok", "cpu", f"{cores} cores")
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    tight = total < 6
    yield Finding(
        "warn" if tight else "ok", "memory", f"{total:.0f} GB", "Ray, MLflow and torch want 6 GB" if tight else ""
    )
    shared = Path("/dev/shm")
    if shared.exists():
        free = shutil.disk_usage(shared).free >> 20
        small = free < config.ray.object_store_mb
        yield Finding(
            "FAULT" if small else "ok",
            "object store",
            f"{config.ray.object_store_mb} MB asked for, /dev/shm has {free} MB free",
            "lower ray.object_store_mb (256 at least), or docker run --shm-size=2g" if small else "",
        )


def _gpu(config: RunConfig) -> Iterator[Finding]:
    import torch

    if config.ray.address != "local":
        return  # the cluster's nodes have them, not the machine that drives
    if torch.cuda.is_available():
        yield Finding("ok", "gpu", f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}")
    elif config.train.device == "cuda":
        yield Finding(
            "FAULT", "gpu", "none visible to torch", "set train.device to auto or cpu, or install a CUDA driver"
        )
    else:
        yield Finding("ok", "gpu", "none; training runs on the CPU")


def _mlflow(config: RunConfig) -> Iterator[Finding]:
    from pipelines.tracking import server

    try:
        yield Finding("ok", "mlflow", server.check(config, storage_root(config)))
    except UserError as error:
        yield Finding(
            "FAULT", "mlflow", str(error), "start the server, or leave tracking.uri empty for the embedded one"
        )


def _ray(config: RunConfig) -> Iterator[Finding]:
    from pipelines.runtime import capacity, session

    try:
        if config.ray.address == "local":
            session.connect(config)
        else:
            session.join(config.ray.address)
        yield Finding("ok", "ray", capacity.describe())
        yield from _nodes(config)
    except UserError as error:
        yield Finding("FAULT", "ray", str(error), "see ray.address; `ray status` on the cluster says more")
    finally:
        session.close()


def _nodes(config: RunConfig) -> Iterator[Finding]:
    """What the nodes are, and whether they agree."""
    from pipelines.runtime import nodes
    from pipelines.tracking import server

    here = [path for path in nodes.paths_read(config).values() if path.exists()]
    seen = nodes.ask(storage_root(config), here, server.address(config, storage_root(config)))
    for node in seen if len(seen) > 1 else ():
        cpus, gpus = node.resources.get("CPU", 0), node.resources.get("GPU", 0)
        store = node.resources.get("object_store_memory", 0) / (1 << 20)
        what = f"{cpus:.0f} CPUs, {gpus:.0f} GPUs, {store:.0f} MB object store, {node.disk_free / 1e9:.0f} GB free"
        yield Finding("ok" if store >= STORE_MB else "warn", "node", f"{node.name}: {what} on the storage")
    apart = sum(bool(node.cannot_write or node.unread) for node in seen)
    yield Finding("FAULT" if apart else "ok", "shared storage", f"{len(seen) - apart} of {len(seen)} nodes see it")
    for fault in (faults := nodes.disagreements(config, seen)):
        yield Finding("FAULT", "nodes", fault)
    if not faults and len(seen) > 1:
        yield Finding("ok", "versions", f"equal on {len(seen)} nodes")
    skew = max((abs(node.clock_ahead) for node in seen), default=0.0)
    late = skew > nodes.SKEW_S
    advice = "run a time service (chrony) on every node: logged times are compared across them" if late else ""
    yield Finding("warn" if late else "ok", "clocks", f"within {skew:.1f} s of this one", advice)
    if cut := [node.name for node in seen if node.tracking]:
        reason = next(node.tracking for node in seen if node.tracking)
        yield Finding(
            "FAULT",
            "mlflow there",
            f"{len(cut)} of {len(seen)} nodes do not reach tracking.uri ({reason}): {', '.join(cut)}",
            "open the way from the nodes to the server (NetworkPolicy, firewall), or use an address they know",
        )
    elif config.tracking.uri:
        yield Finding("ok", "mlflow there", f"{len(seen)} of {len(seen)} nodes reach it")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("+", maxsplit=1)[0].split(".")[:2] if part.isdigit())
