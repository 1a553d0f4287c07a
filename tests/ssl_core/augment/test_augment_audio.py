"""Chains of sound: what is cut, how it is scaled, mel filters and spectrograms by closed form."""

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from ssl_core.augment._audio.mel import LEAST, log_mel, mel_filters
from ssl_core.augment.audio_crop import AudioCrop
from ssl_core.augment.audio_eval import AudioEval
from ssl_core.codecs.audio import Wave
from ssl_core.codecs.base import DecodeError

RATE = 8000
IDS = np.arange(3)


def wave(count: int, rate: int = RATE) -> Wave:
    return Wave((np.arange(1, count + 1) % 1000).astype(np.int16), rate)


def plain(**knobs: Any) -> AudioCrop:
    """A crop and nothing else."""
    still = {"speed": 0, "gain_db": 0, "noise": 0, "mel_masks": 0, "time_masks": 0, "level": "given"}
    return AudioCrop(AudioCrop.Config(**{"rate": RATE, "seconds": 0.1, "mels": 16, **still, **knobs}))


def evaluation(**knobs: Any) -> AudioEval:
    return AudioEval(AudioEval.Config(**{"rate": RATE, "seconds": 0.1, "mels": 16, "level": "given", **knobs}))


def test_the_evaluation_view_is_the_middle_with_silence_beside_short_ones() -> None:
    long, short = wave(1000), wave(400)
    views = evaluation()([long, short], np.arange(2), 0)
    assert np.array_equal(views[0], long.samples[100:900])
    assert np.array_equal(views[1, 200:600], short.samples)
    assert not views[1, :200].any() and not views[1, 600:].any()


def test_a_crop_is_a_stretch_of_the_recording_or_all_of_it_in_silence() -> None:
    starts = set()
    for salt in range(12):
        long, short = plain()([wave(999), wave(300)], np.arange(2), salt)
        start = int(long[0]) - 1
        starts.add(start)
        assert np.array_equal(long, wave(999).samples[start : start + 800])
        inside = np.flatnonzero(short)
        assert np.array_equal(short[inside[0] : inside[-1] + 1], wave(300).samples)
    assert len(starts) > 5


