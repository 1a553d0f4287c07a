"""Shards against their sha256: in this process where that takes seconds, on the whole cluster where it takes hours."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pipelines.runtime  # noqa: F401  Ray reads its settings when it is imported
from pipelines.data.shards import manifest
from pipelines.data.shards.manifest import Manifest, ShardFile
from pipelines.errors import UserError

FEW_BYTES = 1 << 30
"""Up to here this process reads them itself, at about a gigabyte per second."""
TASK_BYTES = 1 << 30
IN_FLIGHT = 256
"""Tasks asked for at once, so that the driver holds no more however many there are."""


def verify(folder: Path, listing: Manifest) -> None:
    """Compare every file of the manifest with its recorded sha256; Ray runs already.

    Raises:
        UserError: names a file that is missing or differs.
    """
    files = (*listing.train, *listing.test)
    if sum(file.num_bytes for file in files) <= FEW_BYTES:
        manifest.verify(folder, listing)
        return
    import ray

    @ray.remote(num_cpus=1)  # type: ignore[untyped-decorator]
    def fault(some: Sequence[ShardFile]) -> str:
        try:
            manifest.verify_files(folder, some)
        except UserError as error:
            return str(error)
        return ""

    waiting = []
    for some in _runs(files):
        waiting.append(fault.remote(some))
        if len(waiting) == IN_FLIGHT:
            done, waiting = ray.wait(waiting)
            _raise(ray.get(done))
    _raise(ray.get(waiting))


def _raise(faults: list[str]) -> None:
    for text in filter(None, faults):
        raise UserError(text)


def _runs(files: Sequence[ShardFile]) -> Iterator[Sequence[ShardFile]]:
    """Consecutive files of about TASK_BYTES."""
    first = num_bytes = 0
    for index, file in enumerate(files):
        num_bytes += file.num_bytes
        if num_bytes >= TASK_BYTES or index == len(files) - 1:
            yield files[first : index + 1]
            first, num_bytes = index + 1, 0
