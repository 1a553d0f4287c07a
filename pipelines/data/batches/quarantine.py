"""Rows that stopped decoding while training, one small file each in `quarantine/` of the stage's folder.

Ingest has verified every row, so such a row was damaged later. Whichever read task meets it first keeps it here; the
others would write the same. What ingest itself turns away lies in quarantine.parquet beside the shards.
"""

from pathlib import Path

from pipelines.storage import outbox
from pipelines.storage.atomic import write_aside
from ssl_core.config import Config

FOLDER = "quarantine"


class Quarantined(Config):
    """One row and who took its place."""

    sample_id: int
    file: str
    """The shard."""
    row_group: int
    row: int
    """Within the row group."""
    origin: str
    """The raw file that ingest read it from."""
    reason: str
    replaced_by: int
    """Sample id of the next row of the same row group that decodes."""

    def line(self) -> str:
        place = f"{self.file} row group {self.row_group} row {self.row}"
        return f"sample {self.sample_id} ({self.origin}; {place}): {self.reason}; replaced by sample {self.replaced_by}"


def keep(folder: Path, row: Quarantined) -> None:
    """Record a row and say so, once."""
    path = folder / FOLDER / f"{row.sample_id}.json"
    if path.exists():
        return
    with write_aside(path) as file:
        file.write(row.model_dump_json().encode())
    outbox.note(folder, f"quarantined: {row.line()}")


def read(folder: Path) -> tuple[Quarantined, ...]:
    """Every row kept so far."""
    found = (Quarantined.model_validate_json(path.read_text()) for path in (folder / FOLDER).glob("*.json"))
    return tuple(sorted(found, key=lambda row: row.sample_id))
