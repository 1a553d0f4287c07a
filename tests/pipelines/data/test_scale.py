"""Nothing on the driver grows with the number of samples, but for a few bytes per row group (256 samples)."""

import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.data.batches.layout import GROUPS_AT_ONCE, Layout, windows
from pipelines.data.shards import duplicates, manifest, verification
from pipelines.data.shards.labels import Labels
from pipelines.data.shards.manifest import Manifest
from pipelines.data.shards.schema import CONTENT, LABELS
from pipelines.errors import UserError
from pipelines.storage import parquet
from pipelines.storage.checksum import sha256_of
from tests.support import constants, scale


@pytest.mark.timeout(280)
def test_a_hundred_million_rows_are_planned_in_flat_memory_and_time():
    small, large = scale.report(1_000_000), scale.report(100_000_000)
    assert large["row_groups"] > 390_000 and large["manifest_mb"] < 12
    for name in ("load", "layout", "plan", "batches", "evaluation", "monitor"):
        assert large[f"{name}_mb"] < 80, f"{name}: {large}"
    assert sum(value for key, value in large.items() if key.endswith("_mb")) < 200
    assert large["load_s"] < 10 and large["plan_s"] < 2
    assert large["batches_s"] < 3, "20 batches anywhere, those of three epochs among them"
    assert 1024 <= large["monitor_rows"] < 1200 and large["monitor_s"] < 1
    for found in (small, large):
        assert 100_000 <= found["evaluation_rows"] < 115_000 and found["evaluation_pieces"] < 500


def listing(*groups: int) -> Manifest:
    whole = scale.generated(len(groups))
    return whole.model_copy(update={"train": (whole.train[0].model_copy(update={"row_groups": groups}),)})


