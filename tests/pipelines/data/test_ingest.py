"""Raw files to shards on a real local Ray: what is stored, what is refused, and what survives a kill."""

import os
import signal
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.config.parse import parse
from pipelines.config.run import RunConfig
from pipelines.data import ingest
from pipelines.data.ingest import INGEST
from pipelines.data.shards import manifest as manifests
from pipelines.data.shards.shard_set import ShardSet
from pipelines.data.sources import _files
from pipelines.errors import UserError
from pipelines.stage import Nothing
from ssl_core.codecs._image.decode import decode
from tests.support.data import shared
from tests.support.images import ARTIST, ORIENTATION, bad_files, encoded, good_tree, pixels, write_tree
from tests.support.recipe import TREE

pytestmark = pytest.mark.timeout(600)
REPOSITORY = Path(__file__).parents[3]


def config_of(path: Path, **options: Any) -> RunConfig:
    source = {"name": "image_folder", "path": str(path)}
    return parse({**TREE, "source": source, "ingest": {"test_fraction": 0.25, **options}})


def table(folder: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / name).to_pylist()
    return rows


def stored(made: ShardSet, split: str = "train") -> list[dict[str, Any]]:
    files = manifests.load(made.folder).files("train" if split == "train" else "test")
    return [row for file in files for row in table(made.folder, file.path)]


@pytest.fixture
def jobs_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_files, "MAX_SAMPLES", 3)


