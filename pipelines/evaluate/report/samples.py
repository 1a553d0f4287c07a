"""Some test samples with their features, kept beside the report: what a review draws maps and galleries from.

Shapes: n samples, D feature width, H x W pixels.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from pipelines.errors import UserError
from pipelines.storage.atomic import aside

NAME = "samples.safetensors"
LIMIT, SIDE = 400, 64


class Samples(NamedTuple):
    """Test samples in the order of the shards."""

    sample_id: NDArray[np.int64]
    """[n]"""
    features: NDArray[np.float32]
    """[n, D]"""
    images: NDArray[np.uint8]
    """[n, H, W, 3], at most SIDE pixels a side."""
    label: NDArray[np.int64] | None
    """[n] class numbers; None: no labels."""
    classes: tuple[str, ...]
    """Class number -> name; empty: no labels."""

    def name(self, row: int) -> str:
        """The class of a row; empty: no labels."""
        return "" if self.label is None else self.classes[int(self.label[row])]


def save(
    folder: Path,
    sample_id: NDArray[np.int64],
    features: NDArray[np.float32],
    images: NDArray[np.uint8],
    label: NDArray[np.int64] | None,
    classes: Sequence[str] | None,
) -> None:
    """Write at most LIMIT of the samples, evenly spread, into `folder`.

    Args:
        sample_id: [n].
        features: [n, D].
        images: [n, H, W, 3].
        label: [n], or None.
    """
    kept = np.unique(np.linspace(0, len(sample_id) - 1, min(LIMIT, len(sample_id)), dtype=np.int64))
    tensors: dict[str, NDArray[Any]] = {
        "sample_id": sample_id[kept],
        "features": np.ascontiguousarray(features[kept], np.float32),
        "images": np.stack([_small(image) for image in images[kept]]),  # [n, h, w, 3]
    }
    if label is not None:
        tensors["label"] = label[kept].astype(np.int64)
    with aside(folder / NAME) as part:
        save_file(tensors, part, metadata={"classes": json.dumps(list(classes or ()))})


def load(folder: Path) -> Samples | None:
    """Read what `save` wrote; None: a report older than this file.

    Raises:
        UserError: it is damaged.
    """
    if not (folder / NAME).exists():
        return None
    try:
        with safe_open(folder / NAME, "np") as file:
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
            classes = tuple(json.loads((file.metadata() or {}).get("classes", "[]")))
        return Samples(found["sample_id"], found["features"], found["images"], found.get("label"), classes)
    except (SafetensorError, KeyError) as error:
        raise UserError(f"{folder / NAME}: cannot be read ({error}); evaluate again") from None


def _small(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    scale = SIDE / max(image.shape[:2])
    if scale >= 1:
        return image
    width, height = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    smaller: NDArray[np.uint8] = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)
    return smaller
