"""What runs in the clean process of `check`: load, embed the examples again, take the time; a line of JSON.

    python -I -c "..." FOLDER EXAMPLES BATCH_SIZE

While the artifact is read, unpickling, starting programs and connecting anywhere end the process.
"""

import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from pipelines.errors import UserError
from pipelines.model import examples
from pipelines.model.embedder import Embedder
from pipelines.model.examples import Examples
from ssl_core.codecs.base import DecodeError
from ssl_core.config import Config

FORBIDDEN = {
    "pickle.find_class",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "socket.connect",
}
"""Audit events (https://docs.python.org/3/library/audit_events.html); unpickling an object looks its class up."""
TIMED_S, MIN_ROUNDS = 1.0, 5


class LoadCheck(Config):
    """What the clean process found."""

    problem: str = ""
    """Why it does not load or run; empty: it does."""
    latency_ms: float | None = None
    threads: int = 0
    num_examples: int | None = None
    """None: no stored examples."""
    max_difference: float | None = None


def main() -> None:
    folder, stored, batch_size = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    sys.addaudithook(_refuse)
    print(measure(folder, stored, batch_size).model_dump_json())


def measure(folder: Path, stored: Path, batch_size: int) -> LoadCheck:
    """Load the model in `folder`, time it, and embed the examples in `stored`, if that is there, again."""
    try:
        embedder = Embedder(folder)
        kept = examples.read(stored) if stored.exists() else None
        files = kept.files if kept else embedder.drawn()
        found = LoadCheck(latency_ms=_latency_ms(embedder, files, batch_size), threads=torch.get_num_threads())
        if kept is None:
            return found
        return found.model_copy(update={"num_examples": len(kept.files), "max_difference": _difference(embedder, kept)})
    except (UserError, DecodeError) as error:
        return LoadCheck(problem=str(error))


def _difference(embedder: Embedder, kept: Examples) -> float:
    """The largest distance of an embedding from the stored one, over the length of that."""
    stored = kept.embeddings.double()  # [K, D]
    made = torch.from_numpy(embedder.embed_files(kept.files)).double()  # [K, D]
    if made.shape != stored.shape:
        raise UserError(f"gives embeddings of shape {tuple(made.shape)}, stored are {tuple(stored.shape)}")
    distance = (made - stored).norm(dim=1) / stored.norm(dim=1).clamp_min(1e-12)  # [K]
    return float(distance.nan_to_num(float("inf")).clamp_max(1e300).max())  # an infinity is no JSON


def _latency_ms(embedder: Embedder, files: list[bytes], batch_size: int) -> float:
    """Milliseconds per sample from bytes to embedding; the median of a second's rounds, after one to warm up."""
    batch = [files[row % len(files)] for row in range(batch_size)]
    seconds: list[float] = []
    embedder.embed_files(batch)
    while len(seconds) < MIN_ROUNDS or sum(seconds) < TIMED_S:
        start = time.perf_counter()
        embedder.embed_files(batch)
        seconds.append(time.perf_counter() - start)
    return float(np.round(1000 * median(seconds) / batch_size, 4))


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event in FORBIDDEN:
        raise RuntimeError(f"the artifact tried to run code ({event} {arguments[:2]})")
