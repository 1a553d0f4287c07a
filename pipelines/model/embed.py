"""Embed any input with a packed model: Ray Data streams views from read tasks to actors that hold the encoder.

Not a stage of a run: it has no recipe, and writes where the user says. Shapes: n rows of a block, D encoder width.
"""

import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pipelines.runtime  # noqa: F401  Ray reads its settings when it is imported

# isort: split
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PositiveInt
from ray.data import Dataset, read_datasource
from ray.data.block import Block, BlockAccessor, BlockMetadata
from ray.data.datasource import Datasource, ReadTask

from pipelines.config.sections import RayConfig
from pipelines.data import parts
from pipelines.data.parts import Job, Tally
from pipelines.data.sources.base import Source
from pipelines.errors import UserError
from pipelines.model import embedding_folder, embedding_parts
from pipelines.model.card_file import CARD, files_of, read_card, view_of
from pipelines.model.embedder import Embedder
from pipelines.model.embedding_parts import Chunk, Embeddings, Settings
from pipelines.model.loader import check_weights
from pipelines.runtime import capacity, nodes, session
from pipelines.storage import lock
from pipelines.storage.atomic import write_aside
from pipelines.tracking import display
from ssl_core.catalog import find
from ssl_core.config import Config, NamedConfig

BLOCK_BYTES = 32 << 20
"""Views per block: a second of work or so, and what an actor takes and writes at a time."""


class Options(Config):
    """How the work is done; none of it changes what is made."""

    num_actors: PositiveInt = 1
    """Encoders at work at the same time; on GPUs one each."""
    batch_size: PositiveInt = 64
    threads: PositiveInt | None = None
    """CPU threads of each encoder; by default the machine's cores shared out."""
    shard_mb: PositiveInt = 64
    """Input per part: what a kill costs at most, for each read task at work."""
    ray: RayConfig = RayConfig()


