"""What the chains of time series do with steps, gaps, times and scales."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from ssl_core.augment._series.draws import keyed_normals
from ssl_core.augment._series.window import steps_as_rows
from ssl_core.augment.series_crop import SeriesCrop
from ssl_core.augment.series_eval import SeriesEval
from ssl_core.codecs._series.stored import SeriesValue
from ssl_core.codecs.base import DecodeError
from ssl_core.noise import salt

PLAIN = {"jitter": 0, "scaling": 0, "mask_ratio": 0}
IDS = np.arange(64)


def ramp(steps: int, channels: int = 1) -> SeriesValue:
    return SeriesValue(np.arange(steps * channels, dtype=np.float32).reshape(steps, channels))


def seen(value: SeriesValue, **knobs: object) -> np.ndarray:
    chain = SeriesEval(SeriesEval.Config(**{"normalize": "none", "channels": value.values.shape[1], **knobs}))
    return chain([value], IDS[:1], 0)[0]


def cropped(value: SeriesValue, **knobs: object) -> np.ndarray:
    chain = SeriesCrop(SeriesCrop.Config(**{"normalize": "none", "channels": value.values.shape[1], **PLAIN, **knobs}))
    return chain([value] * len(IDS), IDS, salt(1))


class TestSteps:
    def test_as_many_rows_as_steps_come_as_they_are(self):
        value = ramp(8, 2)
        value.values[3, 1] = np.nan
        assert np.array_equal(seen(value, length=8), value.values.T, equal_nan=True)

    def test_more_steps_than_rows_are_drawn_through_them(self):
        view = seen(ramp(8), length=16)[0]
        assert np.allclose(view[1:-1], np.arange(1, 15) / 2 - 0.25)
        assert view[0] == 0 and view[-1] == 7  # held at both ends

    def test_fewer_steps_are_means_of_the_rows(self):
        assert seen(ramp(8), length=2)[0].tolist() == [1.5, 5.5]
        values = np.random.default_rng(0).normal(size=(1000, 1)).astype(np.float32)
        assert np.isclose(seen(SeriesValue(values), length=7).mean(), values.mean(), atol=1e-6)

    def test_a_fast_wave_does_not_come_back_as_a_slow_one(self):
        wave = SeriesValue(np.sin(np.arange(4000, dtype=np.float32) * 3)[:, None])
        assert np.abs(seen(wave, length=50)).max() < 0.1

    def test_gaps(self):
        value = ramp(8)
        value.values[2] = np.nan
        assert seen(value, length=4)[0].tolist() == [0.5, 3.0, 4.5, 6.5]  # the mean of the row that is there
        value.values[3] = np.nan
        assert np.isnan(seen(value, length=4)[0]).tolist() == [False, True, False, False]
        assert np.isnan(seen(value, length=16)[0]).nonzero()[0].tolist() == [3, 4, 5, 6, 7, 8]

    def test_the_center_of_long_and_short_ones(self):
        assert seen(ramp(9), length=5, window="center")[0].tolist() == [2, 3, 4, 5, 6]
        short = seen(ramp(3), length=7, window="center")[0]
        assert np.array_equal(short, [np.nan] * 2 + [0, 1, 2] + [np.nan] * 2, equal_nan=True)

    def test_even_in_time(self):
        time = np.array([0, 10, 20, 30, 130])
        value = SeriesValue(time[:, None].astype(np.float32), time)
        view = seen(value, length=13, clock="time")[0]
        assert np.allclose(view, np.arange(5, 130, 10))
        assert not np.allclose(np.diff(seen(value, length=13)[0]), 10)
        few = seen(value, length=2, clock="time")[0]
        assert few[0] < 20 and few[1] > 90  # one half of the time holds four rows, the other one
        even = SeriesValue(ramp(5).values, np.arange(5) * 7)
        assert np.allclose(np.diff(seen(even, length=11, clock="time"), 2), 0, atol=1e-6)
        assert np.array_equal(seen(ramp(5), length=11, clock="time"), seen(ramp(5), length=11))

    def test_any_stretch_of_any_series_has_the_steps_asked_for(self):
        for steps in (2, 3, 7, 50):
            for length in (1, 2, 7, 64):
                assert steps_as_rows(ramp(steps).values, None, 0, steps, length).shape == (length, 1)
                assert np.isfinite(steps_as_rows(ramp(steps).values, np.arange(steps) ** 2, 0, steps, length)).all()


class TestScale:
    VALUE = SeriesValue(np.stack([np.arange(64), 1e6 + np.arange(64) * 5, np.full(64, 0.1)], axis=1).astype(np.float32))

    def test_each_channel_by_the_whole_series(self):
        view = seen(self.VALUE, length=64, normalize="series")
        assert np.allclose(view[:2].mean(axis=1), 0, atol=1e-6) and np.allclose(view[:2].std(axis=1), 1, atol=1e-5)
        assert (view[2] == 0).all()
        part = cropped(self.VALUE, length=16, window="length", normalize="series")
        assert np.isin(part, view).all()

    def test_gaps_do_not_count(self):
        value = SeriesValue(self.VALUE.values.copy())
        value.values[:9] = np.nan
        view = seen(value, length=64, normalize="series")
        assert np.isnan(view[:, :9]).all()
        assert np.allclose(view[:2, 9:].std(axis=1), 1, atol=1e-5)
        value.values[:, 0] = np.nan
        assert np.isnan(seen(value, length=64, normalize="series")[0]).all()

    def test_by_the_view_and_by_given_numbers(self):
        view = cropped(self.VALUE, length=16, window="length", normalize="view")
        assert np.allclose(view[:, :2].mean(axis=2), 0, atol=1e-5)
        given = seen(self.VALUE, length=64, normalize="given", mean=[0, 1e6, 0], std=[1, 5, 0.1])
        assert np.allclose(given[:, -1], [63, 63, 1])

    def test_given_numbers_are_complete(self):
        for wrong in ({"normalize": "given"}, {"mean": [0.0]}, {"normalize": "given", "mean": [0], "std": [1, 2]}):
            with pytest.raises(ValidationError, match="numbers in mean and in std"):
                SeriesEval.Config(**wrong)
        with pytest.raises(ValidationError):
            SeriesEval.Config(normalize="given", mean=[0], std=[0])

    def test_missing_values_are_zero_for_the_encoder(self):
        chain = SeriesEval(SeriesEval.Config(length=4))
        view = torch.tensor([[[1.0, float("nan"), 2.0, float("nan")]]])
        assert chain.finish(view).tolist() == [[[1, 0, 2, 0]]]


def test_another_number_of_channels_is_refused():
    for chain in (SeriesEval(SeriesEval.Config(channels=3)), SeriesCrop(SeriesCrop.Config(channels=3))):
        with pytest.raises(DecodeError, match="has 2 channels; the views have 3"):
            chain([ramp(9, 2)], IDS[:1], 0)


class TestCrop:
    def test_crops_are_stretches_of_the_asked_for_shares(self):
        views = cropped(ramp(1000), length=100, crop_min=0.2, crop_max=0.6)[:, 0]
        shares = (views[:, -1] - views[:, 0]) / 990
        assert 0.19 < shares.min() < 0.3 and 0.5 < shares.max() < 0.61
        assert views.min() < 100 and views.max() > 900

    def test_crops_of_a_length_keep_the_rate(self):
        views = cropped(ramp(50), length=20, window="length")[:, 0]
        assert (np.diff(views) == 1).all() and {0, 30} <= set(views[:, 0].tolist())
        short = cropped(ramp(5), length=8, window="length")[:, 0]
        assert (np.isfinite(short).sum(axis=1) == 5).all() and len({tuple(v) for v in np.isnan(short)}) == 4

    def test_whole_without_anything_is_the_evaluation_view(self):
        assert np.array_equal(cropped(ramp(37), length=16, crop_min=1.0)[5], seen(ramp(37), length=16))

    def test_jitter_and_scaling_have_their_deviation(self):
        value = SeriesValue(np.ones((64, 4), np.float32))
        noisy = cropped(value, length=64, jitter=0.3)
        assert abs(noisy.std() - 0.3) < 0.01 and abs(noisy.mean() - 1) < 0.01
        scaled = cropped(value, length=64, scaling=0.2)
        assert (np.ptp(scaled, axis=2) == 0).all() and abs(scaled.std() - 0.2) < 0.04

    @pytest.mark.parametrize(("ratio", "span"), [(0.3, 5), (0.5, 1), (0.1, 16)])
    def test_masks_are_spans_of_all_channels(self, ratio, span):
        hidden = np.isnan(cropped(ramp(100, 2), length=100, mask_ratio=ratio, mask_span=span))
        assert (hidden[:, 0] == hidden[:, 1]).all()
        assert abs(hidden.mean() - ratio) < 0.06
        inner = [np.flatnonzero(np.diff(np.r_[0, row, 0])) for row in hidden[:, 0].astype(int)]
        runs = np.concatenate([ends[1::2] - ends[::2] for ends in inner])
        assert np.mean(runs % span == 0) > 0.5

    def test_flip_and_segments(self):
        assert (np.diff(cropped(ramp(32), length=32, crop_min=1, flip=1)) == -1).all()
        assert 0.2 < (cropped(ramp(32), length=32, crop_min=1, flip=0.5)[:, 0, 0] > 0).mean() < 0.8
        shuffled = cropped(ramp(30), length=30, crop_min=1, segments=4)[:, 0]
        assert (np.sort(shuffled) == np.arange(30)).all()
        assert ((np.diff(shuffled) != 1).sum(axis=1) <= 3).all()
        assert len({tuple(row) for row in shuffled}) > 10

    def test_ranges_are_checked(self):
        with pytest.raises(ValidationError, match="must not exceed crop_max"):
            SeriesCrop.Config(crop_min=0.9, crop_max=0.5)
        with pytest.raises(ValidationError, match="must not exceed length"):
            SeriesCrop.Config(length=4, segments=5)


def test_keyed_normals_are_normal():
    draws = keyed_normals(np.arange(2000), 51, salt(3))
    assert draws.shape == (2000, 51) and draws.dtype == np.float32
    assert abs(draws.mean()) < 0.01 and abs(draws.std() - 1) < 0.01
    assert abs((np.abs(draws) < 1).mean() - 0.6827) < 0.01 and abs((draws**4).mean() - 3) < 0.1
    assert np.abs(np.corrcoef(draws[:, :10].T) - np.eye(10)).max() < 0.1
    assert np.array_equal(keyed_normals(np.arange(5, 7), 51, salt(3)), draws[5:7])


class TestFloor:
    CHAIN = SeriesEval(SeriesEval.Config(length=128, normalize="none"))

    def floor(self, values: np.ndarray) -> dict[str, float]:
        names = ["mean", "std", "q0", "q25", "q50", "q75", "q100", "slope", *[f"band{i}" for i in range(8)], "missing"]
        found = self.CHAIN.floor(torch.from_numpy(values.astype(np.float32))[None, None])
        return dict(zip(names, found[0].tolist(), strict=True))

    def test_is_what_numpy_computes(self):
        values = np.random.default_rng(0).normal(size=128) * 3 + np.arange(128) / 16
        values[10:20] = np.nan
        floor = self.floor(values)
        assert floor["mean"] == pytest.approx(np.nanmean(values), rel=1e-4)
        assert floor["std"] == pytest.approx(np.nanstd(values), rel=1e-4)
        quantiles = [floor[f"q{q}"] for q in (0, 25, 50, 75, 100)]
        assert quantiles == pytest.approx(np.nanquantile(values, [0, 0.25, 0.5, 0.75, 1]), rel=1e-4)
        known = ~np.isnan(values)
        slope = np.polyfit(np.linspace(-0.5, 0.5, 128)[known], values[known], 1)[0]
        assert floor["slope"] == pytest.approx(slope, rel=1e-3)
        assert floor["missing"] == pytest.approx(10 / 128)

    def test_bands_rise_with_the_frequency(self):
        loudest = []
        for cycles in (1, 3, 8, 20, 60):
            floor = self.floor(np.sin(2 * np.pi * cycles * np.arange(128) / 128))
            loudest.append(max(range(8), key=lambda band, floor=floor: floor[f"band{band}"]))
        assert loudest == sorted(set(loudest)) and loudest[0] == 0 and loudest[-1] == 7

    def test_nothing_known_and_one_step(self):
        assert all(np.isfinite(list(self.floor(np.full(128, np.nan)).values())))
        assert self.CHAIN.floor(torch.ones(3, 2, 1)).shape == (3, 34)
