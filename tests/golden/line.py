"""The golden line: what three small runs make at every station, so that a move that changes any of it is seen.

Recorded of digits, a folder of JPEGs and a Parquet file: the manifest's digest, the names of the stage folders, the
views of three batches in two epochs, ten losses, the checkpoint, features and scores.
Write it again after a change that is meant: `python -m tests.golden.line`, and say why in the commit.

Ingest and training run in this process, by the functions that Ray's tasks call; the evaluation runs on Ray.
"""

import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import chdir
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.config.parse import load
from pipelines.config.run import RunConfig
from pipelines.data.batches.layout import Layout
from pipelines.data.batches.order import Order
from pipelines.data.batches.reading import Arrays, Views, read_piece
from pipelines.data.batches.stream import training_order, training_pieces
from pipelines.data.ingest import INGEST, source_of
from pipelines.data.parts import jobs
from pipelines.data.shards import manifest, writing
from pipelines.data.shards.shard_set import ShardSet
from pipelines.data.shards.writing import Rules
from pipelines.evaluate import evaluate
from pipelines.evaluate.evaluate import EVALUATE
from pipelines.evaluate.features import encode
from pipelines.stage import Nothing
from pipelines.storage import checkpoint, outbox
from pipelines.train.artifact import Checkpoint
from pipelines.train.loop import to_batch, train
from pipelines.train.pretrain import PRETRAIN
from pipelines.train.worker import Worker
from ssl_core.build import build_chains
from ssl_core.catalog import find
from ssl_core.noise import salt
from tests.golden import pictures
from tests.support.images import image_fields

FILE = Path(__file__).with_suffix(".json")
STEPS, EPOCHS, BATCHES = 10, 2, 3
CPU = torch.device("cpu")
LIBRARIES = ("pyarrow", "opencv-python-headless")
"""What writes the bytes of the shards and the pixels of the views: of other versions these may be others."""
ANY = "0" * 64
"""Stands for the checkpoint in the evaluation's folder name: rounding decides the real one, which is in `bits`."""

BRIEF: dict[str, Any] = {
    "encoder": {"name": "convnet", "width": 8, "depth": 3},
    "method.hidden_dim": 32,
    "method.projection_dim": 16,
    "train": {"steps": STEPS, "global_batch_size": 32, "log_every": 1, "monitor_samples": 0, "threads": 1}
    | {"device": "cpu", "precision": "fp32"},
    "evaluate": {"probes": [{"name": "knn"}, {"name": "linear_probe"}], "max_samples": 200, "resamples": 50}
    | {"view_samples": 8, "map_samples": 20},
}
"""Changes of the shipped digits recipe; its data and its views stay."""
PICTURES: dict[str, Any] = {
    **BRIEF,
    "views": {"global": {"name": "image_crop_jitter", "size": 24}, "eval": {"name": "image_eval", "size": 24}},
    "train": {**BRIEF["train"], "global_batch_size": 8},
    "ingest": {"test_fraction": 0.25, "row_group_kb": 8},  # several row groups, so that the order has work to do
    "data.shuffle_rows": 16,
}
PATHS = {"folder": "pictures", "parquet": "pictures.parquet"}
"""Relative to the current folder: a source's path is a part of the ingest's folder name."""
CONFIGS: dict[str, dict[str, Any]] = {
    "digits": BRIEF,
    "folder": {**PICTURES, "source": {"name": "image_folder", "path": PATHS["folder"]}},
    "parquet": {**PICTURES, "source": {"name": "parquet", "path": PATHS["parquet"], "label": "label"}},
}


def line(name: str, root: Path) -> dict[str, Any]:
    """What the run of one source makes, in an empty folder; the evaluation connects to Ray.

    Returns: `exact`: the same on every machine; `close`: to rounding; `bits`: the same on the same machine.
    """
    pictures.folder(root)
    pictures.parquet(root)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with chdir(root):
            return _line(load("digits", {**CONFIGS[name], "storage": "."}), root.resolve())
    finally:
        torch.set_num_threads(threads)


def machine() -> str:
    """The CPU and the version of PyTorch: where they are the same, floats are the same to the bit."""
    path, wanted = Path("/proc/cpuinfo"), ("vendor_id", "cpu family", "model", "stepping", "flags")
    said = path.read_text().partition("\n\n")[0] if path.exists() else ""
    facts = [found for found in said.splitlines() if found.partition("\t")[0].partition(":")[0].strip() in wanted]
    facts += [platform.machine(), platform.processor(), torch.backends.cpu.get_cpu_capability()]
    return f"{hashlib.sha256(repr(facts).encode()).hexdigest()[:16]} torch {torch.__version__}"


