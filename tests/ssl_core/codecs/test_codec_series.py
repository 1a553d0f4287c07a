"""Series to bytes and back; what is refused, and how."""

import json
import struct

import numpy as np
import pytest
from safetensors.numpy import load, save

from ssl_core.augment._series.plot import line_plot
from ssl_core.codecs.base import DecodeError
from ssl_core.codecs.series import Series, SeriesValue
from ssl_core.spec import SERIES_AXES, ViewSpec

CODEC = Series(Series.Config())
VALUES = np.arange(12, dtype=np.float32).reshape(6, 2)


def test_numbers_come_back_with_times_and_gaps():
    values = VALUES.copy()
    values[2, 1] = np.nan
    time = np.array([1, 2, 5, 6, 9, 10**15])
    data = CODEC.clean(CODEC.encode(SeriesValue(values, time)))
    back = CODEC.decode(data)
    assert np.array_equal(back.values, values, equal_nan=True) and back.values.dtype == np.float32
    assert back.time is not None and np.array_equal(back.time, time)
    assert CODEC.extent(data) == (6, 2)
    assert CODEC.decode(CODEC.encode([1, 2, 3])).values.tolist() == [[1], [2], [3]]
    assert not CODEC.reduces(data)


def test_same_values_same_bytes():
    other = np.array([[0.0, np.nan], [1.0, 2.0]], np.float32)
    same = np.array([[-0.0, np.nan], [1.0, 2.0]], np.float64)
    odd_nan = other.copy()
    odd_nan.view(np.uint32)[0, 1] = 0x7FC00123
    tagged = save({"values": same}, metadata={"who": "me"})
    found = {CODEC.encode(v) for v in (other, same, odd_nan)} | {
        CODEC.clean(tagged),
        CODEC.clean(save({"values": same})),
    }
    assert len(found) == 1
    assert b"who" not in found.pop()


def test_dates_become_nanoseconds():
    days = np.array(["2020-01-01", "2020-01-02"], "datetime64[D]")
    assert np.diff(CODEC.decode(CODEC.encode(SeriesValue(VALUES[:2], days))).time).tolist() == [86_400 * 10**9]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.zeros((0, 2)), "0 values that are not missing"),
        (np.array([1.0]), "1 values that are not missing"),
        (np.array([1.0, np.nan, np.nan]), "1 values that are not missing"),
        (np.zeros((3, 0)), "no channel"),
        (np.array([[0.0, 1.0], [2.0, np.inf]]), "row 1, channel 1 is infinite"),
        (np.array([0.0, 1e39]), "row 1, channel 0 is infinite"),
        (np.zeros((2, 2, 2)), "3 axes"),
        (np.float32(3), "0 axes"),
        ("1 2 3", "needs numbers"),
        (["1", "2"], "needs numbers"),
        ([1, None], "needs numbers"),
        ([[1, 2], [3]], "unequal length"),
        (b"123", "needs numbers"),
        (np.array([True, False]), "needs numbers"),
        (SeriesValue(VALUES, np.array([0, 1, 2, 1, 3, 4])), "times go backwards at row 3"),
        (SeriesValue(VALUES, np.array([0, 1, 1, 2, 3, 4])), "times repeat at row 2"),
        (SeriesValue(VALUES, np.arange(5)), "one whole number or date per step, 6"),
        (SeriesValue(VALUES, np.arange(6.0)), "float64"),
        (np.zeros(10_000_001, np.float32), "exceed max_values 10000000"),
    ],
)
def test_what_is_no_series_is_refused(value, said):
    with pytest.raises(DecodeError, match=said):
        CODEC.encode(value)


