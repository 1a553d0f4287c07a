"""Memory that a read task frees stays with its process, for the next image.

glibc gives large blocks back to the kernel as soon as they are freed, so every decoded photo is written into pages that
the kernel has to find and clear first: a fifth of the time that decoding takes.
"""

import ctypes
from functools import cache

KEPT_BYTES = 128 << 20
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST_MMAP_THRESHOLD = 32 << 20


@cache  # once per process
def keep_freed() -> bool:
    """Let this process keep up to `KEPT_BYTES` that it has freed; False where the C library has no such switch."""
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):  # macOS, musl
        return False
    done = library.mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD) and library.mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
    return bool(done)
