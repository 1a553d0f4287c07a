"""What an encoder offers: one vector per sample and one per token."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ssl_core.spec import IMAGE_AXES, TOKEN_AXES, ViewSpec
from ssl_core.types import Features


class Encoder(nn.Module, ABC):
    """Maps [B, *view_shape] to Features. All that joint-embedding methods need.

    Every subclass is built as `cls(config, spec)` and raises ValueError, naming the config key,
    when it cannot read views of that spec.
    """

    embed_dim: int  # D
    axes: ClassVar[tuple[str, ...]] = IMAGE_AXES
    """Of the views that it reads."""
    reads_valid: ClassVar[bool] = False
    """Whether `valid` changes what it computes; False: ragged views are refused."""
    package: ClassVar[str | None] = None
    """The library whose networks it wraps; None: its lines are ours."""

    def __init__(self, spec: ViewSpec):
        """
        Raises:
            ValueError: it reads other axes, or would take padding for data.
        """
        super().__init__()
        name = type(self).__module__.rpartition(".")[2]
        if spec.axes != self.axes:
            raise ValueError(f"encoder.name: {name} reads {' x '.join(self.axes)}; the views are {spec}")
        if spec.ragged and not self.reads_valid:
            raise ValueError(f"encoder.name: {name} would take padding for data; the views are {spec}")
        self.spec = spec

    @property
    def view_shape(self) -> tuple[int, ...]:
        return self.spec.shape

    def blank(self, spec: ViewSpec | None = None) -> Tensor:
        """[2, *shape] views on the meta device, of `spec` or of its own: to ask a module about shapes."""
        spec = spec or self.spec
        return torch.zeros((2, *spec.shape), device="meta", dtype=torch.int64 if spec.num_ids else torch.float32)

    @property
    def memory_format(self) -> torch.memory_format:
        """In which its convolutions are fastest."""
        return torch.channels_last if self.axes == IMAGE_AXES else torch.contiguous_format

    @abstractmethod
    def forward(self, x: Tensor, valid: Tensor | None = None) -> Features:
        """x [B, *view_shape], valid None or [B, T] bool -> pooled [B, D], tokens [B, N, D]."""

    def layer_features(self, x: Tensor, valid: Tensor | None = None) -> list[Features]:
        """The features of its layers from first to last; the last ones are those of `forward`."""
        return [self(x, valid)]

    def layers(self) -> list[nn.Module]:
        """Its parts from input to output, for learning rates that fall with depth."""
        return opened(self)


def of_map(x: Tensor) -> Features:
    """A feature map [B, D, ...] -> its mean and its positions."""
    return Features(pooled=x.mean(tuple(range(2, x.ndim))), tokens=x.flatten(2).transpose(1, 2))  # [B, D], [B, N, D]


def stage_features(stages: Sequence[nn.Module], x: Tensor) -> list[Features]:
    """The feature map after each of some stages that follow each other."""
    found = list[Features]()
    for stage in stages:
        x = stage(x)
        found.append(of_map(x))
    return found


def opened(module: nn.Module) -> list[nn.Module]:
    """The children of a module, sequences and lists among them replaced by what they hold."""
    found = list[nn.Module]()
    for child in module.children():
        found += list(child.children()) if type(child) in (nn.Sequential, nn.ModuleList) else [child]
    return found


class PatchEncoder(Encoder):
    """An encoder that can run on a subset of its tokens. All that masked methods need.

    The same members serve pixels, tubelets, spectrogram tiles and time-series windows, so a
    masked method is written once for all of them.
    """

    num_tokens: int  # N
    grid: tuple[int, ...]  # tokens along each axis of the view, e.g. (8, 8); the product is N
    patch_dim: int  # P, raw values per patch
    num_class_tokens: int = 0  # E, tokens that stand for no patch: of the class, registers

    @abstractmethod
    def grid_of(self, x: Tensor) -> tuple[int, ...]:
        """Patches along each axis of views [B, *shape] of any size; `grid` is that of `view_shape`.

        Raises:
            ValueError: the patches do not divide these views, with the config key.
        """

    @abstractmethod
    def patchify(self, x: Tensor) -> Tensor:
        """[B, *view_shape] -> [B, N, P]."""

    @abstractmethod
    def unpatchify(self, patches: Tensor) -> Tensor:
        """[B, N, P] -> [B, *view_shape], the inverse of patchify."""

    @abstractmethod
    def embed(
        self,
        patches: Tensor,
        mask: Tensor | None = None,
        mask_token: Tensor | None = None,
        grid: tuple[int, ...] | None = None,
    ) -> Tensor:
        """[B, N, P] -> [B, N, D], positions added; where mask [B, N] is True, mask_token [D] stands for the patch.

        Args:
            grid: of the views that the patches were cut from; None: `self.grid`.
        """

    @abstractmethod
    def encode(self, tokens: Tensor) -> Tensor:
        """[B, K, D] -> [B, E + K, D], any K; tokens that stand for no patch, where there are any, come first."""

    @abstractmethod
    def features_of(self, encoded: Tensor) -> Features:
        """What `encode` gave of all patches, [B, E + N, D] -> pooled [B, D], tokens [B, N, D]."""

    @abstractmethod
    def encode_layers(self, tokens: Tensor) -> list[Tensor]:
        """As `encode`, but the outputs of all blocks from first to last, none of them normalized."""


class StepEncoder(Encoder):
    """An encoder with one token per step of a sequence of any length. All that methods that mask steps need."""

    @abstractmethod
    def embed(self, x: Tensor) -> Tensor:
        """[B, C, T] -> [B, T, H], each step by itself."""

    @abstractmethod
    def encode(self, steps: Tensor) -> Tensor:
        """[B, T, H] -> [B, T, D], each step in its context."""


class TokenEncoder(Encoder):
    """An encoder of ids below `spec.num_ids`. All that language methods need."""

    axes = TOKEN_AXES
    reads_valid = True
    causal: bool
    """Whether a token sees only those before it."""
    embedding: nn.Embedding
    """[num_ids, D]: what ids stand for, and the output weights of methods that predict ids."""

    @abstractmethod
    def embed(self, ids: Tensor) -> Tensor:
        """[B, T] int64 -> [B, T, D], each token by itself."""

    @abstractmethod
    def encode(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        """[B, T, D], valid [B, T] -> [B, T, D], each token in its context."""

    @abstractmethod
    def encode_layers(self, tokens: Tensor, valid: Tensor | None = None) -> list[Tensor]:
        """As `encode`, but the outputs of all blocks from first to last, none of them normalized."""

    @abstractmethod
    def empty_cache(self, batch: int, length: int) -> list[Any]:
        """What `continue_` keeps of `batch` texts of at most `length` tokens, one entry per block."""

    @abstractmethod
    def continue_(self, ids: Tensor, place: Tensor, cache: list[Any]) -> Tensor:
        """What `encode` says of new tokens of a causal encoder, without computing those before them again.

        Args:
            ids: [B, T].
            place: [B, T] their positions, those before them being in the cache.
            cache: from `empty_cache`; the new tokens are added to it.
        Returns: [B, T, D].
        """
