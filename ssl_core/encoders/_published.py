"""What encoders of other libraries share: a network without its classifier, weights from a file on disk.

Shapes: B samples, D input width of the classification layer.
"""

import struct
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ssl_core.nn.norm import BatchNorm2d
from ssl_core.spec import ViewSpec

WRAPPERS = ("state_dict", "model")
"""Keys under which training scripts keep the weights beside other things."""


def check_file(path: Path) -> None:
    """
    Raises:
        ValueError: no such file.
    """
    if not path.is_file():
        raise ValueError(f"encoder.weights: {path}: no such file; nothing is downloaded, so put the weights there")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file, or of a `.pt`/`.pth` state_dict, which is read without running code from it.

    Raises:
        ValueError: no such file, or not a state_dict.
    """
    check_file(path)
    try:
        found: Any = load_file(path) if path.suffix == ".safetensors" else _load_pt(path)
    except (SafetensorError, _Refused, OSError) as error:
        raise ValueError(f"encoder.weights: {path}: cannot be read ({_first_line(error)})") from None
    for key in WRAPPERS:
        found = found[key] if isinstance(found, Mapping) and isinstance(found.get(key), Mapping) else found
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()) or not found:
        raise ValueError(f"encoder.weights: {path}: holds no state_dict (names and tensors); save model.state_dict()")
    return {name.removeprefix("module."): tensor for name, tensor in found.items()}


def load_weights_(
    network: nn.Module,
    path: Path,
    what: str,
    head: str,
    rename: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = dict,
) -> None:
    """Fill a network whose classifier has been taken off; one on the meta device is left as it is.

    Args:
        what: the key that says which network it is, with its value, e.g. "encoder.model resnet18".
        head: name of the classifier in the file; its weights are left out.
        rename: names and shapes of the file to those of the network.
    Raises:
        ValueError: no such file, or it belongs to another architecture.
    """
    check_file(path)
    if any(p.is_meta for p in network.parameters()):
        return  # only the config is being checked
    given = rename({name: t for name, t in read_weights(path).items() if not name.startswith(f"{head}.")})
    wanted = network.state_dict()
    faults = [f"{name} is missing" for name in wanted if name not in given and not name.endswith("num_batches_tracked")]
    faults += [f"{name} is unknown" for name in given if name not in wanted]
    faults += [
        f"{name} has shape {list(given[name].shape)}, needs {list(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in given and given[name].shape != tensor.shape
    ]
    if faults:
        raise ValueError(
            f"encoder.weights: {path}: does not fit {what}: {faults[0]} ({len(faults)} such faults); "
            "name the architecture that the file was saved from"
        )
    network.load_state_dict(dict(given), strict=False)


def without_head_(network: nn.Module) -> tuple[str, int]:
    """Replace the last linear layer by the identity; returns its name and D, the width that it read.

    Raises:
        ValueError: there is no linear classification layer.
    """
    linear = [(name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    if not linear:
        raise ValueError("has no linear classification layer")
    name, layer = linear[-1]
    network.set_submodule(name, nn.Identity())
    return name, layer.in_features


def deterministic_(network: nn.Module) -> None:
    """BatchNorm spans all workers, dropout and stochastic depth are off: no draw comes from a global generator."""
    for name, layer in list(network.named_modules()):
        if type(layer) is nn.BatchNorm2d:
            spanning = BatchNorm2d(layer.num_features, layer.eps, layer.momentum, layer.affine)
            spanning.load_state_dict(layer.state_dict())
            network.set_submodule(name, spanning)
        elif isinstance(layer, nn.Dropout):
            layer.p = 0.0
        elif type(layer).__name__ in ("StochasticDepth", "DropPath"):
            layer.p = layer.drop_prob = 0.0  # torchvision's name, timm's name


def as_rgb(x: Tensor) -> Tensor:
    """[B, 1 or 3, H, W] -> [B, 3, H, W]."""
    return x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x


def check_view(name: str, spec: ViewSpec) -> None:
    """
    Raises:
        ValueError: images that are neither gray nor RGB.
    """
    if spec.shape[0] not in (1, 3):
        raise ValueError(f"encoder.name: {name} reads gray or RGB images; the views are {spec}")


class _Refused(Exception):
    """In our words: torch's advise to read the file without limits, which runs what is in it."""


def _load_pt(path: Path) -> Any:
    """Tensors and plain containers, never code."""
    with path.open("rb") as file:
        start = file.read(2)
    if start == b"PK":
        _must_hold_tensors(path)
    elif start[:1] != b"\x80":  # what older versions of torch.save write
        raise _Refused("not a file of torch.save; was a web page or a Git LFS pointer downloaded in its place?")
    try:
        with warnings.catch_warnings(action="ignore"):  # torch's name its own source lines
            return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError:
        raise _Refused(
            "it holds more than tensors, such as a whole module, or is damaged; reading more would run code from the "
            "file; save model.state_dict()"
        ) from None
    except (RuntimeError, EOFError, LookupError, TypeError, ValueError, AttributeError, struct.error):
        raise _Refused("damaged or cut short") from None


def _must_hold_tensors(path: Path) -> None:
    try:
        with ZipFile(path) as archive:
            names = [name.rpartition("/")[2] for name in archive.namelist()]
    except BadZipFile:
        raise _Refused("damaged or cut short") from None
    if "constants.pkl" in names:
        raise _Refused("a TorchScript program, which is code; save the state_dict() of the model it was made from")
    if "data.pkl" not in names:
        raise _Refused("an archive, but not one of torch.save")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
