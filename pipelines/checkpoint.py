"""Checkpoints on disk: safetensors and JSON, whole or not there at all.

`checkpoints/step_00000120/` holds method.safetensors (weights, teachers, queues), optimizer.safetensors
and state.json (step, sha256 of both, what was running). It is written under another name and renamed.
Nothing random is saved: order, views and masks are functions of the step (invariants 1 and 2).
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipelines import journal
from pipelines.errors import UserError
from pipelines.manifest import sha256_of
from ssl_core.methods.base import Method
from ssl_core.optim import load_optimizer_tensors_, optimizer_tensors

METHOD, OPTIMIZER, STATE = "method.safetensors", "optimizer.safetensors", "state.json"


def save(folder: Path, step: int, method: Method, optimizer: torch.optim.Optimizer, extra: dict[str, Any]) -> Path:
    """Write `folder/step_xxxxxxxx` and drop all but the newest two, and those of later steps: they were passed over.

    Raises:
        OSError, SafetensorError: the storage is full or not writable; earlier checkpoints are untouched.
    """
    final = folder / _name(step)
    part = folder / f".{final.name}.part"
    for killed in folder.glob(".step_*.part"):
        shutil.rmtree(killed)
    part.mkdir(parents=True)
    try:
        save_file(_plain(method.state_dict()), part / METHOD)
        save_file(_plain(optimizer_tensors(optimizer, method)), part / OPTIMIZER)
        state = {"format": 1, "step": step, "sha256": {n: sha256_of(part / n) for n in (METHOD, OPTIMIZER)}, **extra}
        (part / STATE).write_text(json.dumps(state, indent=2))
        for name in (METHOD, OPTIMIZER, STATE):
            journal.flush(part / name)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)  # half a checkpoint must not fill the disk further
        raise
    if final.exists():  # the same step again, after a restart from an older one
        shutil.rmtree(final)
    part.replace(final)
    journal.flush(folder)
    found = _found(folder)
    kept = [path for path in found if path.name <= final.name][-2:]
    for other in set(found).difference(kept):
        shutil.rmtree(other)
    return final


def latest(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint whose files match their sha256, and one line for each newer one passed over."""
    passed: list[str] = []
    for path in reversed(_found(folder)):
        reason = _fault(path)
        if reason is None:
            return path, passed
        passed.append(f"{path}: {reason}; going back to the checkpoint before it")
    return None, passed


def of_step(folder: Path, step: int) -> Path:
    """The checkpoint of this very step.

    Raises:
        OSError: it is not there, or not whole; perhaps this node does not see it yet.
    """
    path = folder / _name(step)
    if (fault := _fault(path)) is not None:
        raise OSError(f"{path}: {fault}")
    return path


def latest_step(folder: Path) -> int:
    """Steps taken by the newest whole checkpoint; 0: there is none."""
    path, _ = latest(folder)
    return int(state_of(path)["step"]) if path else 0


def state_of(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((path / STATE).read_text())
    return state


def restore_(path: Path, method: Method, optimizer: torch.optim.Optimizer) -> int:
    """Load weights and optimizer in place; returns the number of steps taken."""
    method.load_state_dict(_tensors(path / METHOD))
    load_optimizer_tensors_(optimizer, method, _tensors(path / OPTIMIZER))
    return int(state_of(path)["step"])


def weights(path: Path) -> dict[str, Tensor]:
    """The method's tensors, once they match their recorded sha256.

    Raises:
        UserError: the file is missing or was changed.
    """
    if (fault := _fault(path)) is not None:
        raise UserError(f"{path}: {fault}; delete this folder and run again")
    return _tensors(path / METHOD)


def _tensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except SafetensorError as error:  # its hash fits, so it was never one
        raise UserError(f"{file}: not safetensors ({error}); delete its folder and run again") from None


def encoder_weights(path: Path) -> dict[str, Tensor]:
    """The encoder's tensors among them, under the encoder's own names. Raises as `weights`."""
    prefix = "encoder."
    return {name.removeprefix(prefix): w for name, w in weights(path).items() if name.startswith(prefix)}


def digest(path: Path) -> str:
    """What identifies a checkpoint: the sha256 of its weights."""
    return str(state_of(path)["sha256"][METHOD])


def _name(step: int) -> str:
    return f"step_{step:08d}"


def _found(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step_*") if path.is_dir())


def _fault(path: Path) -> str | None:
    try:
        wanted = state_of(path)["sha256"]
        for name in (METHOD, OPTIMIZER):
            if sha256_of(path / name) != wanted[name]:
                return f"{name} does not match its sha256"
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        return f"unreadable ({type(error).__name__}: {error})"
    return None


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
