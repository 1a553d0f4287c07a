"""SimCLR as LightlySSL's documentation trains it: `python -m tests.benchmarks.peer_trainer SPEC`, a JSON of Spec.

Its transform, projection head and loss, a torch DataLoader and SGD in float32 (docs.lightly.ai/examples/simclr.html).
Beyond that page: images are held decoded, as torchvision's CIFAR-10 holds them, and the loader's workers live on.
The encoder is ours. Prints the images per second from the end of step `first` to the end of step `last`.
"""

import os
import sys
import time
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ssl_core.encoders.resnet import ResNet
from ssl_core.spec import IMAGE_AXES, ViewSpec

LEARNING_RATE = 0.06
"""Of the documentation's SGD; no part of the speed."""


class Spec(BaseModel):
    images: Path
    """[N, S, S, 3] uint8, as NumPy writes it."""
    size: int
    crop_min: float
    strength: float
    blur: float
    width: int
    hidden_dim: int
    projection_dim: int
    temperature: float
    batch: int
    loaders: int
    """Worker processes of the DataLoader."""
    threads: int
    first: int
    last: int


class Pictures(Dataset[Any]):
    def __init__(self, images: np.ndarray, transform: Any):
        self._images, self._transform = images, transform

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[list[Tensor], int]:
        return self._transform(Image.fromarray(self._images[index])), 0


class SimCLR(nn.Module):
    def __init__(self, spec: Spec):
        super().__init__()
        from lightly.models.modules import SimCLRProjectionHead

        self.backbone = ResNet(ResNet.Config(width=spec.width), ViewSpec(IMAGE_AXES, (3, spec.size, spec.size)))
        self.projection_head = SimCLRProjectionHead(self.backbone.embed_dim, spec.hidden_dim, spec.projection_dim)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.projection_head(self.backbone(x).pooled)
        return z


def rate(spec: Spec) -> float:
    """Images per second."""
    from lightly.loss import NTXentLoss
    from lightly.transforms import SimCLRTransform

    torch.manual_seed(0)
    torch.set_num_threads(spec.threads)
    transform = SimCLRTransform(
        input_size=spec.size, cj_strength=spec.strength, min_scale=spec.crop_min, gaussian_blur=spec.blur
    )
    loader = DataLoader(
        Pictures(np.load(spec.images), transform),
        batch_size=spec.batch,
        shuffle=True,
        drop_last=True,
        num_workers=spec.loaders,
        persistent_workers=spec.loaders > 0,
    )
    model = SimCLR(spec)
    criterion = NTXentLoss(temperature=spec.temperature)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    began = 0.0
    for step, ((x0, x1), _) in enumerate(chain.from_iterable(repeat(loader)), start=1):
        loss = criterion(model(x0), model(x1))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step == spec.first:
            began = time.perf_counter()
        if step == spec.last:
            break
    return (spec.last - spec.first) * spec.batch / (time.perf_counter() - began)


if __name__ == "__main__":
    os.environ["LIGHTLY_DID_VERSION_CHECK"] = "True"  # older ones ask the network when imported
    print(rate(Spec.model_validate_json(sys.argv[1])))
