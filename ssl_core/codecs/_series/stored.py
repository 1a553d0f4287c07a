"""The bytes of a series: one safetensors file with `values` and, where steps are uneven, `time`.

Shapes: T steps, C channels.
"""

import json
import struct
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ssl_core.codecs.base import DecodeError

MAX_HEADER = 1 << 16
VALUE_TYPES = ("F16", "F32", "F64", "I8", "I16", "I32", "I64", "U8", "U16", "U32")


class SeriesValue(NamedTuple):
    """One series in memory."""

    values: NDArray[np.float32]  # [T, C]; NaN: missing
    time: NDArray[np.int64] | None = None  # [T], strictly increasing, in a unit of the source's; None: even steps


def series_extent(data: bytes) -> tuple[int, int]:
    """(T, C) by the header; no value is read.

    Raises:
        DecodeError: not a safetensors file of a series.
    """
    tensors = _header(data)
    if "values" not in tensors:
        raise DecodeError("not a series: safetensors without a tensor 'values'")
    if odd := sorted(set(tensors) - {"values", "time"}):
        raise DecodeError(f"not a series: has a tensor '{odd[0]}' beside 'values' and 'time'")
    kind, shape = tensors["values"]
    if kind not in VALUE_TYPES:
        raise DecodeError(f"values are {kind}; needs F32 or another kind of real numbers")
    if len(shape) not in (1, 2):
        raise DecodeError(f"values have {len(shape)} axes; needs [steps] or [steps, channels]")
    if "time" in tensors and tensors["time"] != ("I64", shape[:1]):
        kind, found = tensors["time"]
        raise DecodeError(f"time is {kind} {found}; needs I64 {shape[:1]}, one whole number per step")
    return shape[0], shape[1] if len(shape) == 2 else 1


def unpacked(data: bytes) -> dict[str, NDArray[Any]]:
    """The tensors of a file whose header `series_extent` has accepted.

    Raises:
        DecodeError: the header promises other bytes than there are.
    """
    try:
        found: dict[str, NDArray[Any]] = load(data)
        return found
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DecodeError(f"corrupt safetensors ({' '.join(str(error).split())})") from None


def packed(value: SeriesValue) -> bytes:
    """The same bytes for the same values: one kind of NaN, one kind of zero, no metadata."""
    values = np.ascontiguousarray(value.values, np.float32) + np.float32(0)  # -0 becomes 0
    values[np.isnan(values)] = np.nan
    tensors: dict[str, NDArray[Any]] = {"values": values}
    if value.time is not None:
        tensors["time"] = np.ascontiguousarray(value.time, np.int64)
    written: bytes = save(tensors)
    return written


def _header(data: bytes) -> dict[str, tuple[str, list[int]]]:
    """Type and shape of each tensor."""
    if not data:
        raise DecodeError("empty file")
    try:
        (length,) = struct.unpack_from("<Q", data)
        if length > min(MAX_HEADER, len(data) - 8):
            raise DecodeError("not a safetensors file")
        tree = json.loads(bytes(data[8 : 8 + length]))
        found = {name: (entry["dtype"], entry["shape"]) for name, entry in tree.items() if name != "__metadata__"}
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise error if isinstance(error, DecodeError) else DecodeError("not a safetensors file") from None
    for kind, shape in found.values():
        if not isinstance(kind, str) or not isinstance(shape, list):
            raise DecodeError("not a safetensors file")
        if not all(type(side) is int and side >= 0 for side in shape):
            raise DecodeError("not a safetensors file")
    return found
