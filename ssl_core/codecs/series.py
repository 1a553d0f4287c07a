"""Time series: numbers in even or uneven steps, one or more channels, with values missing.

Shapes: T steps, C channels.
"""

from math import pi
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from ssl_core.codecs._series.stored import SeriesValue, packed, series_extent, unpacked
from ssl_core.codecs.base import Codec, DecodeError
from ssl_core.config import NamedConfig
from ssl_core.noise import keyed_uniform, salt
from ssl_core.spec import ViewSpec

_DRAWN = salt(0x5E21E5)
_WAVES = 3


class Series(Codec[SeriesValue]):
    """Series of real numbers in safetensors: `values` [T, C], NaN where missing, and `time` [T] if steps are uneven."""

    version = 1
    compression = "zstd"

    class Config(NamedConfig):
        name: Literal["series"] = "series"
        max_values: PositiveInt = 10_000_000
        """Steps times channels of one series; a longer one is refused by its header."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def extent(self, data: bytes) -> tuple[int, int]:
        """(T, C) by the header alone.

        Raises:
            DecodeError: no series, or more values than the config allows.
        """
        steps, channels = series_extent(data)
        self._check_size(steps, channels)
        return steps, channels

    def decode(self, data: bytes, reduction: int = 1) -> SeriesValue:
        """
        Args:
            data: safetensors with `values` [T] or [T, C] of any real type, and `time` [T] int64 or none.
            reduction: not read; a series comes whole.
        Raises:
            DecodeError: not a series; infinite values; no channel; fewer than two values; times that do not increase;
                too large.
        """
        self.extent(data)
        tensors = unpacked(data)
        return self._checked(tensors["values"], tensors.get("time"))

    def clean(self, data: bytes) -> bytes:
        return packed(self.decode(data))

    def encode(self, value: Any) -> bytes:
        """
        Args:
            value: SeriesValue, or numbers [T] or [T, C] in anything that NumPy takes; NaN: missing.
        """
        return packed(self.checked(value))

    def checked(self, value: Any) -> SeriesValue:
        """Raises as `encode`; the value as for it."""
        values, time = value if isinstance(value, SeriesValue) else (value, None)
        return self._checked(_numbers(values), None if time is None else np.asarray(time))

    def drawn(self, spec: ViewSpec, count: int = 5) -> list[bytes]:
        """Sums of sines, a ramp and a step, one to two views long; every fourth one has gaps."""
        channels, length = spec.shape
        made = []
        draws = keyed_uniform(np.arange(count), 4 + channels * (3 * _WAVES + 3), _DRAWN)  # [count, ...]
        for index, (longer, first, share, _, *rest) in enumerate(draws):
            steps = max(2, round(length * (1 + longer)))
            place = np.arange(steps)[:, None] / steps  # [T, 1]
            knobs = np.array(rest).reshape(channels, -1)  # [C, 3 waves + 3]
            values = 4 * (knobs[:, 0] - 0.5) + 4 * (knobs[:, 1] - 0.5) * place + (place > knobs[:, 2])  # [T, C]
            for size, cycles, phase in knobs[:, 3:].reshape(channels, _WAVES, 3).transpose(1, 2, 0):
                values = values + size * np.sin(2 * pi * (phase + (1 + 7 * cycles) * place))
            if index % 4 == 3 and steps > 8:
                start = int(first * steps / 2)
                values[start : start + 1 + int(share * steps / 4)] = np.nan
            made.append(self.encode(values))
        return made

    def _check_size(self, steps: int, channels: int) -> None:
        if channels == 0:
            raise DecodeError("no channel")
        if steps * channels > self.config.max_values:
            raise DecodeError(f"{steps} steps of {channels} channels exceed max_values {self.config.max_values}")

    def _checked(self, values: NDArray[Any], time: NDArray[Any] | None) -> SeriesValue:
        """Numbers [T] or [T, C] as a series.

        Raises:
            DecodeError: see `decode`.
        """
        values = values[:, None] if values.ndim == 1 else values
        self._check_size(*values.shape)
        with np.errstate(over="ignore"):
            numbers = values.astype(np.float32)  # [T, C]
        infinite = np.isinf(numbers)
        if infinite.any():
            row, channel = np.argwhere(infinite)[0].tolist()
            raise DecodeError(f"value at row {row}, channel {channel} is infinite in float32")
        if numbers.size < 2 or np.count_nonzero(~np.isnan(numbers)) < 2:
            raise DecodeError(f"{np.count_nonzero(~np.isnan(numbers))} values that are not missing; needs 2 or more")
        return SeriesValue(numbers, None if time is None else _checked_time(time, len(numbers)))


def _numbers(given: Any) -> NDArray[Any]:
    """
    Raises:
        DecodeError: text, bytes, objects, or other than one or two axes.
    """
    try:
        values = np.asarray(given)
    except ValueError:  # lists of unequal length
        raise DecodeError("rows of unequal length; needs numbers [steps] or [steps, channels]") from None
    if values.dtype.kind not in "fiu":
        raise DecodeError(f"values are {values.dtype}; needs numbers [steps] or [steps, channels], NaN where missing")
    if values.ndim not in (1, 2):
        raise DecodeError(f"values have {values.ndim} axes; needs numbers [steps] or [steps, channels]")
    return values


def _checked_time(time: NDArray[Any], steps: int) -> NDArray[np.int64]:
    if time.dtype.kind == "M":
        time = time.astype("datetime64[ns]").astype(np.int64)
    if time.dtype.kind not in "iu" or time.shape != (steps,):
        raise DecodeError(f"time is {time.dtype} {list(time.shape)}; needs one whole number or date per step, {steps}")
    time = time.astype(np.int64)
    wrong = np.flatnonzero(time[1:] <= time[:-1])
    if len(wrong):
        row = int(wrong[0]) + 1
        raise DecodeError(f"times {'repeat' if time[row] == time[row - 1] else 'go backwards'} at row {row}")
    return time