@pytest.mark.usefixtures("ray_session", "jobs_of_three")
class TestIngest:
    def test_good_and_bad_files_end_where_they_belong(self, tmp_path: Path) -> None:
        raw = write_tree(good_tree(tmp_path / "raw", 24), bad_files())
        write_tree(raw, {"b/copy.png": (raw / "a" / "003.png").read_bytes(), "b/dot.png": encoded(70, 1, 1)})
        made = ingest.run(config_of(raw, max_bad_fraction=0.5), Nothing(), tmp_path / "out")
        manifest = manifests.load(made.folder)
        manifests.verify(made.folder, manifest)
        assert (made.num_train + made.num_test, made.num_quarantined, made.num_classes) == (26, 5, 2)
        notes = (tmp_path / "out" / "notes.log").read_text()
        assert "1 files of other kinds left out (.txt)" in notes and "2 classes: a, b" in notes
        assert made.digest == manifest.digest

        names = sorted(path.relative_to(raw).as_posix() for path in raw.rglob("*.*"))
        rows = stored(made) + stored(made, "test")
        assert {row["origin"]: names[row["sample_id"]] for row in rows} == {
            f"raw/{name}": name for name in names if name not in bad_files()
        }
        assert all(decode(row["image"], max_pixels=10_000).ndim == 3 for row in rows)

        bad = {row["file"].removeprefix("raw/"): row["reason"] for row in table(made.folder, "quarantine.parquet")}
        assert set(bad) == set(bad_files()) - {"a/notes.txt"}
        assert bad["b/zero.png"] == "empty file"
        assert bad["a/text.jpg"] == "not an image"
        assert bad["b/truncated.jpg"].startswith("truncated")
        assert "400.0 megapixels" in bad["a/bomb.png"]

        first, copy = names.index("a/003.png"), names.index("b/copy.png")
        assert table(made.folder, "duplicates.parquet") == [{"sample_id": copy, "first_sample_id": first}]
        assert made.num_duplicates == 1

    def test_labels_lie_apart_from_the_images(self, tmp_path: Path) -> None:
        made = ingest.run(config_of(good_tree(tmp_path / "raw")), Nothing(), tmp_path / "out")
        manifest = manifests.load(made.folder)
        for file in (*manifest.train, *manifest.test):
            assert pq.read_schema(made.folder / file.path).names == ["sample_id", "image", "origin"]
        assert manifest.classes == ("a", "b")
        for split in ("train", "test"):
            found = manifests.labels(made.folder, manifest, split)
            origins = {row["sample_id"]: row["origin"] for row in stored(made, split)}
            assert found == {i: int(origin.startswith("raw/b/")) for i, origin in origins.items()}

    def test_exif_turns_the_image_and_is_dropped(self, tmp_path: Path) -> None:
        raw = write_tree(tmp_path / "raw", {"turned.jpg": encoded(5, 24, 64, "JPEG", exif=6)})
        made = ingest.run(config_of(raw, test_fraction=0), Nothing(), tmp_path / "out")
        (row,) = stored(made)
        assert b"a private name" in (raw / "turned.jpg").read_bytes()
        assert b"a private name" not in row["image"]
        assert not {ORIENTATION, ARTIST} & set(Image.open(BytesIO(row["image"])).getexif())
        shown = decode(row["image"], max_pixels=10_000)
        assert shown.shape == (64, 24, 3)
        assert np.abs(shown - np.rot90(pixels(5, 24, 64), -1).astype(float)).mean() < 20

    def test_two_ingests_make_the_same_bytes(self, tmp_path: Path) -> None:
        config = config_of(good_tree(tmp_path / "raw", 20))
        first = ingest.run(config, Nothing(), tmp_path / "one")
        second = ingest.run(config, Nothing(), tmp_path / "two")
        assert first.digest == second.digest
        assert (tmp_path / "one/manifest.json").read_bytes() == (tmp_path / "two/manifest.json").read_bytes()

    def test_held_out_samples_do_not_depend_on_how_parts_are_cut(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = config_of(good_tree(tmp_path / "raw", 40))
        held_out = []
        for number, samples in enumerate((3, 1000)):
            monkeypatch.setattr(_files, "MAX_SAMPLES", samples)
            held_out.append(stored(ingest.run(config, Nothing(), tmp_path / str(number)), "test"))
        assert held_out[0] == held_out[1]
        assert 4 <= len(held_out[0]) <= 16

    def test_too_many_bad_files_stop_it_early_and_are_named(self, tmp_path: Path) -> None:
        raw = good_tree(tmp_path / "raw", 3)
        write_tree(raw, {f"{i:03d}.png": b"" if i != 1 else encoded(1) for i in range(200)})
        with pytest.raises(UserError) as error:
            ingest.run(config_of(raw), Nothing(), tmp_path / "out")
        said = str(error.value)
        assert said.startswith("ingest.max_bad_fraction: already 5 of 203 samples (2.46 %) cannot be read, 1 % are")
        assert "the first: raw/000.png (empty file), raw/002.png (empty file), raw/003.png (empty file); all in" in said
        assert str(tmp_path / "out" / "quarantine.parquet") in said
        assert len(table(tmp_path / "out", "quarantine.parquet")) == 5
        assert not (tmp_path / "out" / "manifest.json").exists()

    def test_nothing_readable_is_an_error_at_any_budget(self, tmp_path: Path) -> None:
        raw = write_tree(tmp_path / "raw", {"a.png": b"", "b.png": b"x"})
        with pytest.raises(UserError, match=r"2 of 2 samples \(100 %\) cannot be read"):
            ingest.run(config_of(raw, max_bad_fraction=1), Nothing(), tmp_path / "out")

    def test_a_folder_that_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        config = config_of(good_tree(tmp_path / "raw"))
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(UserError, match=r"storage: .*/file/out.* cannot be written \(Not a directory\)"):
            ingest.run(config, Nothing(), tmp_path / "file" / "out")

    def test_a_part_that_was_damaged_since_is_made_again(self, tmp_path: Path) -> None:
        config, out = config_of(good_tree(tmp_path / "raw", 20)), tmp_path / "out"
        made = ingest.run(config, Nothing(), out)
        files = manifests.load(out).train
        (out / files[0].path).write_bytes(b"short")
        (out / files[1].path).unlink()
        untouched = (out / files[2].path).stat().st_mtime_ns
        assert ingest.run(config, Nothing(), out).digest == made.digest
        manifests.verify(out, manifests.load(out))
        assert (out / files[2].path).stat().st_mtime_ns == untouched

    def test_own_test_folder_and_copies_across_the_splits(self, tmp_path: Path) -> None:
        good_tree(tmp_path / "train", 8)
        write_tree(tmp_path / "test", {"a/1.png": encoded(99), "b/2.jpg": (tmp_path / "train/a/000.jpg").read_bytes()})
        changes = {"source.path": str(tmp_path / "train"), "source.test_path": str(tmp_path / "test")}
        made = ingest.run(parse(config_of(tmp_path).model_dump(), changes), Nothing(), tmp_path / "out")
        assert (made.num_train, made.num_test, made.num_duplicates) == (8, 2, 1)
        assert manifests.load(made.folder).num_test_in_train == 1

    def test_caltech_photos(self, tmp_path: Path) -> None:
        made = ingest.run(config_of(shared("caltech101_42", "raw")), Nothing(), tmp_path / "out")
        assert (made.num_train + made.num_test, made.num_quarantined, made.num_classes) == (120, 0, 5)

    def test_digits(self, tmp_path: Path) -> None:
        made = ingest.run(parse(TREE), Nothing(), tmp_path / "out")
        assert (made.num_train, made.num_test, made.num_classes) == (1437, 360, 10)
        assert manifests.load(made.folder).classes == tuple("0123456789")

    def test_a_killed_ingest_goes_on_to_the_same_digest(self, tmp_path: Path) -> None:
        config = config_of(good_tree(tmp_path / "raw", 240))
        (tmp_path / "config.json").write_text(config.model_dump_json())
        killed = tmp_path / "killed"
        driver = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(tmp_path / "config.json"), str(killed)],
            cwd=REPOSITORY,
            env={**os.environ, "RAY_TMPDIR": os.environ["RAY_TMPDIR"] + "/k"},
        )
        try:
            while len(list(killed.glob("parts/*.json"))) < 4:
                assert driver.poll() is None, "finished or failed before it could be killed"
                time.sleep(0.005)
        finally:
            driver.send_signal(signal.SIGKILL)
            driver.wait()
        finished = {path: path.stat().st_mtime_ns for path in killed.glob("parts/*.json")}
        assert 4 <= len(finished) < 80
        (killed / "train" / ".part-00001.parquet.0.aside").write_bytes(b"half")
        assert not (killed / "manifest.json").exists()
        made = ingest.run(config, Nothing(), killed)
        assert made.digest == ingest.run(config, Nothing(), tmp_path / "undisturbed").digest
        manifests.verify(killed, manifests.load(killed))
        assert all(path.stat().st_mtime_ns == written for path, written in finished.items())
        assert not list(killed.rglob(".*"))


DRIVER = """
import sys, pathlib
from pipelines.config.run import RunConfig
from pipelines.stage import Nothing
from pipelines.data.sources import _files
from pipelines.data import ingest
_files.MAX_SAMPLES = 3
tree = RunConfig.model_validate_json(pathlib.Path(sys.argv[1]).read_text())
ingest.run(tree, Nothing(), pathlib.Path(sys.argv[2]))
"""


def test_stage_key_follows_the_files(tmp_path: Path) -> None:
    config = config_of(good_tree(tmp_path / "raw"))
    before = INGEST.folder(config, Nothing(), tmp_path)
    assert INGEST.folder(config, Nothing(), tmp_path) == before
    write_tree(tmp_path / "raw", {"a/new.png": encoded(50)})
    assert INGEST.folder(config, Nothing(), tmp_path) != before
    with pytest.raises(UserError, match=r"source\.path: .* no such file or folder"):
        INGEST.folder(config_of(tmp_path / "nowhere"), Nothing(), tmp_path)
