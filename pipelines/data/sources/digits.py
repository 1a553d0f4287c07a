"""The handwritten digits that ship with scikit-learn: input without a download."""

from collections.abc import Iterator
from typing import Literal

import cv2
import numpy as np

from pipelines.data.sources.base import Part, Raw, Source
from ssl_core.config import NamedConfig
from ssl_core.noise import keyed_permutation, salt

NUM_SAMPLES = 1797
NUM_TEST = 360
_ORDER = salt(0xD161)


class Digits(Source):
    """1,797 handwritten digits of 8x8 grey pixels from scikit-learn; the last 360 of a fixed shuffle are the test."""

    class Config(NamedConfig):
        name: Literal["digits"] = "digits"

    def __init__(self, config: Config):
        pass

    def fingerprint(self) -> str:
        return "scikit-learn digits"

    def parts(self, shard_mb: int) -> list[Part]:
        order = keyed_permutation(NUM_SAMPLES, _ORDER).tolist()
        train, test = order[:-NUM_TEST], order[-NUM_TEST:]
        return [Part("train", len(train), {"index": train}), Part("test", len(test), {"index": test})]

    def read(self, part: Part) -> Iterator[Raw]:
        from sklearn.datasets import load_digits  # imported only where digits are read: it takes a second

        digits = load_digits()
        for index in part.what["index"]:
            pixels = np.round(digits.images[index] * (255 / 16)).astype(np.uint8)  # [8, 8], 0..16 -> 0..255
            png = cv2.imencode(".png", pixels)[1].tobytes()
            yield Raw("digits", index, data=png, label=str(digits.target[index]))
