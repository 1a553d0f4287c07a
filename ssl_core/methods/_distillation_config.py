"""Keys that DINO, iBOT and DINOv2 share; free of torch, as `selfray show` reads it."""

from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from ssl_core.config import NamedConfig

Share = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]


class DistillationConfig(NamedConfig):
    """Keys of a student, its teacher and their heads."""

    num_local: NonNegativeInt = 8
    """Small crops beside the two large ones, from `views.local`; the teacher sees none of them (DINO, section 3.1)."""
    num_prototypes: Annotated[int, Field(ge=2)] = 65536
    """K, width of the head's output (DINO, appendix C); 1024 suits small data."""
    hidden_dim: PositiveInt = 2048
    """Width of the head's hidden layers."""
    bottleneck_dim: PositiveInt = 256
    """Width of the unit vectors that are compared with prototypes."""
    student_temperature: PositiveFloat = 0.1
    """Softmax temperature of the predictions (DINO, section 3.2)."""
    teacher_temperature: PositiveFloat = 0.07
    """Of the targets, after the rise; lower is sharper (DINO, section 3.2)."""
    start_teacher_temperature: PositiveFloat = 0.04
    """At the first step, where a higher one collapses."""
    temperature_rise: Share = 0.1
    """Share of training in which it rises, in a straight line (the authors: 30 of 300 epochs)."""
    momentum: BelowOne = 0.996
    """Of the teacher at the start; it rises to 1 as half a cosine (DINO, section 3.1). Short runs want 0.99."""
    freeze_fraction: Share = 0.01
    """Share of training in which prototypes stand still (the authors: the first epoch)."""
