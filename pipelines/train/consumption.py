"""consumption.jsonl: which samples each optimizer step really took, as rank 0 saw it; train/audit.py checks it.

Two kinds of line:

    {"from": 40}                                          a process takes over after step 40
    {"step": 50, "sums": [...], "replaced": [...]}        steps 41 to 50, one number of each kind per step

A sum is that of a 64-bit hash of every sample id in the global batch, modulo 2^64: it does not depend on the order
or on the number of workers, and another set of samples has the same one with a chance of about 2^-64 (a multiset hash:
Clarke et al., 2003, https://doi.org/10.1007/978-3-540-40061-5_12). So the log takes some 20 bytes per step whatever
the batch. Lines are on disk before the checkpoint that covers them.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.storage import journal
from ssl_core.noise import keyed_bits, salt

NAME = "consumption.jsonl"
_SALT = salt(0xC0)

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Consumed:
    """What the surviving processes took: what a killed one did after its last checkpoint is taken back."""

    sums: dict[int, list[int]]
    """Step -> its sum; more than one if the step was taken more than once."""
    replaced: dict[int, int]
    """Step -> samples in it that did not decode and were replaced."""
    restarts: tuple[int, ...]
    """Steps from which another process went on."""
    taken_again: int
    """Steps that were logged but not yet covered by a checkpoint when a process ended."""


def begin(folder: Path, step: int) -> None:
    """A process goes on after `step` (0: from the start)."""
    journal.append(folder / NAME, [{"from": step}])


def append(folder: Path, step: int, sums: Ints, replaced: Ints) -> None:
    """Log the steps up to and including `step`; [L] of each, for the last L steps."""
    journal.append(folder / NAME, [{"step": step, "sums": sums.tolist(), "replaced": replaced.tolist()}])


def flush(folder: Path) -> None:
    """The lines so far are on the disk when this returns; called before the checkpoint that covers them."""
    if (folder / NAME).exists():
        journal.flush(folder / NAME)


def read(folder: Path) -> Consumed:
    """Every step that counts, from all processes that worked in this folder."""
    sums: dict[int, list[int]] = {}
    replaced: dict[int, int] = {}
    starts: list[int] = []
    again = 0
    for line in journal.read(folder / NAME):
        if "from" in line:
            starts.append(line["from"])
            for step in [step for step in sums if step > line["from"]]:
                del sums[step], replaced[step]
                again += 1
            continue
        first = line["step"] - len(line["sums"]) + 1
        for step, (value, count) in enumerate(zip(line["sums"], line["replaced"], strict=True), first):
            sums.setdefault(step, []).append(value)
            replaced[step] = replaced.get(step, 0) + count
    return Consumed(sums, replaced, tuple(starts[1:]), again)


def sum_of(sample_id: Ints) -> int:
    """The hash of a multiset of ids, [n] -> int64; sums of parts add up to the sum of the whole, modulo 2^64."""
    return int(hashes(sample_id).sum())


def hashes(sample_id: Ints) -> Ints:
    """[n] ids -> [n] 64-bit hashes."""
    return keyed_bits(np.asarray(sample_id, np.int64), np.zeros(1, np.int64), _SALT)[:, 0]
