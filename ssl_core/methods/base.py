"""What a self-supervised method is."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import Encoder
from ssl_core.types import Batch, LossOutput, Progress


class Method(nn.Module, ABC):
    """An encoder plus whatever a pre-training objective adds to it; forward returns the loss.

    Subclass contract (tests/contracts/test_methods.py runs it on every file of this folder):
      view_kinds    which views forward reads, in order; each is a key under `views:` in the YAML;
                    where that depends on the config, `kinds` says so
      encoder_type  the weakest encoder it can work with
      reads         the kind of target that its batches carry, "class" for `supervised`; None: self-supervised
      min_samples   samples of a micro-batch, over all workers, without which the loss says nothing
      Config        nested settings; its `name` is the file name
      forward       mean loss over this worker's samples; all randomness keyed by batch.sample_id
      before_step   optional: what changes gradients before each optimizer step (layers that wait)
      after_step    optional: what changes after each optimizer step (teachers, queues)
      reconstruct   optional: (input, output) pictures for the report
      generate      optional: views made of noise, for the report
    """

    view_kinds: ClassVar[tuple[str, ...]]
    encoder_type: ClassVar[type] = Encoder
    axes: ClassVar[tuple[str, ...] | None] = None
    """Of the views that it works on, e.g. IMAGE_AXES; None: any."""
    reads_valid: ClassVar[bool] = False
    """Whether it passes `batch.valid` on; False: ragged views are refused."""
    reads: ClassVar[str | None] = None
    min_samples: ClassVar[int] = 1

    mixes_specs: ClassVar[bool] = False
    """Whether its views may have several specs (crops of two sizes); False: all are that of the evaluation view."""

    exports: ClassVar[str] = "encoder"
    """Its part that is evaluated and registered: "encoder", or the name of a teacher that is better."""

    constant_lr: ClassVar[tuple[str, ...]] = ()
    """Its parts whose learning rate does not follow the schedule, e.g. SimSiam's predictor."""

    @classmethod
    def kinds(cls, config: NamedConfig) -> tuple[str, ...]:
        """The view kinds that forward reads with this config, in order."""
        return cls.view_kinds

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder

    @abstractmethod
    def forward(self, batch: Batch, progress: Progress) -> LossOutput: ...

    @property
    def exported(self) -> Encoder:
        """The encoder that is evaluated and registered."""
        exported: Encoder = getattr(self, self.exports)
        return exported

    def before_step(self, progress: Progress) -> None:
        """Called before optimizer step number `progress.step` (steps taken, so at least 0), gradients at hand."""

    def after_step(self, progress: Progress) -> None:
        """Called after optimizer step number `progress.step` (steps taken, so at least 1)."""

    def reconstruct(self, batch: Batch) -> tuple[Tensor, Tensor] | None:
        """What the network was shown and what it made of it, each [B, *view_shape]; None: not a method that does."""
        return None

    def generate(self, sample_id: Tensor) -> Tensor | None:
        """Views made of nothing but noise keyed by sample_id [B]: [B, *view_shape]; None: not a method that does."""
        return None