class EmbedBlocks:
    """A Ray Data actor: a block of one part in, its embeddings on disk, a line of record out."""

    def __init__(self, packed: str, output: str, first_ids: Mapping[int, int], options: Options):
        share = max(1, (os.cpu_count() or 1) // options.num_actors)
        torch.set_num_threads(options.threads or share)
        self._embedder = Embedder(Path(packed), "cuda" if torch.cuda.is_available() else "cpu")
        self._output, self._first_ids, self._batch_size = Path(output), first_ids, options.batch_size

    def __call__(self, block: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        good = np.flatnonzero(block["reason"] == "")
        batches = [good[first : first + self._batch_size] for first in range(0, len(good), self._batch_size)]
        some = [self._embedder.embed(block["view"][rows]) for rows in batches]  # [<= batch_size, D] each
        made = np.concatenate([np.empty((0, self._embedder.card.embed_dim), np.float32), *some])  # [good rows, D]
        try:
            chunk = embedding_parts.write_chunk(self._output, self._first_ids[int(block["part"][0])], block, made)
        except OSError as error:
            return {"chunk": np.array([""]), "problem": np.array([_cannot_write(error, self._output)])}
        return {"chunk": np.array([chunk.model_dump_json()]), "problem": np.array([""])}


class PartSource(Datasource):  # type: ignore[misc]
    """A Ray Data source with one read task per part; blocks of it come while it is still reading."""

    def __init__(self, source: Source, jobs: Sequence[Job], view: NamedConfig, codec: NamedConfig):
        super().__init__()
        self._tasks = [(job, partial(_blocks, source, job.dumps(), view, codec)) for job in jobs]

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None) -> Any:
        return [ReadTask(read, BlockMetadata(job.part.count, None, None, None)) for job, read in self._tasks]


def run(packed: Path, model: str, source: NamedConfig, output: Path, options: Options) -> Embeddings:
    """Embed every sample of a source; finished parts of an interrupted run are kept.

    Args:
        packed: folder of the packed model.
        model: what the record calls it.
        source: config of a source; where it has two splits, the first one's samples come first.
        output: on a cluster, shared by all nodes.

    Raises:
        UserError: nothing to read or nothing readable, `output` holds other files or cannot be written.
    """
    output = output.expanduser().absolute()
    embedding_folder.may_write(output)
    check_weights(packed)  # before Ray starts: from its actors the same error comes as a long traceback
    state = output / embedding_folder.PARTS
    reader: Source = find("pipelines.data.sources", source.name)(source)
    jobs, card = parts.jobs(reader, options.shard_mb), read_card(packed)
    settings = Settings(
        model=model,
        sha256=card.sha256,
        view=card.view,
        embed_dim=card.embed_dim,
        max_pixels=card.max_pixels,
        codec=card.codec,
        source=source.model_dump(mode="json"),
        fingerprint=reader.fingerprint(),
    )
    try:
        state.mkdir(parents=True, exist_ok=True)
        with lock.alone(state / ".lock"):
            _same_as_before(state, settings)
            with display.watch("embed", state):
                return _embed(packed, reader, jobs, settings, output, options)
    except OSError as error:
        raise UserError(_cannot_write(error, output)) from None


def _embed(
    packed: Path, reader: Source, jobs: list[Job], settings: Settings, output: Path, options: Options
) -> Embeddings:
    records = [record for job in jobs if (record := embedding_parts.recorded(output, job, settings))]
    done = {record.index for record in records}
    todo, total = [job for job in jobs if job.index not in done], sum(job.part.count for job in jobs)
    num_bad = sum(len(record.bad) for record in records)
    tally = Tally(sum(record.num_rows for record in records) + num_bad, num_bad)
    chunks: dict[int, list[Chunk]] = {job.index: [] for job in todo}
    by_index = {job.index: job for job in todo}
    for chunk in _chunks(packed, reader, todo, settings, output, options) if todo else ():
        chunks[chunk.index].append(chunk)
        tally.num_read += chunk.num_rows + len(chunk.bad)
        tally.num_bad += len(chunk.bad)
        tally.log(output / embedding_folder.PARTS, step=tally.num_read, total=total)
        job = by_index[chunk.index]
        if sum(c.num_rows + len(c.bad) for c in chunks[job.index]) == job.part.count:
            records.append(embedding_parts.finish_part(output, job, settings, chunks.pop(job.index)))
    if chunks:
        raise RuntimeError(f"parts {sorted(chunks)} of the input came incomplete")
    if tally.num_bad == total:
        file, _, reason = min(records, key=lambda record: record.index).bad[0]
        raise UserError(f"--input: none of the {total} samples can be read; the first is {file} ({reason})")
    return embedding_parts.finish(output, settings, records)


def _chunks(
    packed: Path, reader: Source, jobs: list[Job], settings: Settings, output: Path, options: Options
) -> Iterator[Chunk]:
    """Embed parts that are not done; what each batch left behind, as it is done."""
    session.connect_to(options.ray, options.num_actors + 1)
    capacity.read_everywhere(capacity.grown(options.ray, {"CPU": 1}))
    model = output / embedding_folder.PARTS / "model"  # where the actors of other nodes find it
    model.mkdir(exist_ok=True)
    for name in files_of(read_card(packed)):
        shutil.copyfile(packed / name, model / name)
    if options.ray.address != "local":
        seen = nodes.ask(output, [model / CARD])
        if blind := [node.name for node in seen if node.missing or node.unread or node.cannot_write]:
            where = f"{len(blind)} of {len(seen)} nodes ({', '.join(blind[:4])})"
            raise UserError(f"--output: {output}: not one folder on all nodes: not on {where}; give a shared one")
    view, codec = view_of(model), read_card(packed).codec_config()
    for some in parts.at_a_time(jobs):
        data = read_datasource(PartSource(reader, some, view, codec), override_num_blocks=1)
        data.context.target_max_block_size = BLOCK_BYTES  # smaller and larger blocks become this size
        first_ids = {job.index: job.first_id for job in some}
        for row in _mapped(data, (str(model), str(output), first_ids, options), options.num_actors).iter_rows():
            if row["problem"]:
                raise UserError(row["problem"])
            yield Chunk.model_validate_json(row["chunk"])
    shutil.rmtree(model)


def _mapped(data: Dataset, arguments: tuple[Any, ...], num_actors: int) -> Dataset:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*ray_remote_args")  # max_restarts has no other way in
        return data.map_batches(
            EmbedBlocks,
            fn_constructor_args=arguments,
            batch_size=None,  # as the blocks come, each of one part
            concurrency=num_actors,
            num_gpus=int(capacity.num_gpus() > 0),
            max_restarts=0,  # as in evaluate/features/encode.py
        )


def _blocks(source: Source, job: str, view: NamedConfig, codec: NamedConfig) -> Iterator[Block]:
    for rows in embedding_parts.views(source, Job.loads(job), view, codec):
        yield BlockAccessor.batch_to_block(rows)


def _cannot_write(error: OSError, output: Path) -> str:
    return parts.cannot_write(error, output, "--output")


def _same_as_before(state: Path, settings: Settings) -> None:
    """Refuse to mix embeddings of two models or inputs in one folder."""
    path = state / embedding_folder.INPUTS
    if not path.exists():
        with write_aside(path) as file:
            file.write(settings.model_dump_json(indent=1).encode())
        return
    before = Settings.model_validate_json(path.read_text()).model_dump(mode="json")
    now = settings.model_dump(mode="json")
    if changed := [key.replace("fingerprint", "state of the input") for key in now if now[key] != before[key]]:
        raise UserError(
            f"--output: {state.parent} holds embeddings of another {', '.join(changed)}; give another folder"
        )
