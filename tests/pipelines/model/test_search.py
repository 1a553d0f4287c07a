"""The nearest rows of an embedded folder are those of the whole similarity matrix, however it is cut."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.__main__ import main
from pipelines.errors import UserError
from pipelines.model import embedding_folder, embedding_parts, search
from tests.pipelines.model.test_embedding_folder import embedded
from tests.support.registry import pack_tiny

WIDTH, ROWS, QUERIES = 6, 50, 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three files of vectors drawn at random, one of them zero, two of them equal."""
    vectors = np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32)
    vectors[7], vectors[30] = 0, vectors[20]
    for index, rows in enumerate(np.array_split(np.arange(ROWS), 3)):
        columns = [rows, [f"{row}.png" for row in rows], list(vectors[rows])]
        table = pa.table(columns, schema=embedding_parts.schema(WIDTH))
        pq.write_table(table, tmp_path / embedding_folder.part_name(index), row_group_size=5)
    return tmp_path


def recorded(folder: Path) -> embedding_parts.Embeddings:
    settings = embedding_parts.Settings(
        model="m", sha256="s", view={}, embed_dim=WIDTH, max_pixels=None, source={}, fingerprint=""
    )
    files = tuple({"path": path.name} for path in sorted(folder.glob("part-*.parquet")))
    return embedding_parts.Embeddings(
        settings=settings, num_samples=ROWS, num_embedded=ROWS, num_quarantined=0, files=files, digest=""
    )


@pytest.mark.parametrize("block", [1, 4, 1000])
@pytest.mark.parametrize("k", [1, 10, 200])
def test_hits_are_those_of_the_whole_matrix(folder: Path, block: int, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "BLOCK_ROWS", block)
    table = pq.read_table(folder, columns=["embedding"])
    vectors = np.stack(table["embedding"].to_numpy())  # in the order of the files
    queries = np.random.default_rng(1).normal(size=(QUERIES, WIDTH)).astype(np.float32)
    queries[0] = 100 * vectors[20]
    found = search.nearest(folder, recorded(folder), queries, k)
    lengths = np.maximum(np.linalg.norm(vectors, axis=1), 1e-30)
    for query, hits in zip(queries, found, strict=True):
        similar = vectors @ query / lengths / np.linalg.norm(query)
        want = sorted(range(ROWS), key=lambda row: (-round(float(similar[row]), 5), row))[:k]
        assert [hit.sample_id for hit in hits] == want
        assert [hit.path for hit in hits] == [f"{row}.png" for row in want]
        np.testing.assert_allclose([hit.similarity for hit in hits], similar[want], atol=1e-5)
    assert [hit.sample_id for hit in found[0]][:2] == [20, 30][:k], "equal ones in the order of their ids"


def test_the_command_finds_a_file_of_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = embedded(tmp_path)
    command = ["search", str(tmp_path / "model"), "--in", str(out), "--query", str(tmp_path / "raw/a.png"), "--json"]
    assert main(command) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["path"] for line in lines] == ["raw/a.png", "raw/b.png"]


def test_embeddings_of_another_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="embeddings of m, another model"):
        search.opened(embedded(tmp_path), pack_tiny(tmp_path / "other", seed=5))


def test_a_folder_that_embed_has_not_finished_is_refused(tmp_path: Path) -> None:
    packed = pack_tiny(tmp_path / "model")
    with pytest.raises(UserError, match=r"holds no _embeddings\.json"):
        search.opened(tmp_path, packed)


def test_a_damaged_file_is_one_clear_line(folder: Path) -> None:
    (folder / embedding_folder.part_name(1)).write_bytes(b"no Parquet")
    with pytest.raises(UserError, match=r"part-00001\.parquet: cannot be read"):
        search.nearest(folder, recorded(folder), np.ones((1, WIDTH), np.float32), 1)
