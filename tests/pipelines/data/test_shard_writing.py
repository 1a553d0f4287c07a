"""One part of a source to files, without Ray: who is held out, row groups, and what is left when it fails."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.data.parts import Job, jobs
from pipelines.data.shards import writing
from pipelines.data.shards.writing import Rules
from pipelines.data.sources.base import Part, Raw
from pipelines.data.sources.image_folder import ImageFolder
from tests.support.images import encoded, good_tree, image_fields, write_tree

REPOSITORY = Path(__file__).parents[3]
RULES = Rules(image_fields(1_000_000), test_fraction=0.0, row_group_bytes=1 << 20)


def folder_job(root: Path) -> tuple[ImageFolder, Job]:
    source = ImageFolder(ImageFolder.Config(path=root))
    (part,) = source.parts(1)
    return source, Job(0, 10, part)


def held_out(root: Path, folder: Path, kind: type[ImageFolder] = ImageFolder) -> set[str]:
    source = kind(ImageFolder.Config(path=root))
    for job in jobs(source, 1):
        writing.write(source, job, Rules(image_fields(1_000_000), 0.25, 1 << 20), folder)
    return {
        Path(row["origin"]).name
        for path in folder.glob("test/part-*.parquet")
        for row in pq.read_table(path).to_pylist()
    }


def test_held_out_samples_stay_so_when_the_folder_grows_and_equals_are_on_one_side(tmp_path: Path) -> None:
    files = {f"{i:03d}.png": encoded(i // 2) for i in range(80)}  # each picture twice
    before = held_out(write_tree(tmp_path / "raw", files), tmp_path / "before")
    assert 10 <= len(before) <= 34
    assert all(f"{int(name[:3]) ^ 1:03d}.png" in before for name in before)
    grown = held_out(write_tree(tmp_path / "raw", {"!first.png": encoded(1000)}), tmp_path / "after")
    assert grown - {"!first.png"} == before


class BySpeaker(ImageFolder):
    """Four samples of each speaker."""

    def read(self, part: Part) -> Iterator[Raw]:
        for raw in super().read(part):
            yield replace(raw, group=f"speaker {int(Path(raw.file).stem) // 4}")


def test_a_group_is_held_out_as_a_whole(tmp_path: Path) -> None:
    raw = write_tree(tmp_path / "raw", {f"{i:03d}.png": encoded(i) for i in range(80)})
    test = {int(name[:3]) for name in held_out(raw, tmp_path / "out", BySpeaker)}
    assert 0 < len(test) < 80
    assert all({4 * (i // 4) + k for k in range(4)} <= test for i in test)


def test_row_groups_keep_to_bytes_and_rows(tmp_path: Path) -> None:
    source, job = folder_job(good_tree(tmp_path / "raw", 20))
    sizes = [len(raw.data or b"") for raw in source.read(job.part)]
    limit = max(sizes) + 1
    record = writing.write(source, job, Rules(image_fields(1_000_000), 0.0, limit), tmp_path)
    assert record.train is not None
    file = pq.ParquetFile(tmp_path / record.train.path)
    groups = [file.read_row_group(i).to_pylist() for i in range(file.num_row_groups)]
    assert tuple(map(len, groups)) == record.train.row_groups
    assert len(groups) > 2
    assert all(sum(len(row["image"]) for row in group) <= limit for group in groups)
    assert [row["sample_id"] for group in groups for row in group] == list(range(10, 30))


def test_at_most_256_rows_in_a_group(tmp_path: Path) -> None:
    tiny = encoded(1, 2, 2)
    source, job = folder_job(write_tree(tmp_path / "raw", {f"{i:03d}.png": tiny for i in range(300)}))
    record = writing.write(source, job, RULES, tmp_path)
    assert record.train is not None
    assert record.train.row_groups == (256, 44)


def test_a_part_that_gives_fewer_samples_than_it_says_is_a_bug_and_leaves_nothing(tmp_path: Path) -> None:
    source, job = folder_job(good_tree(tmp_path / "raw", 4))
    with pytest.raises(RuntimeError, match="gave 4 samples for part 0, which says 5"):
        writing.write(source, Job(0, 0, Part(None, 5, job.part.what)), RULES, tmp_path / "out")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_a_full_disk_is_a_clear_problem_and_leaves_nothing(tmp_path: Path) -> None:
    good_tree(tmp_path / "raw", 60)
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from tests.pipelines.data.test_shard_writing import RULES, folder_job, writing\n"
        "root = Path(sys.argv[1])\n"
        "source, job = folder_job(root / 'raw')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "print(writing.task({'job': job.dumps()}, source=source, rules=RULES, folder=root / 'out')['problem'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"storage: {tmp_path / 'out'}: cannot be written (File too large)"
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
