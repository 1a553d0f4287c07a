"""The view of a recording that probes, reports and serving read: no randomness.

Shapes: B samples, T samples in time.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ssl_core.augment._audio.base import AudioAugmentation, AudioConfig
from ssl_core.codecs.audio import FULL, Wave


class AudioEval(AudioAugmentation):
    """The middle of a recording, as a log-mel spectrogram or a wave, the same every time: for evaluation."""

    draws = False

    class Config(AudioConfig):
        name: Literal["audio_eval"] = "audio_eval"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.config = config

    def __call__(self, values: Sequence[Wave], sample_id: NDArray[np.int64], salt: int) -> NDArray[np.int16]:
        """B recordings -> [B, T] int16; a shorter one has silence on both sides. Ignores sample_id and salt."""
        length = self.config.length
        views = np.empty((len(values), length), np.int16)
        for value, view in zip(values, views, strict=True):
            wave = self.cut(value, (len(value.samples) - length) // 2, length)
            view[:] = np.rint(wave * FULL).clip(-FULL, FULL - 1)
        return views
