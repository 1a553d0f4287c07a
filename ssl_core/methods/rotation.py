"""Rotation: tell by how much an image was turned (RotNet: Gidaris et al., 2018, https://arxiv.org/abs/1803.07728).

All four turns of an image are in one batch (the paper: it learns much better so). Turns by quarters are
exact and leave no border. The last layers specialize in the task: evaluate a middle one (`evaluate.layer`).
Shapes: B samples, S side of the view.
"""

from typing import Literal

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import Encoder
from ssl_core.methods.base import Method
from ssl_core.spec import IMAGE_AXES
from ssl_core.types import Batch, LossOutput, Progress

TURNS = 4


class Rotation(Method):
    """Tell by how many quarters an image was turned."""

    view_kinds = ("global",)
    axes = IMAGE_AXES

    class Config(NamedConfig):
        name: Literal["rotation"] = "rotation"

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__(encoder)
        _, height, width = encoder.spec.shape
        if height != width:
            raise ValueError(f"method.name: rotation turns by quarters: views must be square, not {height} x {width}")
        self.classifier = nn.Linear(encoder.embed_dim, TURNS)

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        (view,) = batch.views
        turned = torch.cat([view.rot90(turn, (2, 3)) for turn in range(TURNS)])  # [4B, C, S, S]
        turn = torch.arange(TURNS, device=view.device).repeat_interleave(len(view))  # [4B]
        logits = self.classifier(self.encoder(turned).pooled).float()  # [4B, 4]
        accuracy = (logits.detach().argmax(1) == turn).float().mean()
        return LossOutput(cross_entropy(logits, turn), {"accuracy": accuracy})
