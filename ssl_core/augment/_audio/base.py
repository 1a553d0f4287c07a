"""What every chain of sound shares: a stretch of fixed length as it travels, and the spectrogram that is made of it.

Shapes: B samples, T samples in time, M mel bands, F frames.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from ssl_core.augment._audio.mel import log_mel
from ssl_core.augment._audio.pictures import spectrograms
from ssl_core.augment.base import Augmentation
from ssl_core.codecs.audio import FULL, Wave
from ssl_core.codecs.base import DecodeError
from ssl_core.config import NamedConfig
from ssl_core.spec import MEL_AXES, SERIES_AXES, ViewSpec

if TYPE_CHECKING:
    from torch import Tensor

FLOOR_BANDS = 40
FLOOR_MS = (25, 10)
PEAK = 0.5
"""Of full scale, to which `level: peak` brings a recording."""


class AudioConfig(NamedConfig):
    """Knobs that every chain of sound has under the same names."""

    seconds: PositiveFloat = 0.96
    """Length of a view. A shorter recording has silence (zeros) beside it."""
    rate: Annotated[int, Field(ge=1_000)] = 16_000
    """Samples per second of the recordings, as `ingest.codecs` stores them."""
    mels: PositiveInt | None = 64
    """Bands of the log-mel spectrogram that a view is; null: the view is the wave itself."""
    window_ms: PositiveFloat = 25.0
    """Stretch of time that a frame sees."""
    hop_ms: PositiveFloat = 10.0
    """From a frame to the next one: a view has seconds * 1000 / hop_ms of them, rounded down."""
    mean: float = -14.0
    """Of log-mel values, subtracted (waves: not used). Take it from train, or leave it: a shift is learned soon."""
    std: PositiveFloat = 4.5
    """See mean; what they are divided by."""
    level: Literal["peak", "given"] = "peak"
    """peak: each recording is scaled so that its loudest sample is at half of full scale; given: as it was recorded."""

    @property
    def length(self) -> int:
        """T: samples of a view."""
        return round(self.seconds * self.rate)

    @property
    def window(self) -> int:
        return round(self.window_ms * self.rate / 1000)

    @property
    def hop(self) -> int:
        return round(self.hop_ms * self.rate / 1000)

    @model_validator(mode="after")
    def _frames_fit(self) -> Self:
        if self.length < 1:
            raise ValueError(f"seconds: {self.seconds:g} at rate {self.rate} hold no sample")
        if self.mels is None:
            return self
        if not 2 <= self.hop <= self.window:
            raise ValueError(f"hop_ms: {self.hop_ms:g} must be 2 samples or more, and no more than window_ms")
        if self.length < self.hop:
            raise ValueError(f"seconds: {self.seconds:g} are shorter than one frame of hop_ms {self.hop_ms:g}")
        return self


class AudioAugmentation(Augmentation):
    """A chain whose views travel as waves, [B, T] int16, and become log-mel spectrograms in `finish`."""

    field = "audio"
    codec = "audio"
    floor_name = "log-mel-statistics-1"

    def __init__(self, config: AudioConfig) -> None:
        self._sound = config
        nbytes = 2 * config.length
        if config.mels is None:
            self.spec = ViewSpec(SERIES_AXES, (1, config.length), nbytes=nbytes)
        else:
            self.spec = ViewSpec(MEL_AXES, (1, config.mels, config.length // config.hop), nbytes=nbytes)
            self.lossless = False

    def cut(self, value: Wave, start: int, length: int) -> NDArray[np.float32]:
        """Samples from `start` on, in -1 .. 1, silence where the recording has none: [length].

        Raises:
            DecodeError: a recording at another rate.
        """
        samples, rate = value
        if rate != self._sound.rate:
            raise DecodeError(
                f"recording has {rate} samples per second; the views are of {self._sound.rate} (views.*.rate, "
                "ingest.codecs.audio.rate)"
            )
        view = np.zeros(length, np.float32)
        first, last = max(start, 0), min(start + length, len(samples))
        if last > first:
            view[first - start : last - start] = samples[first:last]
        scale = 1 / FULL
        if self._sound.level == "peak":
            loudest = max(int(samples.max()), -int(samples.min()))
            scale = PEAK / loudest if loudest else 0.0
        return view * np.float32(scale)

    def finish(self, view: "Tensor", sample_id: NDArray[np.int64] | None = None, salt: int | None = None) -> "Tensor":
        """[B, T] int16 -> log-mel spectrograms [B, 1, M, F], or waves [B, 1, T]; float32."""
        wave, sound = view.float() / FULL, self._sound
        if sound.mels is None:
            return wave[:, None]
        bands = log_mel(wave, sound.rate, sound.window, sound.hop, sound.mels)
        return ((bands - sound.mean) / sound.std)[:, None]

    def restore(self, view: "Tensor") -> "Tensor":
        """Waves [B, 1, T] as they travel; spectrograms [B, 1, M, F] as log-mel values [B, M, F]: no way back."""
        if self._sound.mels is None:
            return (view[:, 0].float() * FULL).round().clamp(-FULL, FULL - 1).short()
        return view[:, 0].float() * self._sound.std + self._sound.mean

    def pictures(self, view: NDArray[Any]) -> NDArray[np.uint8]:
        """Spectrograms, low tones at the bottom, of waves [B, T] int16 or of log-mel values [B, M, F]."""
        import torch

        values = torch.from_numpy(np.ascontiguousarray(view))
        return spectrograms(self._bands(values, self._sound.mels or FLOOR_BANDS).numpy())

    def floor(self, view: "Tensor", valid: "Tensor | None" = None) -> "Tensor":
        """Mean and deviation over time of 40 log-mel bands and of their differences from frame to frame.

        Args:
            view: waves [B, T] int16, or log-mel values as `restore` gives them, whose own bands are taken.
            valid: not read.
        Returns: [B, 160].
        """
        import torch

        bands = self._bands(view, FLOOR_BANDS)  # [B, M, F]
        change = bands.diff(dim=-1) if bands.shape[-1] > 1 else bands.new_zeros(bands.shape)
        found = [part for of in (bands, change) for part in (of.mean(-1), of.std(-1, correction=0))]
        return torch.cat(found, dim=1)

    def _bands(self, view: "Tensor", bands: int) -> "Tensor":
        if view.ndim == 3:
            return view.float()
        window, hop = (max(2, round(ms * self._sound.rate / 1000)) for ms in FLOOR_MS)
        hop = min(hop, view.shape[-1])
        return log_mel(view.float() / FULL, self._sound.rate, max(window, hop), hop, bands)
