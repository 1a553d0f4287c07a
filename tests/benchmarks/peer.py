"""A whole training beside LightlySSL's: `python -m tests.benchmarks peer`.

The recipe cifar10_simclr by `selfray pretrain`, in fp32 and in bf16, and the loop of LightlySSL's documentation
(tests/benchmarks/peer_trainer.py) with the same network, batch, views and two cores, in turn, each in processes of its
own. Images per second of wall time over the second hundred steps; ours with its looks at the representation as often
as in the whole recipe, its checkpoints, logs and tracking. The peer's DataLoader gets the best of 0, 1 and 2 workers.
About twenty-five minutes on two idle cores, so `make bench` leaves it out.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml
from PIL import Image

import pipelines.runtime  # noqa: F401  makes the settings of Ray, which the commands inherit
from pipelines.config.run import RunConfig
from pipelines.storage import outbox
from tests.benchmarks import corpus
from tests.benchmarks.peer_trainer import Spec
from tests.benchmarks.runner import Outcome, Race, Row, goal
from tests.benchmarks.startup import command

ROUNDS, CORES = 2, 2
FIRST, LAST = 100, 200
LOADERS = (0, 1, 2)
TRIED = (5, 25)
"""Steps between which each number of the DataLoader's workers is tried."""
PEER, FP32, BF16 = "LightlySSL, fp32", "selfray, fp32", "selfray, bf16"


def run(quick: bool = False) -> Outcome:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])  # inherited by all that is started
    first, last = (2, 6) if quick else (FIRST, LAST)
    absent = {} if find_spec("lightly") else {PEER: "not installed (lightly)"}
    rates: dict[str, list[float]] = {}
    tried: list[Row] = []
    with TemporaryDirectory(prefix="sr-", dir="/tmp") as name:  # short: Ray puts sockets below it
        folder = Path(name)
        config = _config(folder, last, quick)
        recipe = folder / "peer.yaml"
        recipe.write_text(yaml.safe_dump(config.model_dump(mode="json")))
        command(folder, "-m", "pipelines", "ingest", str(recipe))
        _decoded(config, folder / "images.npy")
        loaders = 0
        if not absent:
            fastest = {n: _peer(config, folder, n, *((1, 3) if quick else TRIED)) for n in LOADERS}
            loaders = max(fastest, key=lambda n: fastest[n])
            tried = [{"workers of the DataLoader": n, "images per second": rate} for n, rate in fastest.items()]
        for number in range(1 if quick else ROUNDS):
            if not absent:
                rates.setdefault(PEER, []).append(_peer(config, folder, loaders, first, last))
            for contender in (FP32, BF16):
                rate = _ours(config, folder, recipe, contender.split()[-1], number, first, last)
                rates.setdefault(contender, []).append(rate)
    raced = Race(rates, absent)
    heading = f"SimCLR, ResNet-18 of width {getattr(config.encoder, 'width', '-')}, steps {first} to {last}"
    rows = raced.rows(f"batch {config.train.global_batch_size}", "images per second", {"x LightlySSL": (PEER,)})
    return Outcome(
        {heading: rows} | ({"LightlySSL's loader, before": tried} if tried else {}),
        [
            goal("peer: training in fp32, rate over LightlySSL's loop", raced.ratio(FP32, (PEER,)), at_least=1.3),
            goal("peer: training in bf16, rate over LightlySSL's loop", raced.ratio(BF16, (PEER,)), at_least=2.5),
        ],
    )


def _config(folder: Path, last: int, quick: bool) -> RunConfig:
    """The recipe, cut off after `last` steps; it looks as often as the whole recipe does."""
    changes = {"storage": str(folder / "runs"), "train.threads": CORES, "ray.num_cpus": CORES + 1}
    if quick:
        corpus.image_files(folder / "files", 64, 32, 32)
        return corpus.simclr(folder / "files", folder, 32, 16, {**changes, "train.steps": last + 1, "encoder.width": 4})
    epochs, batch = corpus.cifar10({}).train.epochs or 1, corpus.cifar10({}).train.global_batch_size
    steps = epochs * (pq.read_metadata(corpus.data("cifar10") / "train.parquet").num_rows // batch)
    changes |= {"train.epochs": None, "train.steps": last + 1, "train.monitor_every": steps // 20}
    return corpus.cifar10(changes)


def _decoded(config: RunConfig, file: Path) -> None:
    """All train images as one array, for the peer."""
    source: Any = config.source
    if source.name == "parquet":
        encoded = pq.read_table(source.path, columns=["image"])["image"].to_pylist()
    else:
        encoded = [path.read_bytes() for path in sorted(Path(source.path).iterdir())]
    np.save(file, np.stack([np.asarray(Image.open(BytesIO(data)).convert("RGB")) for data in encoded]))


def _ours(config: RunConfig, folder: Path, recipe: Path, precision: str, seed: int, first: int, last: int) -> float:
    before = set((folder / "runs" / "pretrain").glob("*"))
    changes = ("--set", f"train.precision={precision}", "--set", f"seed={seed}")
    command(folder, "-m", "pipelines", "pretrain", str(recipe), *changes)
    (stage,) = set((folder / "runs" / "pretrain").glob("*")) - before
    at = {point.step: point.time / 1000 for point in outbox.read(stage) if "samples_per_s" in point.metrics}
    return (last - first) * config.train.global_batch_size / (at[last] - at[first])


def _peer(config: RunConfig, folder: Path, loaders: int, first: int, last: int) -> float:
    view: Any = config.views["global"]
    method: Any = config.method
    encoder: Any = config.encoder
    spec = Spec(
        images=folder / "images.npy",
        size=view.size,
        crop_min=view.crop_min,
        strength=view.strength,
        blur=view.blur,
        width=encoder.width,
        hidden_dim=method.hidden_dim,
        projection_dim=method.projection_dim,
        temperature=method.temperature,
        batch=config.train.global_batch_size,
        loaders=loaders,
        threads=CORES,
        first=first,
        last=last,
    )
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.peer_trainer", spec.model_dump_json()],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"peer_trainer: exit status {done.returncode}\n{done.stderr}")
    return float(done.stdout.split()[-1])