@pytest.mark.parametrize("limit", [None, 3000, 500, 100])
def test_rows_are_taken_evenly_whatever_the_cut(limit):
    groups = tuple(int(n) for n in np.random.default_rng(0).integers(1, 257, 50))
    layout, total = Layout(Path("/x"), listing(*groups), "train"), sum(groups)
    step = max(1, -(-total // limit)) if limit else 1
    begins = np.cumsum(groups) - groups
    wanted: list[int] = []
    for first in range(0, 50, GROUPS_AT_ONCE):  # every step-th row of each run of row groups
        last = min(50, first + GROUPS_AT_ONCE)
        wanted += range(begins[first], begins[last - 1] + groups[last - 1], step)
    found = []
    for piece in layout.in_order(limit):
        numbers = np.array([group.number for group in piece.groups])
        assert len(set(numbers[piece.rows.group])) == len(numbers), "no row group that no row lies in"
        found += (begins[numbers[piece.rows.group]] + piece.rows.row).tolist()
    assert found == wanted


def test_few_of_very_many_rows_are_few():
    layout = Layout(Path("/x"), scale.generated(3_000_000), "train")
    rows = [len(piece.rows.row) for piece in layout.in_order(16)]
    assert 16 <= sum(rows) <= 24
    assert not list(Layout(Path("/x"), scale.generated(10), "test").in_order(16))


def label_files(folder: Path, parts: list[list[int]]) -> list[Path]:
    paths = []
    for index, ids in enumerate(parts):
        paths.append(folder / f"{index}.parquet")
        pq.write_table(pa.table([ids, [f"class {i % 7}" for i in ids]], schema=LABELS), paths[-1])
    return paths


def test_every_sample_is_planned_window_by_window():
    made = scale.generated(3_000_000)
    made = made.model_copy(update={"train": made.train[:-4], "test": made.train[-4:]})
    tracemalloc.start()
    found, largest = [], 0
    for window in windows(Path("/x"), made, 100):
        found.append((window.num_train, sum(len(piece.rows.row) for piece in window.pieces)))
        largest = max(largest, len(window.pieces))
    assert tracemalloc.get_traced_memory()[1] < 10_000_000, "all of it would be 48 MB"
    tracemalloc.stop()
    assert largest == 100 and sum(rows for _, rows in found) == 3_000_000
    mixed = [(train, rows) for train, rows in found if 0 < train < rows]
    assert len(mixed) == 1 and sum(train for train, _ in found) == made.num_rows("train")


def test_test_samples_are_looked_for_in_flat_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "WINDOW", 100_000)
    few, many = (constants.leak_check(tmp_path / str(num), num, 20)["leak_check_mb"] for num in (200_000, 2_000_000))
    assert many < 1.1 * few, f"{few} and {many} MB: all hashes would be 29 MB more"


def test_labels_are_looked_up_file_by_file(tmp_path):
    parts = [[0, 3, 4], [7], [100, 101, 105]]
    labels = Labels(label_files(tmp_path, parts), [f"class {i}" for i in range(7)])
    assert dict(labels) == {i: i % 7 for part in parts for i in part}
    assert len(labels) == 7 and labels and 101 in labels and not Labels([], ["a"])
    for stranger in (-1, 1, 5, 8, 104, 106):
        assert stranger not in labels
    (tmp_path / "0.parquet").unlink()  # as good as never opened by who does not ask for it
    again = Labels(sorted(tmp_path.glob("*.parquet")), [f"class {i}" for i in range(7)])
    assert again[105] == 0 and again[7] == 0


def test_labels_take_the_memory_of_the_files_in_use(tmp_path):
    ids = [list(range(first, first + 2000)) for first in range(0, 200_000, 2000)]
    labels = Labels(label_files(tmp_path, ids), [f"class {i}" for i in range(7)])
    tracemalloc.start()
    assert [labels[i] for i in range(0, 200_000, 50_000)] == [0, 6, 5, 4]
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("bucket_rows", [1000, 4_000_000])
def test_duplicates_are_found_bucket_by_bucket(tmp_path, bucket_rows):
    draw = np.random.default_rng(0)
    content = draw.integers(-(2**62), 2**62, 3000)[draw.integers(0, 3000, 8000)]
    test = draw.random(8000) < 0.1
    paths = []
    for index, rows in enumerate(np.array_split(np.arange(8000), 5)):
        paths.append(tmp_path / f"{index}.parquet")
        pq.write_table(pa.table([rows, content[rows], test[rows]], schema=CONTENT), paths[-1])
    first: dict[int, int] = {}
    wanted = {}
    for number, value in enumerate(content.tolist()):
        if value in first:
            wanted[number] = first[value]
        first.setdefault(value, number)
    leaked = len([1 for value in content[test] if value in set(content[~test].tolist())])
    assert duplicates.write(tmp_path, paths, 8000, bucket_rows) == (len(wanted), leaked)
    rows = parquet.table(tmp_path / duplicates.NAME, duplicates.DUPLICATES).to_pylist()
    assert {row["sample_id"]: row["first_sample_id"] for row in rows} == wanted
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*(p.name for p in paths), duplicates.NAME])
    if bucket_rows > 8000:
        assert [row["sample_id"] for row in rows] == sorted(wanted)


def test_a_manifest_of_few_files_is_read_as_it_was_written(tmp_path):
    made = scale.generated(20_000)
    (tmp_path / manifest.NAME).write_text(made.model_dump_json())
    assert manifest.load(tmp_path) == made and made.num_rows("train") == 20_000


def test_large_data_sets_are_verified_by_all_nodes(ray_session, tmp_path, monkeypatch):
    (tmp_path / "train").mkdir()
    made = scale.generated(5 * 8192)
    files = []
    for file in made.train:
        for name in (file.path, file.labels_path):
            (tmp_path / str(name)).write_bytes(str(name).encode())
        hashes = {"sha256": sha256_of(tmp_path / file.path)}
        hashes["labels_sha256"] = sha256_of(tmp_path / str(file.labels_path))
        files.append(file.model_copy(update=hashes))
    listing = made.model_copy(update={"train": tuple(files)})
    monkeypatch.setattr(verification, "FEW_BYTES", 0)
    monkeypatch.setattr(verification, "TASK_BYTES", 2 * files[0].num_bytes)
    monkeypatch.setattr(verification, "IN_FLIGHT", 2)
    verification.verify(tmp_path, listing)
    (tmp_path / files[3].path).write_bytes(b"other")
    with pytest.raises(UserError, match=r"part-00003\.parquet: its sha256 is not the one in the manifest"):
        verification.verify(tmp_path, listing)