def header(tree: object, rest: bytes = b"") -> bytes:
    text = json.dumps(tree).encode()
    return struct.pack("<Q", len(text)) + text + rest


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty file"),
        (b"abc", "not a safetensors file"),
        (b"t,a\n1,2\n3,4\n5,6\n", "not a safetensors file"),
        (struct.pack("<Q", 1 << 60) + b"{}", "not a safetensors file"),
        (header([1, 2]), "not a safetensors file"),
        (header({"values": 1}), "not a safetensors file"),
        (header({"values": {"dtype": "F32", "shape": [-1, 2], "data_offsets": [0, 8]}}), "not a safetensors file"),
        (header({"values": {"dtype": "F32", "shape": [True], "data_offsets": [0, 8]}}), "not a safetensors file"),
        (b"[" * 70000, "not a safetensors file"),
        (struct.pack("<Q", 60000) + b"[" * 60000, "not a safetensors file"),
        (save({"x": VALUES}), "without a tensor 'values'"),
        (save({"values": VALUES, "x": VALUES}), "a tensor 'x' beside"),
        (save({"values": VALUES[None]}), "3 axes"),
        (save({"values": VALUES > 1}), "values are BOOL"),
        (save({"values": VALUES, "time": np.arange(5)}), "needs I64"),
        (save({"values": VALUES, "time": np.arange(6, dtype=np.int32)}), "needs I64"),
        (save({"values": VALUES})[:-4], "corrupt safetensors"),
        (header({"values": {"dtype": "F32", "shape": [9, 2], "data_offsets": [0, 8]}}, bytes(8)), "corrupt"),
        (header({"values": {"dtype": "F32", "shape": [1 << 40, 2], "data_offsets": [0, 8]}}), "exceed max_values"),
    ],
)
def test_damaged_bytes_are_refused(data, said):
    for read in (CODEC.decode, CODEC.clean):
        with pytest.raises(DecodeError, match=said):
            read(data)


def test_random_damage_raises_nothing_else():
    good, rng = CODEC.encode(SeriesValue(VALUES, np.arange(6))), np.random.default_rng(0)
    reasons = set()
    for _ in range(2000):
        data = bytearray(good)
        for place in rng.integers(0, len(good), 3):
            data[place] = rng.integers(256)
        try:
            CODEC.clean(bytes(data))
        except DecodeError as error:
            reasons.add(str(error))
    assert len(reasons) > 5 and not any("\n" in reason for reason in reasons)


def test_limits_are_those_of_the_config():
    small = Series(Series.Config(max_values=11))
    for refused in (small.extent, small.decode, small.clean):
        with pytest.raises(DecodeError, match="6 steps of 2 channels exceed max_values 11"):
            refused(CODEC.encode(VALUES))
    assert "values" in load(CODEC.clean(save({"values": VALUES.astype(np.float64)})))


def test_drawn_series_are_the_same_every_time_and_fit_the_spec():
    spec = ViewSpec(SERIES_AXES, (3, 40))
    drawn = CODEC.drawn(spec, 9)
    assert drawn == CODEC.drawn(spec, 9) and len(set(drawn)) == 9 and drawn[:4] == CODEC.drawn(spec, 4)
    assert all(CODEC.clean(data) == data for data in drawn)
    values = [CODEC.decode(data).values for data in drawn]
    assert all(v.shape[1] == 3 and 40 <= len(v) <= 80 for v in values)
    assert [bool(np.isnan(v).any()) for v in values[:4]] == [False, False, False, True]
    assert len(CODEC.drawn(ViewSpec(SERIES_AXES, (1, 1)), 5)) == 5


def pixels(value: SeriesValue, side: int) -> np.ndarray:
    return line_plot(value.values, side)


def test_a_picture_is_a_small_plot_with_a_color_per_channel():
    ramp = np.linspace(0, 1, 300, dtype=np.float32)
    image = pixels(SeriesValue(np.stack([ramp, -ramp], axis=1)), 64)
    assert image.shape == (64, 64, 3) and (image == 255).all(axis=2).mean() > 0.8
    assert image[5, 60, 2] > image[5, 60, 0]  # the first channel is blue and ends high
    assert image[60, 60, 0] > image[60, 60, 2]  # the second is orange and ends low


def test_a_plot_keeps_peaks_and_gaps():
    flat = np.zeros((100_000, 1), np.float32)
    flat[54_321] = 1
    assert (pixels(SeriesValue(flat), 64)[:5] != 255).any()
    gap = np.linspace(0, 1, 64, dtype=np.float32)[:, None]
    gap[20:40] = np.nan
    assert (pixels(SeriesValue(gap), 64)[:, 22:38] == 255).all()
    assert pixels(SeriesValue(np.full((5, 9), np.nan, np.float32)), 16).min() == 255
    assert (pixels(SeriesValue(np.array([[np.nan], [1], [np.nan], [2]], np.float32)), 16) != 255).any()
