"""Sound: recordings of any common format, kept as one channel of 16-bit samples at one rate.

Shapes: T samples.
"""

from io import BytesIO
from math import ceil, gcd, pi
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat

from ssl_core.codecs._audio import reading
from ssl_core.codecs.base import Codec, DecodeError
from ssl_core.config import NamedConfig
from ssl_core.noise import keyed_uniform, salt
from ssl_core.spec import ViewSpec

FULL = 1 << 15
"""16-bit samples at full scale."""
_DRAWN = salt(0x50D)
_TONES = 4


class Wave(NamedTuple):
    """One recording in memory."""

    samples: NDArray[np.int16]  # [T]
    rate: int  # samples per second


class Audio(Codec[Wave]):
    """Recordings (WAV, FLAC, Ogg, MP3, AIFF), kept as FLAC of one channel and 16 bits at `rate`, without tags."""

    version = 1
    compression = "none"

    class Config(NamedConfig):
        name: Literal["audio"] = "audio"
        rate: Annotated[int, Field(ge=reading.RATES[0], le=reading.RATES[1])] = 16_000
        """Samples per second: others are resampled, once, when they are ingested. The views ask for the same."""
        max_seconds: PositiveFloat = 600.0
        """A longer recording is refused by its header: cut it, or raise this."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def changes_values(self) -> bool:
        return True

    def extent(self, data: bytes) -> tuple[int, int]:
        """(samples, samples per second) by the header alone.

        Raises:
            DecodeError: no sound file, or longer than the config allows.
        """
        said = self._header(data)
        return said.frames, said.rate

    def decode(self, data: bytes, reduction: int = 1) -> Wave:
        """
        Args:
            data: what `clean` gave; another sound file is mixed to one channel and resampled.
            reduction: not read; a recording comes whole.
        Raises:
            DecodeError: not a sound file; broken or cut short; zero length; not a number; too long.
        """
        said = self._header(data)
        wave = reading.mono(data, self._most(said.rate))
        if said.rate != self.config.rate:
            wave = _resampled(wave, said.rate, self.config.rate)
        return Wave(_as_16_bits(wave), self.config.rate)

    def clean(self, data: bytes) -> bytes:
        return self._packed(self.decode(data))

    def encode(self, value: Any) -> bytes:
        """
        Args:
            value: Wave; or (samples, rate); or samples [T] at `rate`: floats in -1 .. 1 or 16-bit whole numbers.
        """
        return self._packed(self.checked(value))

    def checked(self, value: Any) -> Wave:
        """Raises as `encode`; the value as for it. Several channels, [T, channels], are mixed."""
        given, rate = value if isinstance(value, tuple) and len(value) == 2 else (value, self.config.rate)
        low, high = reading.RATES
        if not isinstance(rate, int | np.integer) or not low <= rate <= high:
            raise DecodeError(f"rate is {rate!r}; needs a whole number of samples per second, {low} to {high}")
        wave = _floats(given)
        if len(wave) > self._most(int(rate)):
            raise self._too_long(len(wave), int(rate))
        if rate != self.config.rate:
            wave = _resampled(wave, int(rate), self.config.rate)
        return Wave(_as_16_bits(wave), self.config.rate)

    def drawn(self, spec: ViewSpec, count: int = 5) -> list[bytes]:
        """Chords with a beat and some hiss, 0.2 to 2 seconds long."""
        made = []
        for row, draws in enumerate(keyed_uniform(np.arange(count), 3 + 2 * _TONES, _DRAWN)):
            seconds, beat, hiss = 0.2 + 1.8 * draws[0], 1 + 7 * draws[1], 0.05 * draws[2]
            time = np.arange(ceil(seconds * self.config.rate)) / self.config.rate  # [T]
            wave = hiss * (2 * keyed_uniform(np.array([row]), len(time), salt(_DRAWN, 1))[0] - 1)
            for octave, size in draws[3:].reshape(_TONES, 2):
                wave = wave + size * np.sin(2 * pi * 100 * 2 ** (4.5 * octave) * time)
            wave = wave * (0.6 + 0.4 * np.sin(2 * pi * beat * time)) / (_TONES + 1)
            made.append(self.encode(wave))
        return made

    def _header(self, data: bytes) -> reading.Header:
        said = reading.header(data)
        if said.frames > self._most(said.rate):
            raise self._too_long(said.frames, said.rate)
        return said

    def _most(self, rate: int) -> int:
        return round(self.config.max_seconds * rate)

    def _too_long(self, frames: int, rate: int) -> DecodeError:
        return DecodeError(
            f"{frames / rate:.0f} seconds exceed max_seconds {self.config.max_seconds:g} (ingest.codecs.audio); cut "
            "the recording into pieces, or raise it"
        )

    def _packed(self, wave: Wave) -> bytes:
        import soundfile

        made = BytesIO()
        soundfile.write(made, wave.samples, wave.rate, format="FLAC", subtype="PCM_16")
        return made.getvalue()


def _resampled(wave: NDArray[np.float32], rate: int, wanted: int) -> NDArray[np.float32]:
    """At another rate, band-limited: [T] -> [T * wanted / rate]."""
    from scipy.signal import resample_poly

    common = gcd(rate, wanted)
    made: NDArray[np.float32] = resample_poly(wave, wanted // common, rate // common).astype(np.float32)
    return made


def _as_16_bits(wave: NDArray[np.float32]) -> NDArray[np.int16]:
    """Samples in -1 .. 1 as whole numbers; those beyond full scale are clipped to it."""
    return np.rint(wave * np.float32(FULL)).clip(-FULL, FULL - 1).astype(np.int16)


def _floats(given: Any) -> NDArray[np.float32]:
    """
    Raises:
        DecodeError: text, objects, other than one or two axes, no samples, other whole numbers than of 16 bits.
    """
    wanted = "needs floats in -1 .. 1 or 16-bit whole numbers, [samples] or [samples, channels]"
    try:
        wave = np.asarray(given)
    except ValueError:  # lists of unequal length
        raise DecodeError(f"rows of unequal length; {wanted}") from None
    if wave.dtype.kind != "f" and wave.dtype != np.int16:
        raise DecodeError(f"samples are {wave.dtype}; {wanted}")
    if wave.ndim not in (1, 2) or (wave.ndim == 2 and not 1 <= wave.shape[1] <= reading.MOST_CHANNELS):
        raise DecodeError(f"samples have shape {list(wave.shape)}; {wanted}")
    if wave.shape[0] == 0:
        raise DecodeError("no samples: zero length")
    with np.errstate(over="ignore", invalid="ignore"):
        floats = wave.astype(np.float32) / np.float32(FULL if wave.dtype == np.int16 else 1)
        mixed: NDArray[np.float32] = floats.mean(axis=1, dtype=np.float32) if floats.ndim == 2 else floats
        return reading.checked(mixed)
