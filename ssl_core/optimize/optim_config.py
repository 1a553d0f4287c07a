"""The keys under `optim:`, apart from the optimizers, which import torch."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

from ssl_core.config import Config

Fraction = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]


class OptimConfig(Config):
    """The optimizer and its learning-rate schedule: linear warm-up, then a cosine."""

    name: Literal["adamw", "sgd", "lars"] = "adamw"
    lr: PositiveFloat = 1e-3
    """Learning rate for a global batch of 256; `lr_scaling` says what another batch makes of it."""
    lr_scaling: Literal["linear", "sqrt", "none"] = "linear"
    """Linear: Goyal et al., 2017; sqrt: SimCLR, B.1."""
    weight_decay: NonNegativeFloat = 0.05
    """Not applied to biases, norms and other vectors."""
    end_weight_decay: NonNegativeFloat | None = None
    """Where half a cosine takes the weight decay by the last step (DINO: 0.04 to 0.4); null: it stays."""
    momentum: BelowOne = 0.9
    """Of sgd and lars."""
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.999)
    """Of adamw; MAE takes 0.9 and 0.95 (table 8)."""
    warmup_fraction: Fraction = 0.1
    """Share of all steps in which the learning rate rises from zero."""
    end_lr_fraction: Fraction = 0.0
    """Where the cosine ends, as a share of the peak."""
    grad_clip: PositiveFloat | None = None
    """Largest norm of the gradient; null leaves it alone."""
    grad_clip_by: Literal["all", "parameter"] = "all"
    """Whose norm that is: of the whole gradient, or of each parameter's own (DINO)."""