def test_level_peak_brings_every_recording_to_half_of_full_scale() -> None:
    soft = Wave((wave(1000).samples // 50), RATE)
    views = evaluation(level="peak")([wave(1000), soft, Wave(np.zeros(900, np.int16), RATE)], IDS, 0)
    assert np.abs(views).max(axis=1).tolist()[2] == 0
    assert abs(int(views[0].max()) - int(views[1].max())) < 2000


def test_speed_changes_the_tone_and_gain_the_loudness() -> None:
    tone = Wave((8000 * np.sin(2 * np.pi * 500 * np.arange(4000) / RATE)).astype(np.int16), RATE)
    tones = {np.abs(np.fft.rfft(plain(speed=0.3)([tone], IDS[:1], salt)[0])).argmax() for salt in range(8)}
    assert len(tones) > 3 and all(0.68 * 50 <= each <= 1.32 * 50 for each in tones)  # bins of 10 Hz
    loud = [float(np.abs(plain(gain_db=6)([tone], IDS[:1], salt)[0]).max()) for salt in range(8)]
    assert 8000 / 2.01 <= min(loud) < max(loud) <= 8000 * 2.01


def test_a_recording_at_another_rate_is_refused() -> None:
    with pytest.raises(DecodeError, match=r"16000 samples per second; the views are of 8000 \(views\.\*\.rate"):
        evaluation()([wave(1000, 16_000)], IDS[:1], 0)


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"seconds": 1e-6}, "hold no sample"),
        ({"seconds": 0.005}, "shorter than one frame"),
        ({"hop_ms": 50}, "hop_ms"),
        ({"mels": 0}, "mels"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(knobs: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        AudioEval.Config(**{"rate": RATE, **knobs})


def test_filters_are_triangles_of_height_one_on_the_scale_of_htk() -> None:
    filters = mel_filters(10, 4001, RATE)  # one bin a hertz
    middles = filters.argmax(axis=0)
    mel = 2595 * np.log10(1 + middles / 700)
    assert np.allclose(np.diff(mel), 2595 * np.log10(1 + 4000 / 700) / 11, atol=1.5)  # whole hertz
    assert np.allclose(filters.max(axis=0), 1, atol=0.02)
    inside = slice(middles[0] + 1, middles[-1])
    assert np.allclose(filters[inside].sum(axis=1), 1, atol=1e-4)  # neighbors cross at one half


@pytest.mark.peers
def test_filters_are_torchaudios() -> None:
    functional = pytest.importorskip("torchaudio.functional")
    expected = functional.melscale_fbanks(513, 0.0, 8000.0, 64, 16_000, norm=None, mel_scale="htk")
    torch.testing.assert_close(torch.from_numpy(mel_filters(64, 513, 16_000)), expected, rtol=1e-4, atol=1e-5)


def test_a_sine_of_full_scale_has_a_power_of_one_in_its_band_and_silence_the_least() -> None:
    time = torch.arange(RATE) / RATE
    bands = log_mel(torch.stack([torch.sin(2 * torch.pi * 1000 * time), 0 * time]), RATE, 200, 80, 40)
    assert bands.shape == (2, 40, 100)
    assert torch.allclose(bands[1], torch.tensor(LEAST).log())
    loudest = bands[0, :, 50].argmax()
    middle = 700 * (10 ** ((loudest + 1) * np.log10(1 + 4000 / 700) / 41) - 1)
    assert abs(float(middle) - 1000) < 60
    assert 0.5 < float(bands[0, :, 50].exp().sum()) < 4  # the window spreads it over some frequencies


def test_frames_stand_where_the_sound_is() -> None:
    click = torch.zeros(1, 800)
    click[0, 5 * 80 + 40] = 1
    assert log_mel(click, RATE, 200, 80, 20).sum(1).argmax() == 5


def test_the_exported_transform_is_the_fast_one() -> None:
    chain = evaluation()
    views = torch.from_numpy(chain([wave(1000), wave(500)], np.arange(2), 0))

    class Finish(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return chain.finish(x)

    program = torch.export.export(Finish(), (views,)).module()
    torch.testing.assert_close(program(views), chain.finish(views), rtol=1e-3, atol=1e-3)


def test_masks_are_stretches_of_the_mean_keyed_by_sample() -> None:
    chain = plain(mel_masks=1, time_masks=1, mel_width=0.5, time_width=0.5)
    views = torch.from_numpy(chain([wave(1000)] * 3, IDS, 7))
    whole, masked = chain.finish(views), chain.finish(views, IDS, 7)
    hidden = masked == 0
    assert torch.equal(masked[~hidden], whole[~hidden])
    assert 0 < hidden.float().mean() < 0.75
    frames, bands = hidden.all(2, keepdim=True), hidden.all(3, keepdim=True)
    assert torch.equal(hidden, frames | bands)
    assert torch.equal(chain.finish(views[[2]], IDS[[2]], 7), masked[[2]])
    assert not torch.equal(chain.finish(views, IDS, 8) == 0, hidden)


def test_waves_are_views_of_series() -> None:
    chain = evaluation(mels=None)
    views = torch.from_numpy(chain([wave(1000)], IDS[:1], 0))
    assert chain.spec.axes == ("channel", "time") and chain.spec.shape == (1, 800)
    assert torch.equal(chain.finish(views)[0, 0], views[0] / 32768)


def test_pictures_show_low_tones_at_the_bottom() -> None:
    time = np.arange(800) / RATE
    low = Wave((9000 * np.sin(2 * np.pi * 200 * time)).astype(np.int16), RATE)
    (picture,) = evaluation().pictures(evaluation()([low], IDS[:1], 0))
    brightness = picture.astype(int).sum(axis=(1, 2))
    assert picture.shape == (64, 96, 3) and brightness.argmax() > 40
