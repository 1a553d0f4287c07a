"""Random crop, speed, gain and noise of recordings, and SpecAugment (Park et al., 2019, https://arxiv.org/abs/1904.08779).

Shapes: B samples, T samples in time, M mel bands, F frames.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, NonNegativeInt

from ssl_core import noise
from ssl_core.augment._audio.base import AudioAugmentation, AudioConfig
from ssl_core.augment._series.draws import keyed_normals
from ssl_core.codecs.audio import FULL, Wave

if TYPE_CHECKING:
    from torch import Tensor

CROP, HISS, MASK = range(3)  # what a random draw is for


class AudioCrop(AudioAugmentation):
    """Random crop of a recording with speed, gain, noise and masked bands: for contrastive and masked methods."""

    class Config(AudioConfig):
        name: Literal["audio_crop"] = "audio_crop"
        speed: Annotated[float, Field(ge=0, lt=1)] = 0.1
        """Played faster or slower by up to this share; tones rise and fall with it."""
        gain_db: NonNegativeFloat = 6.0
        """Louder or softer by up to so many decibels."""
        noise: NonNegativeFloat = 0.1
        """Largest deviation of white noise that is added, as a share of the view's own deviation."""
        mel_masks: NonNegativeInt = 1
        """Stretches of mel bands that are set to the mean, each up to `mel_width` of them (SpecAugment)."""
        mel_width: Annotated[float, Field(ge=0, le=1)] = 0.2
        """See mel_masks; as a share of all bands."""
        time_masks: NonNegativeInt = 1
        """Stretches of frames that are set to the mean, each up to `time_width` of them (SpecAugment)."""
        time_width: Annotated[float, Field(ge=0, le=1)] = 0.2
        """See time_masks; as a share of all frames."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.config = config

    def __call__(self, values: Sequence[Wave], sample_id: NDArray[np.int64], salt: int) -> NDArray[np.int16]:
        """B recordings -> [B, T] int16; a shorter one lies at a random place in silence."""
        config, length = self.config, self.config.length
        draws = noise.keyed_uniform(sample_id, 4, noise.salt(salt, CROP)).tolist()  # [B, 4]
        hiss = keyed_normals(sample_id, length, noise.salt(salt, HISS)) if config.noise > 0 else None  # [B, T]
        views = np.empty((len(values), length), np.int16)
        for row, (value, (place, speed, gain, loud)) in enumerate(zip(values, draws, strict=True)):
            wave = self._crop(value, place, 1 + config.speed * (2 * speed - 1))  # [T]
            if hiss is not None:
                wave = wave + np.float32(config.noise * loud * wave.std()) * hiss[row]
            wave = wave * np.float32(10 ** (config.gain_db * (2 * gain - 1) / 20))
            views[row] = np.rint(wave * FULL).clip(-FULL, FULL - 1)
        return views

    def _crop(self, value: Wave, place: float, speed: float) -> NDArray[np.float32]:
        """A stretch of T * speed samples, played in T: [T]."""
        length = self.config.length
        taken = max(1, round(length * speed))
        free = len(value.samples) - taken
        start = int(place * (abs(free) + 1)) * (1 if free >= 0 else -1)
        wave = self.cut(value, start, taken)
        if taken == length:
            return wave
        between = np.arange(length) * ((taken - 1) / max(length - 1, 1))
        return np.interp(between, np.arange(taken), wave).astype(np.float32)

    def finish(self, view: "Tensor", sample_id: NDArray[np.int64] | None = None, salt: int | None = None) -> "Tensor":
        """As the evaluation view, then masks of mel bands and frames, keyed: [B, T] int16 -> [B, 1, M, F] float32."""
        finished = super().finish(view)
        if sample_id is None or salt is None or self.config.mels is None:
            return finished
        return self._masked(finished, sample_id, salt)

    def _masked(self, finished: "Tensor", sample_id: NDArray[np.int64], salt: int) -> "Tensor":
        import torch

        config = self.config
        draws = noise.keyed_uniform(sample_id, 2 * (config.mel_masks + config.time_masks), noise.salt(salt, MASK))
        for which in range(config.mel_masks + config.time_masks):
            axis, widest = (2, config.mel_width) if which < config.mel_masks else (3, config.time_width)
            side = finished.shape[axis]
            width = np.floor(draws[:, 2 * which] * (widest * side + 1))  # [B]
            first = np.floor(draws[:, 2 * which + 1] * (side - width + 1))
            place = np.arange(side)
            hidden = torch.from_numpy((place >= first[:, None]) & (place < (first + width)[:, None]))  # [B, side]
            shape = [len(hidden), 1, 1, 1]
            shape[axis] = side
            finished = finished.masked_fill(hidden.to(finished.device, non_blocking=True).view(shape), 0.0)
        return finished
