"""The code that MLflow stores with a model and runs to serve it ("models from code"): samples to embeddings.

Needs the `selfray` package of the same version; weights and settings come from the artifacts beside it.
It imports one module of `selfray`, which keeps its name; what is moved must not break the versions that are stored.

Shapes: N samples, D encoder width.
"""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import Model
from numpy.typing import NDArray

from pipelines.model.embedder import Embedder

BATCH = 64


class EmbedSamples(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """`predict` maps N samples to [N, D] float32.

    It takes a data frame with one column of encoded samples, or a list of them: bytes, or base64 text as JSON carries
    it; or values: images as [H, W, 3] uint8 arrays of any sizes or one [N, H, W, 3] array, series as arrays or lists
    of numbers [steps] or [steps, channels], texts as they are.
    A JPEG that is given encoded is decoded at a reduced size where the view is smaller, as in training; its pixels as
    an array give an embedding that differs by a few percent of its length.
    """

    def load_context(self, context: Any) -> None:
        config = Path(context.artifacts["config"])
        wanted = (Model.load(config.parents[1]).metadata or {}).get("selfray.config_sha256", "")  # "": an older Selfray
        if wanted and hashlib.sha256(config.read_bytes()).hexdigest() != wanted:
            raise ValueError(f"{config.name}: not what was registered; do not use it")
        self._embedder = Embedder(config.parent)

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> NDArray[np.float32]:  # MLflow acts on the hint of model_input: with this one it passes anything on as it is
        items = _items(model_input)
        parts = [np.empty((0, self._embedder.card.embed_dim), np.float32)]
        for first in range(0, len(items), BATCH):  # decoded a batch at a time: pixels take far more room than files
            batch = [self._value(item, first + row) for row, item in enumerate(items[first : first + BATCH])]
            parts.append(self._embedder.embed(self._embedder.views(batch)))  # [B, D]
        return np.concatenate(parts)  # [N, D]

    def _value(self, item: Any, row: int) -> Any:
        """One decoded sample."""
        try:
            if isinstance(item, str) and not self._embedder.codec.takes_text:
                item = _base64(item)
            if isinstance(item, bytes | bytearray | memoryview):
                return self._embedder.decode(bytes(item))
            return self._embedder.codec.checked(item)
        except ValueError as error:  # DecodeError is one
            raise ValueError(f"{self._embedder.chain.field} {row}: {error}") from None


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)  # MLflow's examples have line breaks
    except ValueError as error:
        raise ValueError(f"text that is no base64 ({error})") from None


def _items(model_input: Any) -> Sequence[Any]:
    if isinstance(model_input, pd.DataFrame):
        if len(model_input.columns) != 1:
            raise ValueError(f"give one column of encoded samples, not {len(model_input.columns)} columns")
        return list(model_input.iloc[:, 0])
    if isinstance(model_input, bytes | str):
        return [model_input]
    return list(model_input)  # of one array: views of its rows, no copies


mlflow.models.set_model(EmbedSamples())
