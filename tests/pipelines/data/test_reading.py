"""What a read task makes of planned rows, and what it does when the storage lets it down."""

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.data.batches import quarantine
from pipelines.data.batches.order import Rows
from pipelines.data.batches.reading import Piece, Views, read_piece
from pipelines.data.batches.row_groups import Group
from pipelines.data.shards.schema import samples as sample_schema
from pipelines.errors import UserError
from pipelines.storage import outbox
from ssl_core.augment.image_crop import ImageCrop
from tests.support.images import encoded, image_fields

ROWS = 6


def shard(path: Path, bad: tuple[int, ...] = ()) -> Group:
    """One row group of six pictures with the sample ids 100 to 105; the bad ones are cut off in the middle."""
    images = [encoded(row)[: 60 if row in bad else None] for row in range(ROWS)]
    names = [f"photo{row}.png" for row in range(ROWS)]
    pq.write_table(pa.table([np.arange(100, 100 + ROWS), images, names], schema=sample_schema("image")), path)
    return Group(str(path), 0)


def views(stage: Path | None, slow: float = 30.0) -> Views:
    return Views((ImageCrop.Config(size=8),), seed=3, codecs=image_fields(10_000), slow_read_seconds=slow, stage=stage)


def piece(group: Group, *rows: int) -> Piece:
    return Piece((group,), Rows(np.zeros(len(rows), np.int64), np.array(rows)), epoch=1)


def test_a_row_that_stops_decoding_is_replaced_by_the_next_of_its_row_group(tmp_path):
    group = shard(tmp_path / "part.parquet", bad=(2, 3))
    arrays = read_piece(piece(group, 0, 2, 3, 5), views(tmp_path))
    assert arrays["planned_id"].tolist() == [100, 102, 103, 105]
    assert arrays["sample_id"].tolist() == [100, 104, 104, 105]
    kept = quarantine.read(tmp_path)
    assert [(q.sample_id, q.row, q.origin, q.replaced_by) for q in kept] == [
        (102, 2, "photo2.png", 104),
        (103, 3, "photo3.png", 104),
    ]
    assert all(q.file == group.path and q.reason for q in kept)
    notes = (tmp_path / outbox.NOTES).read_text().splitlines()
    assert len(notes) == 2 and "quarantined: sample 102 (photo2.png" in notes[0]
    read_piece(piece(group, 2), views(tmp_path))
    assert len((tmp_path / outbox.NOTES).read_text().splitlines()) == 2, "said once"


def test_who_stands_in_does_not_depend_on_the_cut(tmp_path):
    group = shard(tmp_path / "part.parquet", bad=(5,))
    whole = read_piece(piece(group, 0, 1, 5), views(tmp_path))
    alone = read_piece(piece(group, 5), views(tmp_path))
    assert whole["sample_id"][2] == alone["sample_id"][0] == 100, "after the last row comes the first"
    assert np.array_equal(whole["view0"][2], alone["view0"][0])
    assert not np.array_equal(whole["view0"][0], whole["view0"][2]), "the same picture, in another view"


def test_a_row_group_without_a_whole_row_stops_the_run_with_its_file(tmp_path):
    group = shard(tmp_path / "part.parquet", bad=tuple(range(ROWS)))
    with pytest.raises(UserError, match=r"part\.parquet: no sample of row group 0 decodes"):
        read_piece(piece(group, 1), views(tmp_path))


def test_evaluation_replaces_nothing(tmp_path):
    group = shard(tmp_path / "part.parquet", bad=(4,))
    with pytest.raises(UserError, match=r"part\.parquet: sample 104 does not decode"):
        read_piece(piece(group, 4), views(None))
    assert not (tmp_path / quarantine.FOLDER).exists()


def test_a_shard_that_vanished_is_named(tmp_path):
    group = shard(tmp_path / "part.parquet")
    Path(group.path).unlink()
    with pytest.raises(UserError, match=r"part\.parquet: row group 0 cannot be read"):
        read_piece(piece(group, 0), views(tmp_path))


def test_a_damaged_row_group_is_named(tmp_path):
    group = shard(tmp_path / "part.parquet")
    data = bytearray(Path(group.path).read_bytes())
    data[4:40] = bytes(36)
    Path(group.path).write_bytes(data)
    with pytest.raises(UserError, match=r"part\.parquet: "):
        read_piece(piece(group, 0), views(tmp_path))


@pytest.mark.timeout(60)
def test_a_stuck_read_is_reported_with_its_file_while_it_hangs(tmp_path):
    pipe = tmp_path / "part.parquet"
    os.mkfifo(pipe)  # opening it blocks until somebody writes, as a dead network mount does
    ended: list[BaseException] = []

    def read() -> None:
        try:
            read_piece(piece(Group(str(pipe), 0), 0), views(tmp_path, slow=0.2))
        except UserError as error:
            ended.append(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not (tmp_path / outbox.NOTES).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert thread.is_alive() and not ended
    assert f"slow storage: reading {pipe} (row group 0) has taken 0.2 s" in (tmp_path / outbox.NOTES).read_text()
    pipe.open("wb").close()
    thread.join(30)
    assert "cannot be read" in str(ended[0])


def test_a_quick_read_is_not_reported(tmp_path):
    group = shard(tmp_path / "part.parquet")
    read_piece(piece(group, 0, 1), replace(views(tmp_path), slow_read_seconds=5.0))
    assert not (tmp_path / outbox.NOTES).exists()
