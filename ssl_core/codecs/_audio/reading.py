"""Sound files to one channel of float samples: WAV, FLAC, Ogg, MP3, AIFF by libsndfile.

Shapes: T samples.
"""

import struct
from collections.abc import Iterator
from io import BytesIO
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssl_core.codecs.base import DecodeError

FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3", "AIFF")
"""Of libsndfile's: the others are rare, and parsers of rare formats are where bugs are."""
RATES = (1_000, 192_000)
"""Samples per second, lowest and highest."""
MOST_CHANNELS = 64
LOUDEST = 8.0
"""Times full scale that samples of floats may reach: beyond they are no floats in -1 .. 1."""
_BLOCK = 1 << 18
"""Values decoded at a time, all channels together."""
_UNKNOWN = (0, 0x7FFFFFFF, 0xFFFFFFFF)
"""Sizes of a chunk that recorders write who do not know the end: what is there counts."""


class Header(NamedTuple):
    frames: int
    """As it says; a stream may say nothing (a huge number)."""
    rate: int
    channels: int
    pcm_16: bool
    """One channel of 16-bit samples, which come as they are."""


def header(data: bytes) -> Header:
    """
    Raises:
        DecodeError: no sound file that is read, or one that claims more than is there.
    """
    with _opened(data) as file:
        return _header(file)


def mono(data: bytes, most_frames: int) -> NDArray[np.float32]:
    """The mean of the channels in -1 .. 1: [T].

    Args:
        most_frames: longer ones are refused while they are read, whatever the header said.
    Raises:
        DecodeError: as `header`; broken, cut short, empty, not a number, infinite, far beyond full scale.
    """
    with _opened(data) as file:
        said = _header(file)
        parts, count = list[NDArray[np.float32]](), 0
        for block in _blocks(file, max(1, _BLOCK // said.channels)):
            count += len(block)
            if count > most_frames:
                raise DecodeError(f"more than {most_frames} samples, which its header does not say")
            parts.append(block.mean(axis=1, dtype=np.float32) if said.channels > 1 else block[:, 0])
    if count == 0:
        raise DecodeError("no samples: zero length")
    if count < said.frames < most_frames:
        raise DecodeError(f"cut short: {count} of {said.frames} samples are there")
    return checked(np.concatenate(parts))


def checked(wave: NDArray[np.float32]) -> NDArray[np.float32]:
    """
    Raises:
        DecodeError: samples that are no numbers, or no floats in -1 .. 1.
    """
    odd = np.flatnonzero(~np.isfinite(wave))
    if len(odd):
        raise DecodeError(f"sample {odd[0]} is not a finite number ({len(odd)} of {len(wave)} are not)")
    loudest = float(np.abs(wave).max()) if len(wave) else 0.0
    if loudest > LOUDEST:
        raise DecodeError(f"samples of up to {loudest:.4g}; full scale is 1: scale them to -1 .. 1")
    return wave


def _opened(data: bytes):  # type: ignore[no-untyped-def]
    import soundfile

    if not data:
        raise DecodeError("empty file")
    _check_riff(data)
    try:
        file = soundfile.SoundFile(BytesIO(data))
    except (soundfile.SoundFileError, RuntimeError, ValueError) as error:
        raise DecodeError(f"not a sound file that can be read ({_said(error)})") from None
    if file.format not in FORMATS:
        file.close()
        raise DecodeError(f"a sound file of format {file.format}; read are {', '.join(FORMATS)}")
    return file


def _header(file) -> Header:  # type: ignore[no-untyped-def]
    low, high = RATES
    if not low <= file.samplerate <= high:
        raise DecodeError(f"{file.samplerate} samples per second; read are {low} to {high}")
    if not 1 <= file.channels <= MOST_CHANNELS:
        raise DecodeError(f"{file.channels} channels; read are 1 to {MOST_CHANNELS}")
    return Header(max(0, file.frames), file.samplerate, file.channels, file.channels == 1 and file.subtype == "PCM_16")


def _blocks(file, frames: int) -> Iterator[NDArray[np.float32]]:  # type: ignore[no-untyped-def]
    import soundfile

    while True:
        try:
            block = file.read(frames, dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, RuntimeError, ValueError) as error:
            raise DecodeError(f"broken sound file ({_said(error)})") from None
        if not len(block):
            return
        yield block


def _check_riff(data: bytes) -> None:
    """A WAV file whose samples end before its header says: libsndfile would read what there is without a word."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return
    place = 12
    while place + 8 <= len(data):
        name, (size,) = data[place : place + 4], struct.unpack_from("<I", data, place + 4)
        there = len(data) - place - 8
        if name == b"data":
            if size > there and size not in _UNKNOWN:
                raise DecodeError(f"cut short: its header claims {size} bytes of samples, {there} are there")
            return
        place += 8 + size + size % 2


def _said(error: Exception) -> str:
    """libsndfile's own words, without what soundfile puts before them."""
    words = getattr(error, "error_string", str(error)).removeprefix("Error : ")
    return " ".join(words.split()).strip(" :.")[:120] or type(error).__name__
