"""Folders and tables to embeddings on a real local Ray, and what survives a kill -9."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.data.sources import _files
from pipelines.data.sources.image_folder import ImageFolder
from pipelines.data.sources.parquet import Parquet
from pipelines.errors import UserError
from pipelines.model import embed, embedding_folder
from pipelines.model.embedder import Embedder
from pipelines.model.embedding_parts import Embeddings
from pipelines.storage.checksum import sha256_of
from ssl_core.codecs._image.decode import clean
from tests.support.images import bad_files, encoded, good_tree, write_tree
from tests.support.mlflow_server import MlflowServer
from tests.support.registry import pack_tiny, pretrained, recipe, register

pytestmark = pytest.mark.timeout(600)
REPOSITORY = Path(__file__).parents[3]
OPTIONS = embed.Options(batch_size=4)


def folder_source(path: Path) -> ImageFolder.Config:
    return ImageFolder.Config(path=path, labels="none")


def rows_of(output: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        row for path in sorted(output.glob("part-*.parquet")) for row in pq.read_table(path).to_pylist()
    ]
    return rows


def vectors_of(output: Path) -> np.ndarray:
    return np.array([row["embedding"] for row in rows_of(output)], np.float32)  # [N, D]


def wanted(packed: Path, files: list[Path]) -> np.ndarray:
    """What the same files give one after another, without Ray: [N, D]."""
    embedder = Embedder(packed)
    return np.concatenate([embedder.embed_files([clean(path.read_bytes(), max_pixels=1_000_000)[0]]) for path in files])


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_tiny(tmp_path_factory.mktemp("packed") / "model")


@pytest.mark.usefixtures("ray_session")
class TestEmbed:
    def test_good_and_bad_files_end_where_they_belong(
        self, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_files, "MAX_SAMPLES", 9)  # several parts,
        monkeypatch.setattr(embed, "BLOCK_BYTES", 4 * 8 * 8 * 3)  # of several chunks each
        raw = write_tree(good_tree(tmp_path / "raw", 24), bad_files())
        made = embed.run(packed, "models:/tiny/1", folder_source(raw), tmp_path / "out", OPTIONS)
        assert (made.num_samples, made.num_embedded, made.num_quarantined) == (30, 24, 6)
        assert made.settings.model == "models:/tiny/1" and made.settings.sha256 == Embedder(packed).card.sha256

        names = sorted(path.relative_to(raw).as_posix() for path in raw.rglob("*.*"))
        good = [name for name in names if name not in bad_files()]
        rows = rows_of(tmp_path / "out")
        assert [row["path"] for row in rows] == [f"raw/{name}" for name in good]
        assert [row["sample_id"] for row in rows] == [names.index(name) for name in good]
        np.testing.assert_allclose(
            vectors_of(tmp_path / "out"), wanted(packed, [raw / name for name in good]), atol=1e-5
        )

        found = pq.read_table(tmp_path / "out" / embedding_folder.QUARANTINE).to_pylist()
        reasons = {row["file"].removeprefix("raw/"): row["reason"] for row in found}
        assert set(reasons) == set(bad_files()) and reasons["b/zero.png"] == "empty file"
        assert reasons["a/notes.txt"] == "not an image (.txt)"

        assert Embeddings.model_validate_json((tmp_path / "out" / embedding_folder.NAME).read_text()) == made
        assert [file["num_rows"] for file in made.files] == [len(pq.read_table(tmp_path / "out" / str(f["path"])))
                                                             for f in made.files]  # fmt: skip
        assert all(sha256_of(tmp_path / "out" / str(file["path"])) == file["sha256"] for file in made.files)
        assert len(made.files) > 2 and sum(int(file["num_rows"]) for file in made.files) == 24
        kind = pq.read_schema(tmp_path / "out" / str(made.files[0]["path"])).field("embedding").type
        assert (
            pa.types.is_fixed_size_list(kind)
            and kind.list_size == made.settings.embed_dim
            and kind.value_type == pa.float32()
        )
        assert not [path for path in (tmp_path / "out").rglob("*") if "chunk" in path.name or "aside" in path.name]

    def test_a_table_gives_what_a_folder_gives(self, packed: Path, tmp_path: Path) -> None:
        images = [encoded(seed, 20, 30) for seed in range(7)]
        write_tree(tmp_path / "raw", {f"{row}.png": data for row, data in enumerate(images)})
        pq.write_table(pa.table({"picture": [*images, None]}), tmp_path / "x.parquet", row_group_size=3)
        embed.run(packed, "m", folder_source(tmp_path / "raw"), tmp_path / "one", OPTIONS)
        source = Parquet.Config(path=tmp_path / "x.parquet", image="picture")
        made = embed.run(packed, "m", source, tmp_path / "two", OPTIONS)
        np.testing.assert_allclose(vectors_of(tmp_path / "one"), vectors_of(tmp_path / "two"), atol=1e-6)
        assert [row["path"] for row in rows_of(tmp_path / "two")][:2] == ["x.parquet#0", "x.parquet#1"]
        assert made.num_quarantined == 1
        (bad,) = pq.read_table(tmp_path / "two" / embedding_folder.QUARANTINE).to_pylist()
        assert (bad["file"], bad["row"]) == ("x.parquet", 7) and "null" in bad["reason"]

    def test_finished_parts_are_kept_and_damaged_ones_made_again(
        self, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_files, "MAX_SAMPLES", 5)
        source, out = folder_source(good_tree(tmp_path / "raw", 20)), tmp_path / "out"
        made = embed.run(packed, "m", source, out, OPTIONS)
        first, second, third, _ = (out / str(file["path"]) for file in made.files)
        untouched = third.stat().st_mtime_ns
        first.write_bytes(b"short")
        second.unlink()
        (out / "part-00009.parquet").write_bytes(b"of another cut")
        (out / embedding_folder.PARTS / "00009.json").write_text("{}")
        assert embed.run(packed, "m", source, out, OPTIONS) == made
        assert third.stat().st_mtime_ns == untouched
        assert all(sha256_of(out / str(file["path"])) == file["sha256"] for file in made.files)
        assert not (out / "part-00009.parquet").exists()

    def test_one_folder_holds_one_model_and_one_input(self, packed: Path, tmp_path: Path) -> None:
        source, out = folder_source(good_tree(tmp_path / "raw", 4)), tmp_path / "out"
        embed.run(packed, "m", source, out, OPTIONS)
        other = pack_tiny(tmp_path / "other", seed=1)
        with pytest.raises(UserError, match=r"--output: .*out holds embeddings of another sha256; give another"):
            embed.run(other, "m", source, out, OPTIONS)
        write_tree(tmp_path / "raw", {"new.png": encoded(50)})
        with pytest.raises(UserError, match=r"holds embeddings of another state of the input"):
            embed.run(packed, "m", source, out, OPTIONS)

    def test_nothing_readable_is_an_error(self, packed: Path, tmp_path: Path) -> None:
        raw = write_tree(tmp_path / "raw", {"a.png": b"", "b.png": b"x"})
        with pytest.raises(
            UserError, match=r"--input: none of the 2 samples can be read; the first is raw/a\.png \(empty file\)"
        ):
            embed.run(packed, "m", folder_source(raw), tmp_path / "out", OPTIONS)
        assert not (tmp_path / "out" / embedding_folder.NAME).exists()


def selfray(*arguments: object, **more: Any) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "pipelines", *map(str, arguments)]
    environment = {**os.environ, "RAY_TMPDIR": os.environ["RAY_TMPDIR"] + "/e"}
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more
    )


def test_mistakes_of_the_command_are_one_clear_line(packed: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("in the way")
    good_tree(tmp_path / "raw", 3)
    for given, output, said in (
        ("empty", "out", "--input: "),
        ("nowhere", "out", "--input: "),
        ("raw", "file/out", "--output: "),
        ("raw", "raw/out", "--output: "),
    ):
        started = selfray("embed", packed, "--input", tmp_path / given, "--output", tmp_path / output)
        _, error = started.communicate(timeout=300)
        assert started.returncode == 1 and error.startswith(f"selfray: {said}"), error
        assert error.count("\n") == 1


@pytest.mark.slow
def test_a_killed_command_goes_on_to_the_same_files(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """SIGKILL to the driver while it embeds with a registered version; Ray's processes end with it."""
    config = recipe(tmp_path, "embedded", **{"tracking.uri": mlflow_server.uri})
    register(config, tmp_path, pretrained(tmp_path, config)[1])
    raw = tmp_path / "raw"
    write_tree(raw, {f"{row:05d}.png": encoded(row % 50, 200, 200) for row in range(3000)})
    write_tree(raw, {"bad.png": b"not a picture"})
    version = ("embed", "embedded@candidate", "--tracking-uri", mlflow_server.uri)
    command = (*version, "--input", raw, "--shard-mb", 1, "--output")
    driver = selfray(*command, tmp_path / "killed")
    records = tmp_path / "killed" / embedding_folder.PARTS
    try:
        while len(list(records.glob("0*.json"))) < 2:
            assert driver.poll() is None, f"ended before it could be killed: {driver.communicate()}"
            time.sleep(0.005)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.communicate()
    finished = {path: path.stat().st_mtime_ns for path in records.glob("0*.json")}
    assert not (tmp_path / "killed" / embedding_folder.NAME).exists()
    for output in ("killed", "whole"):
        again = selfray(*command, tmp_path / output)
        said, error = again.communicate(timeout=300)
        assert again.returncode == 0 and "3,000 samples, 1 quarantined" in said, said + error
    whole, killed = (
        Embeddings.model_validate_json((tmp_path / output / embedding_folder.NAME).read_text())
        for output in ("whole", "killed")
    )
    assert whole.settings.model == "models:/embedded/1"
    assert killed == whole and 2 <= len(finished) < len(whole.files)
    assert all(path.stat().st_mtime_ns == written for path, written in finished.items())
    assert not list((tmp_path / "killed").rglob("*.chunk.parquet"))
