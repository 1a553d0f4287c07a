"""What an encoder offers: one vector per sample and one per token."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from ssl_core.types import Features


class Encoder(nn.Module, ABC):
    """Maps [B, *view_shape] to Features. All that joint-embedding methods need.

    Every subclass is built as `cls(config, view_shape)` and raises ValueError, naming the config key,
    when it cannot read views of that shape. `view_shape` is channels first: (3, 32, 32).
    """

    embed_dim: int  # D
    package: ClassVar[str | None] = None
    """The library whose networks it wraps; None: its lines are ours."""

    def __init__(self, view_shape: tuple[int, ...]):
        super().__init__()
        self.view_shape = view_shape

    @abstractmethod
    def forward(self, x: Tensor, valid: Tensor | None = None) -> Features:
        """x [B, *view_shape], valid None or [B, T] bool -> pooled [B, D], tokens [B, N, D]."""

    def layers(self) -> list[nn.Module]:
        """Its parts from input to output, for learning rates that fall with depth."""
        return opened(self)


def opened(module: nn.Module) -> list[nn.Module]:
    """The children of a module, sequences among them replaced by what they hold."""
    children = list(module.children())
    return [part for child in children for part in (child if type(child) is nn.Sequential else [child])]


class PatchEncoder(Encoder):
    """An encoder that can run on a subset of its tokens. All that masked methods need.

    The same members serve pixels, tubelets, spectrogram tiles and time-series windows, so a
    masked method is written once for all of them.
    """

    num_tokens: int  # N
    grid: tuple[int, ...]  # tokens along each axis of the view, e.g. (8, 8); the product is N
    patch_dim: int  # P, raw values per patch
    num_class_tokens: int = 0  # E, tokens that stand for no patch

    @abstractmethod
    def patchify(self, x: Tensor) -> Tensor:
        """[B, *view_shape] -> [B, N, P]."""

    @abstractmethod
    def unpatchify(self, patches: Tensor) -> Tensor:
        """[B, N, P] -> [B, *view_shape], the inverse of patchify."""

    @abstractmethod
    def embed(self, patches: Tensor) -> Tensor:
        """[B, N, P] -> [B, N, D], positions added."""

    @abstractmethod
    def encode(self, tokens: Tensor) -> Tensor:
        """[B, K, D] -> [B, E + K, D], any K <= N; class tokens, where there are any, come first."""
