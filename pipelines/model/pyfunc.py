"""The code that MLflow stores with a model and runs to serve it ("models from code"): images to embeddings.

Needs the `selfray` package of the same version; weights and settings come from the artifacts beside it.

Shapes: N images, D encoder width.
"""

import base64
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.model.embedder import Embedder

BATCH = 64


class EmbedImages(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """`predict` maps N images to [N, D] float32.

    It takes a data frame with one column of encoded images, a list of them (bytes, or base64 text as
    JSON carries it), a list of [H, W, 3] uint8 arrays of any sizes, or one [N, H, W, 3] uint8 array.
    """

    def load_context(self, context: Any) -> None:
        self._embedder = Embedder(Path(context.artifacts["config"]).parent)

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> NDArray[np.float32]:  # MLflow acts on the hint of model_input: with this one it passes anything on as it is
        images = [self._image(item, row) for row, item in enumerate(_items(model_input))]
        parts = [np.empty((0, self._embedder.card.embed_dim), np.float32)]
        for first in range(0, len(images), BATCH):
            batch = images[first : first + BATCH]
            parts.append(self._embedder.embed(self._embedder.views(batch)))  # [B, D]
        return np.concatenate(parts)  # [N, D]

    def _image(self, item: Any, row: int) -> NDArray[np.uint8]:
        """One decoded image, [H, W, 3]."""
        if isinstance(item, str):
            item = base64.b64decode("".join(item.split()), validate=True)  # MLflow's examples have line breaks
        if isinstance(item, bytes | bytearray | memoryview):
            return self._embedder.decode(bytes(item))
        image: NDArray[Any] = np.asarray(item)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f"image {row}: give encoded bytes or a [H, W, 3] uint8 array, not {image.dtype} {image.shape}"
            )
        return np.ascontiguousarray(image)


def _items(model_input: Any) -> Iterable[Any]:
    if isinstance(model_input, pd.DataFrame):
        if len(model_input.columns) != 1:
            raise ValueError(f"give one column of encoded images, not {len(model_input.columns)} columns")
        return list(model_input.iloc[:, 0])
    if isinstance(model_input, bytes | str):
        return [model_input]
    return list(model_input)


mlflow.models.set_model(EmbedImages())
