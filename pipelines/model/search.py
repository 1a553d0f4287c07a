"""The nearest of what `embed` wrote to samples of yours: exact cosine similarity, read block by block.

Shapes: Q queries, R rows of a block, K hits of a query, D encoder width.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from pipelines.errors import UserError
from pipelines.model.card_file import read_card
from pipelines.model.embedding_folder import NAME
from pipelines.model.embedding_parts import Embeddings
from pipelines.storage import parquet

BLOCK_ROWS = 16_384


class Hit(NamedTuple):
    similarity: float
    """Cosine, -1..1."""
    sample_id: int
    path: str
    """As in the table: the file, and the row in it."""


def opened(folder: Path, packed: Path) -> Embeddings:
    """What `_embeddings.json` says of a folder.

    Raises:
        UserError: it is no finished output of `embed`, or of another model than `packed`.
    """
    try:
        made = Embeddings.model_validate_json((folder / NAME).read_text())
    except (OSError, ValidationError):
        raise UserError(f"--in: {folder}: holds no {NAME}; give a folder that `selfray embed` has finished") from None
    if made.settings.sha256 != read_card(packed).sha256:
        raise UserError(
            f"--in: {folder}: holds embeddings of {made.settings.model}, another model; its vectors mean other things"
        )
    return made


def nearest(folder: Path, made: Embeddings, queries: NDArray[np.float32], k: int) -> list[list[Hit]]:
    """The K nearest rows of each query, nearest first; of equal ones the lower sample id.

    Args:
        queries: [Q, D], of any length.
    """
    asked = _unit(queries)
    best = np.full((len(asked), 0), 0, np.float32)  # [Q, K] similarities so far
    ids = np.full((len(asked), 0), 0, np.int64)
    paths: list[dict[int, str]] = [{} for _ in asked]
    for block_ids, block_paths, vectors in _blocks(folder, made):
        similar = asked @ _unit(vectors).T  # [Q, R]
        best, ids = np.hstack([best, similar]), np.hstack([ids, np.broadcast_to(block_ids, similar.shape)])
        order = np.lexsort((ids, -best), axis=-1)[:, :k]
        best, ids = np.take_along_axis(best, order, 1), np.take_along_axis(ids, order, 1)
        known = dict(zip(block_ids.tolist(), block_paths, strict=True))
        for row, kept in enumerate(ids.tolist()):
            paths[row] = {each: paths[row].get(each) or known[each] for each in kept}
    return [
        [Hit(float(s), i, paths[row][i]) for s, i in zip(best[row], ids[row].tolist(), strict=True)]
        for row in range(len(asked))
    ]


def _blocks(folder: Path, made: Embeddings) -> Iterator[tuple[NDArray[np.int64], list[str], NDArray[np.float32]]]:
    """(sample ids [R], paths, vectors [R, D]), file by file.

    Raises:
        UserError: a file is gone or damaged.
    """
    for listed in made.files:
        path = folder / str(listed["path"])
        try:
            with parquet.opened(path) as file:
                for rows in file.iter_batches(BLOCK_ROWS, columns=["sample_id", "path", "embedding"]):
                    vectors = rows["embedding"].flatten().to_numpy().reshape(len(rows), -1)
                    yield rows["sample_id"].to_numpy(), rows["path"].to_pylist(), vectors
        except (OSError, ValueError) as error:  # pyarrow's errors are both
            raise UserError(f"--in: {path}: cannot be read ({error}); run `selfray embed` again") from None


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """[n, D] at length one; a vector of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return unit
