"""One picture in every kind of file that is read."""

import io

from PIL import Image as Pillow


def encode(kind: str, image: Pillow.Image, **options: object) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def kinds(image: Pillow.Image) -> dict[str, bytes]:
    """Name of the kind -> the file."""
    return {
        "jpeg": encode("JPEG", image, quality=90),
        "progressive jpeg": encode("JPEG", image, quality=90, progressive=True),
        "gray jpeg": encode("JPEG", image.convert("L"), quality=90),
        "cmyk jpeg": encode("JPEG", image.convert("CMYK"), quality=90),
        "rgb jpeg": encode("JPEG", image, quality=90, keep_rgb=True),
        "png": encode("PNG", image),
        "gray png": encode("PNG", image.convert("L")),
        "palette png": encode("PNG", image.quantize(32)),
        "bilevel png": encode("PNG", image.convert("1")),
        "webp": encode("WEBP", image, quality=90),
        "lossless webp": encode("WEBP", image, lossless=True),
        "gif": encode("GIF", image),
        "bmp": encode("BMP", image),
        "tiff": encode("TIFF", image, compression="tiff_lzw"),
        "ppm": encode("PPM", image),
    }
