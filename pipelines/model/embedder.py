"""A packed encoder, its codec and its chain together: encoded samples in, embeddings out.

Shapes: B samples, D encoder width.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.model.card_file import read_card
from pipelines.model.loader import load_chain, load_encoder
from ssl_core.augment.base import Ragged
from ssl_core.build import build_codec


class Embedder:
    """What serving, checks and exports share, so that all of them feed the encoder as evaluation has done.

    Args:
        folder: of the packed model; its sha256 is checked.
        device: where the encoder runs.
    Raises:
        UserError: see `load_encoder`.
    """

    def __init__(self, folder: Path, device: str = "cpu"):
        self.card = read_card(folder)
        self.chain, self.codec = load_chain(folder), build_codec(self.card.codec_config())
        self.device = torch.device(device)
        self.encoder = load_encoder(folder).to(self.device)

    def decode(self, data: bytes) -> Any:
        """One encoded sample to a value of the codec; an image: [H, W, 3] uint8.

        Raises:
            DecodeError: it cannot be read.
        """
        if self.codec.changes_values:
            data = self.codec.clean(data)
        if not self.codec.reduces(data):
            return self.codec.decode(data)
        extents = np.array([self.codec.extent(data)], np.int64)  # [1, k]
        return self.codec.decode(data, int(self.chain.reduction(extents, np.zeros(1, np.int64), 0)[0]))

    def drawn(self) -> list[bytes]:
        """A few encoded samples that are nobody's data."""
        return self.codec.drawn(self.chain.spec)

    def views(self, values: Sequence[Any]) -> NDArray[Any]:
        """B decoded values -> [B, ...] as the chain gives them, e.g. [B, S, S, 3] uint8.

        Raises:
            DecodeError: a value does not fit the chain.
        """
        made = self.chain(values, np.arange(len(values)), 0)
        return made.x if isinstance(made, Ragged) else made  # its length is told from its padding: `chain.valid`

    def inputs(self, views: NDArray[Any]) -> torch.Tensor:
        """[B, ...] views -> what the encoder reads, [B, *view_shape]."""
        return self.chain.finish(torch.from_numpy(views).to(self.device))

    @torch.no_grad()
    def embed(self, views: NDArray[Any]) -> NDArray[np.float32]:
        """[B, ...] views -> [B, D] float32."""
        x = self.inputs(views)
        embeddings: NDArray[np.float32] = self.encoder(x, self.chain.valid(x)).pooled.float().cpu().numpy()
        return embeddings

    def embed_files(self, files: Sequence[bytes]) -> NDArray[np.float32]:
        """B encoded samples -> [B, D] float32.

        Raises:
            DecodeError: one of them cannot be read.
        """
        return self.embed(self.views([self.decode(data) for data in files]))