def libraries() -> dict[str, str]:
    return {name: version(name) for name in LIBRARIES}


def _line(config: RunConfig, root: Path) -> dict[str, Any]:
    made = _ingested(config, INGEST.folder(config, Nothing(), root))
    listing = manifest.load(made.folder)
    trained = PRETRAIN.folder(config, made, root)
    order, views = training_order(config, listing), training_pieces(config, made.folder, listing, 1)[1]
    layout = Layout(made.folder, listing, "train")
    batches = {
        f"epoch {epoch} batch {number}": (epoch, next(_batches(order, layout, views, start, start + 1)))
        for epoch in range(EPOCHS)
        for number in range(BATCHES)
        for start in [epoch * order.batches_per_epoch + number]
    }
    finished = {key: _finished(config, arrays, epoch) for key, (epoch, arrays) in batches.items()}
    trained.mkdir(parents=True)
    worker = Worker(0, 1, CPU, trained)
    train(config, worker, order, lambda start, stop: _batches(order, layout, views, start, stop))
    losses = [point.metrics["loss"] for point in outbox.read(trained)]
    path = checkpoint.of_step(trained / "checkpoints", STEPS)
    given = Checkpoint(digest=checkpoint.digest(path), shards=made, folder=path, step=STEPS)
    folder = EVALUATE.folder(config, given.model_copy(update={"digest": ANY}), root)
    folder.mkdir(parents=True)
    evaluate.run(config, given, folder)
    subjects = encode.subjects_of(config, given)
    kept = encode.features(config, made, listing, root / "features", subjects)  # those just made
    features = kept["encoder"].load("test")[0].numpy()  # [N, D]
    scores = (folder / "report" / "scores.json").read_text()
    return {
        "exact": {
            "manifest": made.digest,
            "stages": {path.parent.name: path.name for path in (made.folder, trained, folder)},
            "views": {key: {name: _sha256(x) for name, x in arrays.items()} for key, (_, arrays) in batches.items()},
        },
        "close": {
            "finished": {key: [_summary(x) for x in views] for key, views in finished.items()},
            "losses": losses,
            "features": _summary(features),
            "scores": json.loads(scores),
        },
        "bits": {
            "finished": {key: [_sha256(x) for x in views] for key, views in finished.items()},
            "losses": [repr(loss) for loss in losses],
            "checkpoint": given.digest,
            "features": _sha256(features),
            "scores": hashlib.sha256(scores.encode()).hexdigest(),
        },
    }


def _ingested(config: RunConfig, folder: Path) -> ShardSet:
    """As if all parts were left by an ingest that was interrupted, which then needs no Ray."""
    source, settings = source_of(config), config.ingest
    rules = Rules(image_fields(settings.max_pixels), settings.test_fraction, settings.row_group_kb << 10)
    for job in jobs(source, settings.shard_mb):
        writing.write(source, job, rules, folder)
    return INGEST.run(config, Nothing(), folder)


def _batches(order: Order, layout: Layout, views: Views, start: int, stop: int) -> Iterator[Arrays]:
    """What the read tasks of one worker make of global batches start..stop, a block for each."""
    for span in order.spans(start, stop, 1):
        yield read_piece(layout.piece(order.share(span, 0, 1), span.epoch), views)


def _finished(config: RunConfig, arrays: Arrays, epoch: int) -> list[np.ndarray]:
    """The views as the method reads them: float32."""
    chains = build_chains(config.views)
    kinds = [chains[kind] for kind in find("ssl_core.methods", config.method.name).kinds(config.method)]
    salts = [salt(config.seed, epoch, view) for view in range(len(kinds))]
    return [view.numpy() for view in to_batch(arrays, kinds, salts, CPU, None).views]


def _sha256(array: np.ndarray) -> str:
    """Of shape, type and content."""
    head = f"{array.dtype.str} {array.shape} ".encode()
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()


def _summary(array: np.ndarray) -> list[float]:
    """Mean, standard deviation, mean magnitude, and a sum in which every place counts differently."""
    x = array.astype(np.float64).ravel()
    return [float(x.mean()), float(x.std()), float(np.abs(x).mean()), float(np.abs(x) @ np.linspace(0, 1, len(x)))]


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that Ray starts
    with tempfile.TemporaryDirectory() as made_in:
        sources = {name: line(name, Path(made_in, name)) for name in CONFIGS}
    written = {"machine": machine(), "libraries": libraries(), "sources": sources}
    FILE.write_text(json.dumps(written, indent=1) + "\n")
