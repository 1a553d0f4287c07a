"""Checkpoints on disk: safetensors and JSON, whole or not there at all.

`checkpoints/step_00000120/` holds method.safetensors (weights, teachers, queues), optimizer.safetensors
and state.json (step, sha256 of both, what was running). It is written under another name and renamed.
Tensors in it are whole, also those of a method that was sharded: any number of workers, sharded or not, can go on.
Nothing random is saved: order, views and masks are functions of the step (invariants 1 and 2).
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pipelines.errors import UserError
from pipelines.storage import inputs, journal
from pipelines.storage.checksum import sha256_of
from ssl_core.methods.base import Method
from ssl_core.optimize.optimizers import load_optimizer_tensors_, optimizer_tensors
from ssl_core.optimize.sharding import share_of, whole

METHOD, OPTIMIZER, STATE = "method.safetensors", "optimizer.safetensors", "state.json"
TORN = (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, KeyError, TypeError, SafetensorError)
"""What reading a checkpoint raises that is not whole. Any other OSError speaks of the storage, and may pass."""


Contents = Mapping[str, Mapping[str, Tensor]]
"""File name -> its tensors by name."""


def contents(method: Method, optimizer: torch.optim.Optimizer) -> Contents:
    """What a checkpoint of now would hold: the tensors themselves, not copies."""
    return {METHOD: method.state_dict(), OPTIMIZER: optimizer_tensors(optimizer, method)}


def gathered(shares: Contents, *, keep: bool) -> Contents:
    """Whole tensors on the CPU from those of a sharded method, one at a time; a collective.

    Args:
        keep: False on workers that only give their shares; they get nothing.
    """
    found: dict[str, dict[str, Tensor]] = {file: {} for file in shares}
    for file, tensors in shares.items():
        for name, share in tensors.items():
            tensor = whole(share)
            if keep:
                found[file][name] = tensor.cpu()
    return found


def save(folder: Path, step: int, method: Method, optimizer: torch.optim.Optimizer, extra: dict[str, Any]) -> Path:
    """`write` of a method that this process holds whole."""
    return write(folder, step, contents(method, optimizer), extra)


def write(folder: Path, step: int, held: Contents, extra: dict[str, Any]) -> Path:
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
        for name, tensors in held.items():
            save_file(_plain(tensors), part / name)
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
    """The newest checkpoint whose files match their sha256, and one line for each newer one passed over.

    Raises:
        OSError: one cannot be read just now; whether it is whole is not known, so none before it is taken.
    """
    passed: list[str] = []
    for path in reversed(_found(folder)):
        reason = _fault(path)
        if reason is None:
            return path, passed
        passed.append(f"{path}: {reason}; going back to the checkpoint before it")
    return None, passed


def last_good(folder: Path) -> str:
    """Words for a message, which may be about a storage that fails: it raises nothing."""
    unread = ""
    try:
        for path in reversed(_found(folder)):
            try:
                if _fault(path) is None:
                    return f"last good checkpoint: {path}{unread}"
            except OSError as error:
                unread = unread or f" (newer ones cannot be read just now: {error.strerror or error})"
    except OSError as error:
        return f"{folder} cannot be read just now ({error.strerror or error})"
    return f"no checkpoint that can be read{unread}" if unread else "no checkpoint was written yet"


def of_step(folder: Path, step: int) -> Path:
    """The checkpoint of this very step.

    Raises:
        OSError: it is not there, not whole, or cannot be read; perhaps this node does not see it yet.
    """
    path = folder / _name(step)
    if (fault := _fault(path)) is not None:
        raise OSError(f"{path}: {fault}")
    return path


def latest_step(folder: Path) -> int:
    """Steps taken by the newest whole checkpoint; 0: there is none. Raises as `latest`."""
    path, _ = latest(folder)
    return int(state_of(path)["step"]) if path else 0


def goes_on(folder: Path) -> str:
    """Where a training whose checkpoints these are goes on, for people."""
    step = latest_step(folder)
    return f"going on from step {step}" if step else "going on from the start: there is no checkpoint yet"


def state_of(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((path / STATE).read_text())
    return state


def newest_state(folder: Path) -> dict[str, Any]:
    """What the newest checkpoint whose state can be read says of itself; {}: there is none. No file is hashed.

    Raises:
        OSError: the storage does not say; see TORN.
    """
    for path in reversed(_found(folder)):
        with suppress(*TORN):
            return dict(state_of(path))
    return {}


def restore_(path: Path, method: Method, optimizer: torch.optim.Optimizer) -> int:
    """Load weights and optimizer in place, a sharded method its shares; returns the number of steps taken."""
    method.load_state_dict(_tensors(path / METHOD, method.state_dict().get))
    parameters = dict(method.named_parameters())
    slots = _tensors(path / OPTIMIZER, lambda key: parameters.get(key.partition("/")[2]))
    load_optimizer_tensors_(optimizer, method, slots)
    return int(state_of(path)["step"])


def weights(path: Path) -> dict[str, Tensor]:
    """The method's tensors, once they match their recorded sha256.

    Raises:
        UserError: the file is missing or was changed; OSError: it cannot be read just now.
    """
    check(path)
    return _tensors(path / METHOD)


def check(path: Path) -> None:
    """Compare the files with their recorded sha256. Raises as `weights`."""
    if (fault := _fault(path)) is None:
        return
    record = path.parent.parent / inputs.RECORD  # while it is there, nothing is trained again
    remedy = f"delete {record} and run again: it goes on from the last whole checkpoint"
    raise UserError(f"{path}: {fault}; {remedy if record.exists() else 'delete this folder and run again'}")


def _tensors(file: Path, like: Callable[[str], Tensor | None] = lambda _: None) -> dict[str, Tensor]:
    """All tensors, each cut down to this worker's share once it is read where `like` gives one that is shared out."""
    try:
        with safe_open(file, "pt") as found:
            return {name: share_of(found.get_tensor(name), like(name)) for name in found.keys()}  # noqa: SIM118
    except SafetensorError as error:  # its hash fits, so it was never one
        raise UserError(f"{file}: not safetensors ({error}); delete its folder and run again") from None


def encoder_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of the encoder that its method exports, under the encoder's own names. Raises as `weights`."""
    found = weights(path)
    prefix = state_of(path).get("exports", "encoder") + "."  # checkpoints of before say nothing
    return {name.removeprefix(prefix): w for name, w in found.items() if name.startswith(prefix)}


def digest(path: Path) -> str:
    """What identifies a checkpoint: the sha256 of its weights."""
    return str(state_of(path)["sha256"][METHOD])


def _name(step: int) -> str:
    return f"step_{step:08d}"


def _found(folder: Path) -> list[Path]:
    """Oldest first."""
    try:  # not glob and Path.is_dir, which take what may not be read for what is not there
        with os.scandir(folder) as entries:
            return sorted(Path(entry) for entry in entries if entry.name.startswith("step_") and entry.is_dir())
    except FileNotFoundError:
        return []


def _fault(path: Path) -> str | None:
    """Why it is not whole.

    Raises:
        OSError: the storage does not say; see TORN.
    """
    try:
        wanted = state_of(path)["sha256"]
        for name in (METHOD, OPTIMIZER):
            if sha256_of(path / name) != wanted[name]:
                return f"{name} does not match its sha256"
    except TORN as error:
        return f"unreadable ({type(error).__name__}: {error})"
    return None


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
