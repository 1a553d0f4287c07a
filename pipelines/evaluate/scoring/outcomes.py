"""What each test sample scored, kept beside the report: two versions are compared on the samples both have.

Shapes: M test samples.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pipelines.errors import UserError
from pipelines.storage.atomic import write_tensors

NAME = "outcomes.safetensors"
_IDS = "sample_id"
_EMPTY: Mapping[str, Tensor] = MappingProxyType({})


class Outcomes(NamedTuple):
    """One row per test sample that was scored."""

    sample_id: Tensor
    """[M] int64."""
    values: dict[str, Tensor]
    """Score -> [M] float32 whose mean is the score; scores that are no mean over samples are absent."""
    some: Mapping[str, Tensor] = _EMPTY
    """Of scores that looked at some samples only: score -> the ids of these, [m] int64; its values are [m] too."""

    def ids(self, score: str) -> Tensor:
        """The samples that a score's values are of, in their order."""
        return self.some.get(score, self.sample_id)


def save(folder: Path, sample_id: Tensor, values: Mapping[str, Tensor], some: Mapping[str, Tensor] = _EMPTY) -> None:
    """Write `folder/outcomes.safetensors`.

    Args:
        sample_id: [M] int64.
        values: score -> [M], or [m] where `some` names the samples.
        some: as in `Outcomes`.
    """
    tensors = {name: value.to(torch.float32) for name, value in values.items()}
    tensors |= {f"{_IDS}/{name}": ids for name, ids in some.items()}
    write_tensors(folder / NAME, {_IDS: sample_id, **tensors})


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
        some = {name.partition("/")[2]: tensors.pop(name) for name in list(tensors) if name.startswith(f"{_IDS}/")}
        return Outcomes(tensors.pop(_IDS), tensors, some)
    except (SafetensorError, KeyError) as error:
        raise UserError(f"{path}: cannot be read ({error}); evaluate again") from None
