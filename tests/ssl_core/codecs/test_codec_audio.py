"""What the codec of sound keeps, and what it refuses with which words."""

import struct
from contextlib import suppress
from io import BytesIO

import numpy as np
import pytest
import soundfile

from ssl_core.codecs.audio import Audio, Wave
from ssl_core.codecs.base import DecodeError
from ssl_core.spec import MEL_AXES, ViewSpec

SPEC = ViewSpec(MEL_AXES, (1, 8, 16))
CODEC = Audio(Audio.Config(rate=8000, max_seconds=5))


def tone(seconds: float = 0.5, rate: int = 8000, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def file_of(wave: np.ndarray, rate: int = 8000, form: str = "WAV", subtype: str | None = None) -> bytes:
    made = BytesIO()
    soundfile.write(made, wave, rate, format=form, subtype=subtype)
    return made.getvalue()


def test_16_bits_of_one_channel_come_back_as_they_were() -> None:
    given = (np.random.default_rng(0).normal(size=4000) * 9000).clip(-32768, 32767).astype(np.int16)
    stored = CODEC.clean(file_of(given))
    assert stored[:4] == b"fLaC"
    assert np.array_equal(CODEC.decode(stored).samples, given)
    assert CODEC.clean(stored) == stored
    assert CODEC.extent(stored) == (4000, 8000)
    assert CODEC.encode(CODEC.decode(stored)) == stored == CODEC.encode((given, 8000))


@pytest.mark.parametrize(
    ("form", "worst"), [("WAV", 1e-4), ("FLAC", 1e-4), ("AIFF", 1e-4), ("OGG", 0.05), ("MP3", 0.2)]
)
def test_every_format_gives_the_same_tone(form: str, worst: float) -> None:
    wave = tone()
    found = CODEC.decode(CODEC.clean(file_of(wave, form=form)))
    assert found.rate == 8000 and abs(len(found.samples) - len(wave)) <= (0 if form != "MP3" else 2400)
    loudest = np.abs(np.fft.rfft(found.samples[:4000])).argmax()
    assert abs(loudest - 220) <= 1  # 440 Hz in bins of 2 Hz
    if form != "MP3":  # which begins with a delay
        assert np.abs(found.samples / 32768 - wave).max() < worst


def test_channels_are_mixed_by_their_mean_and_rates_become_one() -> None:
    left, right = tone(rate=44_100), tone(rate=44_100, hertz=1000)
    found = CODEC.decode(file_of(np.stack([left, right], axis=1), 44_100)).samples / 32768
    expected = (tone() + tone(hertz=1000)) / 2
    assert len(found) == len(expected)
    assert np.abs(found - expected)[100:-100].max() < 2e-3  # the filter rings at the ends


def test_frequencies_above_half_the_rate_do_not_fold_back() -> None:
    assert np.abs(CODEC.decode(file_of(tone(rate=48_000, hertz=7000), 48_000)).samples[200:-200]).max() < 100


def test_six_channels_at_192_khz_are_read_and_tags_are_cut() -> None:
    made = BytesIO()
    with soundfile.SoundFile(made, "w", 192_000, 6, format="WAV", subtype="FLOAT") as file:
        file.title = "a secret title"
        file.write(np.repeat(tone(rate=192_000)[:, None], 6, axis=1))
    assert b"secret" in made.getvalue()
    stored = CODEC.clean(made.getvalue())
    assert b"secret" not in stored
    assert np.abs(CODEC.decode(stored).samples / 32768 - tone())[100:-100].max() < 2e-3


@pytest.mark.parametrize("wave", [np.zeros(4000, np.int16), np.ones(1, np.int16)])
def test_silence_and_one_sample_are_recordings(wave: np.ndarray) -> None:
    assert np.array_equal(CODEC.decode(CODEC.clean(file_of(wave))).samples, wave)


def test_content_counts_not_what_it_is_called() -> None:
    assert len(CODEC.decode(file_of(tone(), form="FLAC")).samples) == 4000


def _with(wave: np.ndarray, place: int, value: float) -> bytes:
    wave = wave.copy()
    wave[place] = value
    return file_of(wave, subtype="FLOAT")


def _claiming(size: int) -> bytes:
    data = bytearray(file_of(tone()))
    place = data.index(b"data") + 4
    data[place : place + 4] = struct.pack("<I", size)
    return bytes(data)


BAD = {
    "nothing": (b"", "empty file"),
    "text": (b"hello, I am not a sound at all" * 10, "not a sound file that can be read"),
    "image": (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a sound file that can be read"),
    "zero length": (file_of(tone()[:0]), "zero length"),
    "not a number": (_with(tone(), 7, np.nan), r"sample 7 is not a finite number \(1 of 4000 are not\)"),
    "infinite": (_with(tone(), 9, np.inf), "sample 9 is not a finite number"),
    "no floats in -1 .. 1": (_with(tone(), 9, 20000.0), r"up to 2e\+04; full scale is 1"),
    "cut short": (file_of(tone())[:3000], r"cut short: its header claims 8000 bytes of samples, 2956 are there"),
    "claims 4 GB": (_claiming(0xFFFFFF00), "cut short: its header claims 4294967040 bytes"),
    "flac cut short": (file_of(tone(), form="FLAC")[:1500], r"broken sound file \(flac decoder lost sync\)"),
    "ogg cut short": (file_of(tone(), form="OGG")[:2600], r"be read \(Supported file format but file is malformed\)"),
    "too long": (file_of(np.zeros(48_000, np.int16)), r"6 seconds exceed max_seconds 5 \(ingest.codecs.audio\)"),
    "too slow": (file_of(tone(), rate=500), "500 samples per second; read are 1000 to 192000"),
    "rare format": (file_of(tone(), form="W64"), "format W64; read are"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_bad_files_are_refused_in_one_line(what: str) -> None:
    data, said = BAD[what]
    for read in (CODEC.clean, CODEC.decode):
        with pytest.raises(DecodeError, match=said) as error:
            read(data)
        assert "\n" not in str(error.value) and len(str(error.value)) < 200


def test_a_flac_header_that_claims_hours_is_refused_before_memory_is_taken() -> None:
    data = bytearray(file_of(tone(), form="FLAC"))
    data[21] |= 0x0F  # the highest bits of 36 that count the samples
    with pytest.raises(DecodeError, match="8053064 seconds exceed max_seconds"):
        CODEC.clean(bytes(data))


def test_a_stream_that_does_not_know_its_end_is_what_is_there() -> None:
    assert np.array_equal(CODEC.decode(_claiming(0xFFFFFFFF)).samples, CODEC.decode(file_of(tone())).samples)


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "MP3"])
def test_broken_bytes_are_a_wave_or_a_decode_error(form: str) -> None:
    """Whatever is flipped or cut: never another exception."""
    data, draws = file_of(tone(), form=form), np.random.default_rng(5)
    for _ in range(40):
        broken = bytearray(data[: draws.integers(1, len(data) + 1)])
        for place in draws.integers(0, len(broken), 8):
            broken[place] = draws.integers(256)
        with suppress(DecodeError):
            assert isinstance(CODEC.clean(bytes(broken)), bytes)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("text", "samples are"),
        ([[1.0], [2.0, 3.0]], "rows of unequal length"),
        (np.zeros(5, np.int64), "samples are int64"),
        (np.zeros((2, 3, 4)), r"shape \[2, 3, 4\]"),
        (np.zeros(0), "zero length"),
        (np.array([np.nan]), "not a finite number"),
        ((np.zeros(5), 8000.5), "rate is 8000.5"),
        ((np.zeros(5), 7), "rate is 7"),
        (np.zeros(8000 * 6), "6 seconds exceed"),
    ],
)
def test_values_in_memory_that_are_no_recording_say_what_is_wanted(value: object, said: str) -> None:
    with pytest.raises(DecodeError, match=said):
        CODEC.checked(value)


def test_values_in_memory_are_mixed_and_resampled_as_files_are() -> None:
    both = np.stack([tone(rate=16_000)] * 2, axis=1)
    found, expected = CODEC.checked((both, 16_000)), CODEC.decode(file_of(tone(rate=16_000), 16_000, subtype="FLOAT"))
    assert isinstance(found, Wave) and found.rate == expected.rate == 8000
    assert np.array_equal(found.samples, expected.samples)


def test_drawn_recordings_are_different_and_the_same_every_time() -> None:
    made = CODEC.drawn(SPEC)
    assert len(set(made)) == 5 and made == CODEC.drawn(SPEC)
    assert all(1600 <= CODEC.extent(data)[0] <= 16_000 for data in made)
