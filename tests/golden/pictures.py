"""The picture files of the golden line, committed: encoders of other versions would write other bytes.

pictures.parquet holds 48 JPEGs (`folder` unpacks them) and 16 gray PNGs. It was written once, by
`python -m tests.golden.pictures`; written again it may come out different, and line.json would have to as well.
"""

import os
import shutil
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.support.pictures import picture

FILE = Path(__file__).with_suffix(".parquet")
JPEGS, PNGS = 48, 16
TIME_NS = 1_700_000_000 * 10**9
"""Modification time of every file: a source's fingerprint reads it."""


def folder(root: Path) -> Path:
    """`root/pictures/a/000.jpg`, ...: the JPEGs, by class."""
    for row in pq.read_table(FILE).to_pylist()[:JPEGS]:
        path = root / "pictures" / row["image"]["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(row["image"]["bytes"])
        os.utime(path, ns=(TIME_NS, TIME_NS))
    return root / "pictures"


def parquet(root: Path) -> Path:
    """`root/pictures.parquet`: all of them."""
    path = root / FILE.name
    shutil.copyfile(FILE, path)
    os.utime(path, ns=(TIME_NS, TIME_NS))
    return path


def _row(number: int) -> dict[str, object]:
    kind = number % 2
    height, width = (96, 128) if number % 6 == 0 else (30 + number % 11, 44 - number % 7)  # the large ones may shrink
    seen = Image.fromarray(picture(height, width, seed=number) // (1 + kind))
    name, buffer = f"{'ab'[kind]}/{number:03d}", BytesIO()
    if number < JPEGS:
        seen.save(buffer, "JPEG", quality=60)
        name += ".jpg"
    else:
        seen.resize((28, 24)).convert("L").save(buffer, "PNG")
        name += ".png"
    return {"image": {"bytes": buffer.getvalue(), "path": name}, "label": kind}


if __name__ == "__main__":
    pq.write_table(pa.Table.from_pylist([_row(n) for n in range(JPEGS + PNGS)]), FILE, row_group_size=20)
