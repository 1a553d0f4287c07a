"""What a codec is: the stored bytes of one field to a value, and back. NumPy only: readers never import torch.

Adding a kind of field is one file here, one in sources, one or more in augment and encoders.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ssl_core.spec import ViewSpec

V = TypeVar("V")


class DecodeError(ValueError):
    """Bytes that are not what they should be, with the reason in a few words; the sample goes to quarantine."""


class Codec(ABC, Generic[V]):
    """One kind of field. Built as `cls(config)`; pure, and pickled into Ray tasks."""

    version: ClassVar[int] = 1
    """Of `clean` and `decode`: raised when the same bytes would become something else; recorded in the manifest."""
    takes_text: ClassVar[bool] = False
    """Whether a `str` that a user has in memory is a value; elsewhere it is base64 of one, as JSON carries bytes."""
    compression: ClassVar[str] = "none"
    """Of its Parquet column: none where `clean` gives compressed bytes, else zstd."""

    @abstractmethod
    def clean(self, data: bytes) -> bytes:
        """The bytes to store: verified, canonical, without metadata.

        Raises:
            DecodeError: they cannot be read, or pass a limit of the config.
        """

    @abstractmethod
    def decode(self, data: bytes, reduction: int = 1) -> V:
        """
        Args:
            data: what `clean` gave, or bytes that a user sends to a registered model.
            reduction: 1, or the factor by which the value may come smaller (2, 4, 8), where `reduces`.
        Raises:
            DecodeError: as `clean`.
        """

    @property
    def changes_values(self) -> bool:
        """Whether `clean` stores other values than were given: what is decoded for a user is cleaned first."""
        return False

    def reduces(self, data: bytes) -> bool:
        """Whether decoding can give a smaller value at less cost."""
        return False

    @abstractmethod
    def extent(self, data: bytes) -> tuple[int, ...]:
        """Size of the value by the header alone: (height, width), (length, channels).

        Raises:
            DecodeError: there is no such header, or it passes a limit.
        """

    sketch_view: ClassVar[Mapping[str, Any] | None] = None
    """Config of the chain whose views `sketches` reads; None: near copies of this kind are not looked for."""

    def sketches(self, views: NDArray[Any]) -> NDArray[np.uint64]:
        """[B, ...] views of `sketch_view` -> [B]: 64 bits that near copies share but for a few."""
        raise NotImplementedError

    def similarity(self, a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float32]:
        """[B, ...] and [B, ...] views of `sketch_view` -> [B] in [-1, 1]: confirms pairs whose sketches are near."""
        raise NotImplementedError

    @abstractmethod
    def drawn(self, spec: ViewSpec, count: int = 5) -> list[bytes]:
        """`count` encoded values that are nobody's data, fit for views of `spec`: a registered
        version is checked by them."""

    @abstractmethod
    def encode(self, value: Any) -> bytes:
        """The bytes of a value that a user has in memory. Raises as `checked`."""

    @abstractmethod
    def checked(self, value: Any) -> V:
        """A value that a user has in memory, e.g. an array given to a served model, as `decode` would give it.

        Raises:
            DecodeError: not such a value; says what is wanted.
        """
