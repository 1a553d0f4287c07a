"""Photos no larger than training needs.

Shapes: H height, W width.
"""

import io

import numpy as np
from PIL import Image as Pillow

from ssl_core.codecs._image.container import JPEG_START
from ssl_core.codecs._image.decode import decode
from ssl_core.codecs._image.resize import resize

JPEG_QUALITY = 95


def shrunk(data: bytes, height: int, width: int, *, shorter: int, max_pixels: int) -> bytes:
    """An image file whose shorter side is at most `shorter`, its proportions kept.

    What is larger is decoded (a JPEG at the smallest reduction that is still large enough), resized as views are, and
    encoded anew: a JPEG as JPEG at quality 95 without chroma subsampling, anything else as PNG.

    Args:
        data: what `clean` gave: an image of [height, width].
        shorter: pixels of the shorter side.
    Returns: `data` itself where the image is no larger.
    """
    side = min(height, width)
    if side <= shorter:
        return data
    reduction = next((by for by in (8, 4, 2) if side // by >= shorter), 1)
    pixels = decode(data, max_pixels=max_pixels, reduction=reduction)
    # one rounding, from the whole size, so that reductions change no shape
    out = np.empty((max(1, round(height * shorter / side)), max(1, round(width * shorter / side)), 3), np.uint8)
    resize(pixels, out)
    encoded = io.BytesIO()
    if data.startswith(JPEG_START):
        Pillow.fromarray(out).save(encoded, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    else:
        Pillow.fromarray(out).save(encoded, "PNG")
    return encoded.getvalue()
