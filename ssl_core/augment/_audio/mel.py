"""Log-mel spectrograms in torch, on the device of the waves, in operations that ONNX has.

Mel scale of HTK (2595 log10(1 + f / 700)), triangles of height 1, as torchaudio's default. Shapes: B samples, T samples
in time, F frames, K frequencies, M mel bands.
"""

from functools import cache
from math import pi
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

LEAST = 1e-8
"""Added to the power before its logarithm: -80 dB under a sine of full scale."""


@cache
def mel_filters(bands: int, num_bins: int, rate: int) -> NDArray[np.float32]:
    """[K, M]: band m rises from the middle of band m - 1 and falls to that of m + 1; 0 Hz to rate / 2."""
    top = 2595 * np.log10(1 + rate / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)  # [M + 2] Hz
    bins = np.linspace(0, rate / 2, num_bins)[:, None]  # [K, 1]
    rising = (bins - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - bins) / (corners[2:] - corners[1:-1])
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def log_mel(wave: "Tensor", rate: int, window: int, hop: int, bands: int) -> "Tensor":
    """Log power in mel bands: [B, T] in -1 .. 1 -> [B, M, T // hop]; a sine of full scale has a power of about 1.

    Frames are centered on the middles of their hops; what a window sees beyond the ends is silence.
    """
    import torch
    from torch.nn.functional import pad

    wave = wave.float()
    frames = wave.shape[-1] // hop
    beyond = (frames - 1) * hop + window - wave.shape[-1]  # may be negative
    before = (window - hop) // 2
    framed = pad(wave, (before, beyond - before)).unfold(-1, window, hop)  # [B, F, window]
    shape, real, imaginary, filters = (torch.from_numpy(m).to(wave.device) for m in _matrices(rate, window, bands))
    with torch.autocast(wave.device.type, enabled=False):
        if torch.compiler.is_exporting():  # ONNX's own transform is slow, and complex numbers are not everywhere
            power = (framed @ real).square() + (framed @ imaginary).square()  # [B, F, K]
        else:
            found = torch.fft.rfft(framed * shape, n=2 * (len(filters) - 1))
            power = found.real.square() + found.imag.square()
        return (power @ filters + LEAST).log().transpose(1, 2)


@cache
def _matrices(rate: int, window: int, bands: int) -> tuple[NDArray[np.float32], ...]:
    """The window [window], the windowed Fourier transform as two matrices [window, K], and the filters [K, M].

    Frequencies stand close enough for the narrowest band to hold one.
    """
    size = 1 << (2 * window - 1).bit_length()
    shape = 0.5 - 0.5 * np.cos(2 * pi * np.arange(window) / window)  # Hann
    angle = 2 * pi / size * np.outer(np.arange(window), np.arange(size // 2 + 1))
    shape = shape * 2 / shape.sum()
    real, imaginary = shape[:, None] * np.cos(angle), shape[:, None] * np.sin(angle)
    made = [part.astype(np.float32) for part in (shape, real, imaginary)]
    return *made, mel_filters(bands, size // 2 + 1, rate)
