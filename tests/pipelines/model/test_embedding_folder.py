"""An output folder of `embed`: what is the user's stays, and the whole folder reads as one table."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from pipelines.data.parts import jobs
from pipelines.data.sources.image_folder import ImageFolder
from pipelines.errors import UserError
from pipelines.model import embed, embedding_folder, embedding_parts
from pipelines.model.card_file import read_card, view_of
from pipelines.model.embedding_parts import Settings
from pipelines.storage.atomic import ASIDE, write_aside
from tests.support.images import encoded, write_tree
from tests.support.registry import pack_tiny

SPARK = "part-00000-7a1b.c000.snappy.parquet"


def embedded(root: Path) -> Path:
    """A folder with one part and a quarantine, made as the actors make it but without Ray."""
    raw, out = write_tree(root / "raw", {"a.png": encoded(1), "b.png": encoded(2), "c.png": b""}), root / "out"
    packed = pack_tiny(root / "model")
    card = read_card(packed)
    config = ImageFolder.Config(path=raw, labels="none")
    source = ImageFolder(config)
    settings = Settings(
        model="m",
        sha256=card.sha256,
        view=card.view,
        embed_dim=card.embed_dim,
        max_pixels=card.max_pixels,
        source=config.model_dump(mode="json"),
        fingerprint=source.fingerprint(),
    )
    (job,) = jobs(source, 1)
    with write_aside(out / embedding_folder.PARTS / embedding_folder.INPUTS) as file:
        file.write(settings.model_dump_json().encode())
    (rows,) = embedding_parts.views(source, job, view_of(packed), card.codec_config())
    chunk = embedding_parts.write_chunk(out, 0, rows, np.ones((2, card.embed_dim), np.float32))
    embedding_parts.finish(out, settings, [embedding_parts.finish_part(out, job, settings, [chunk])])
    return out


def test_the_folder_reads_as_one_table(tmp_path):
    out = embedded(tmp_path)
    for table in (pd.read_parquet(out), pq.read_table(out).to_pandas(), pa_dataset(out)):
        assert table["path"].tolist() == ["raw/a.png", "raw/b.png"] and list(table) == [
            "sample_id",
            "path",
            "embedding",
        ]
    assert pq.read_table(out / embedding_folder.QUARANTINE)["file"].to_pylist() == ["raw/c.png"]


def pa_dataset(folder: Path) -> pd.DataFrame:
    return pyarrow.dataset.dataset(folder).to_table().to_pandas()


@pytest.mark.parametrize(
    "name", [SPARK, "part-00000.parquet", "quarantine.parquet", "embeddings.json", "_parts/mine.txt", ".hidden"]
)
def test_a_folder_with_other_files_is_refused_and_stays_as_it_is(tmp_path, name):
    """Before Ray starts: the model that is given here is not even looked at."""
    write_tree(tmp_path / "raw", {"a.png": encoded(1)})
    out = write_tree(tmp_path / "out", {name: b"of the user"})
    source = ImageFolder.Config(path=tmp_path / "raw", labels="none")
    with pytest.raises(UserError, match=rf"--output: .*out: holds '{name}', which embed did not write; give an empty"):
        embed.run(tmp_path / "no model", "m", source, out, embed.Options())
    assert [path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()] == [name]
    assert (out / name).read_bytes() == b"of the user"


def test_files_that_came_later_are_refused_among_the_parts_and_left_beside_them(tmp_path):
    out = embedded(tmp_path)
    (out / "umap.png").write_bytes(b"a picture")
    embedding_folder.may_write(out)
    (out / "part-00007.parquet").write_bytes(b"of the user")
    with pytest.raises(UserError, match=r"holds 'part-00007\.parquet', which embed did not write"):
        embedding_folder.may_write(out)
    embedding_parts.finish(out, settings_of(out), [])
    assert {path.name for path in out.iterdir()} == {
        "part-00007.parquet", "umap.png", embedding_folder.NAME, embedding_folder.QUARANTINE, embedding_folder.PARTS
    }  # fmt: skip


def settings_of(out: Path) -> Settings:
    return Settings.model_validate_json((out / embedding_folder.PARTS / embedding_folder.INPUTS).read_text())


def test_an_empty_folder_and_one_of_a_process_that_was_killed_at_once_are_taken(tmp_path):
    embedding_folder.may_write(tmp_path / "none")
    for name in (".lock", f".inputs.json.00{ASIDE}"):
        write_tree(tmp_path / "killed", {f"_parts/{name}": b""})
    embedding_folder.may_write(tmp_path / "killed")


def test_a_folder_of_an_older_selfray_is_said(tmp_path):
    out = write_tree(tmp_path / "out", {"parts/inputs.json": b"{}", "part-00000.parquet": b""})
    with pytest.raises(UserError, match="holds embeddings as an older Selfray wrote them; give an empty folder"):
        embedding_folder.may_write(out)
