"""What each test sample scored, kept beside the report: two versions are compared on the samples both have.

Shapes: M test samples.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipelines.errors import UserError

NAME = "outcomes.safetensors"
_IDS = "sample_id"


class Outcomes(NamedTuple):
    """One row per test sample that was scored."""

    sample_id: Tensor
    """[M] int64."""
    values: dict[str, Tensor]
    """Score -> [M] float32 whose mean is the score; scores that are no mean over samples are absent."""


def save(folder: Path, sample_id: Tensor, values: Mapping[str, Tensor]) -> None:
    """Write `folder/outcomes.safetensors`.

    Args:
        sample_id: [M] int64.
        values: score -> [M].
    """
    tensors = {name: value.to(torch.float32).contiguous() for name, value in values.items()}
    part = folder / f"{NAME}.part"
    save_file({_IDS: sample_id.contiguous(), **tensors}, part)
    part.replace(folder / NAME)


def load(folder: Path) -> Outcomes:
    """Read what `save` wrote into a report folder.

    Raises:
        UserError: no such file (an older report, or one without labels), or one that cannot be read.
    """
    path = folder / NAME
    if not path.exists():
        raise UserError(f"{path}: not there; the report is older than outcomes, or had no labels: evaluate again")
    try:
        tensors = load_file(path)
        return Outcomes(tensors.pop(_IDS), tensors)
    except (SafetensorError, KeyError) as error:
        raise UserError(f"{path}: cannot be read ({error}); evaluate again") from None
