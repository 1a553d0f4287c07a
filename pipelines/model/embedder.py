"""A packed encoder and its chain together: encoded images in, embeddings out.

Shapes: B images, S side of a view, D encoder width.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.model.loader import load_chain, load_encoder, read_card
from ssl_core.codecs._image.decode import decode, image_shape
from ssl_core.codecs._image.resize import Image


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
        self.chain = load_chain(folder)
        self.device = torch.device(device)
        self.encoder = load_encoder(folder).to(self.device)

    def decode(self, data: bytes) -> Image:
        """One encoded file to pixels, [H, W, 3] uint8.

        Raises:
            DecodeError: it cannot be read.
        """
        limit = self.card.max_pixels
        shapes = np.array([image_shape(data, max_pixels=limit)], np.int64)  # [1, 2]
        reduction = int(self.chain.reduction(shapes, np.zeros(1, np.int64), 0)[0])
        return decode(data, max_pixels=limit, reduction=reduction)

    def views(self, images: Sequence[Image]) -> NDArray[np.uint8]:
        """B decoded images of any sizes -> [B, S, S, 3] uint8."""
        return self.chain(images, np.arange(len(images)), 0)

    def inputs(self, views: NDArray[np.uint8]) -> torch.Tensor:
        """[B, S, S, 3] uint8 -> what the encoder reads, [B, *view_shape] float32."""
        return self.chain.finish(torch.from_numpy(views).to(self.device))

    @torch.no_grad()
    def embed(self, views: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[B, S, S, 3] uint8 -> [B, D] float32."""
        embeddings: NDArray[np.float32] = self.encoder(self.inputs(views)).pooled.float().cpu().numpy()
        return embeddings

    def embed_files(self, files: Sequence[bytes]) -> NDArray[np.float32]:
        """B encoded files -> [B, D] float32.

        Raises:
            DecodeError: one of them cannot be read.
        """
        return self.embed(self.views([self.decode(data) for data in files]))
