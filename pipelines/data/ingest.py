"""Ingest: raw files to shards, one Ray task per part; what finished parts left behind is never done again."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipelines.config import codecs
from pipelines.config.run import SetupConfig
from pipelines.data import parts
from pipelines.data.parts import Job, Tally
from pipelines.data.shards import duplicates, writing
from pipelines.data.shards import manifest as manifests
from pipelines.data.shards.manifest import ContentFile, Manifest
from pipelines.data.shards.schema import QUARANTINE
from pipelines.data.shards.shard_set import ShardSet
from pipelines.data.shards.writing import Rules, ShardRecord
from pipelines.data.sources import _layout
from pipelines.data.sources.base import Source
from pipelines.errors import UserError
from pipelines.runtime import capacity, session
from pipelines.stage import Nothing, Stage
from pipelines.storage import outbox, parquet
from pipelines.storage.atomic import ASIDE, write_aside, write_text
from pipelines.storage.checksum import sha256_of
from ssl_core.catalog import find

MOST_DARK_BITS = 14
"""Bits that 16-bit gray images use at most where they are taken for those of a camera of fewer bits."""


def run(config: SetupConfig, given: Nothing, folder: Path) -> ShardSet:
    """Read, check and store every sample of `config.source`.

    Writes train/, test/ (shards and labels), manifest.json, quarantine.parquet, duplicates.parquet, and
    parts/ (one record per part, which lets an interrupted ingest go on).

    Raises:
        UserError: nothing to read, too many bad samples, or `folder` cannot be written.
    """
    folder = folder.resolve()
    try:
        return _ingest(config, folder)
    except OSError as error:
        raise UserError(parts.cannot_write(error, folder)) from None


def source_of(config: SetupConfig) -> Source:
    source: Source = find("pipelines.data.sources", config.source.name)(config.source)
    return source


def _ingest(config: SetupConfig, folder: Path) -> ShardSet:
    source = source_of(config)
    jobs = parts.jobs(source, config.ingest.shard_mb)
    records = [record for job in jobs if (record := writing.recorded(job, folder))]
    folder.mkdir(parents=True, exist_ok=True)
    for remark in source.remarks:
        outbox.note(folder, remark)
    total = sum(job.part.count for job in jobs)
    allowed = config.ingest.max_bad_fraction * total
    tally = Tally(sum(record.num_samples for record in records), sum(record.num_bad for record in records))
    for record in _new_records(config, source, jobs, {record.index for record in records}, folder):
        records.append(record)
        tally.num_read += record.num_samples
        tally.num_bad += record.num_bad
        tally.log(folder, step=len(records), total=len(jobs), samples=tally.num_read)
        if tally.num_bad > allowed:
            break  # no need to read the rest
    records.sort(key=lambda record: record.index)
    _write_quarantine(folder, records)
    total -= sum(record.num_other for record in records)
    if tally.num_bad > config.ingest.max_bad_fraction * total or tally.num_bad == total:
        raise UserError(_too_many(config, folder, tally.num_bad, total, complete=len(records) == len(jobs)))
    _check_16_bit(config, folder, records)
    made = _finish(config, folder, records)
    for left_by_a_kill in folder.rglob(f".*{ASIDE}"):
        left_by_a_kill.unlink(missing_ok=True)
    return made


def _new_records(
    config: SetupConfig, source: Source, jobs: list[Job], done: set[int], folder: Path
) -> Iterator[ShardRecord]:
    """Store the parts that are not done yet, each in a Ray task; records come as they are finished."""
    todo = [job for job in jobs if job.index not in done]
    if not todo:
        return
    session.connect(config)
    import ray

    capacity.read_everywhere(capacity.wait_for(config, {"CPU": 1}))
    rules = Rules(codecs.of_source(config), config.ingest.test_fraction, config.ingest.row_group_kb << 10)
    for some in parts.at_a_time(todo):
        data = ray.data.from_items([{"job": job.dumps()} for job in some], override_num_blocks=len(some)).map(
            writing.task, fn_kwargs={"source": source, "rules": rules, "folder": folder}
        )
        for row in data.iter_rows():
            if row["problem"]:
                raise UserError(row["problem"])
            yield ShardRecord.model_validate_json(row["record"])


def _finish(config: SetupConfig, folder: Path, records: list[ShardRecord]) -> ShardSet:
    contents = [writing.content_path(folder, record.index) for record in records]
    num_samples = sum(record.num_samples for record in records)
    num_duplicates, num_test_in_train = duplicates.write(folder, contents, num_samples)
    texts = {text for record in records for text in record.labels}
    manifest = Manifest(
        source=config.source.model_dump(mode="json"),
        train=tuple(record.train for record in records if record.train),
        test=tuple(record.test for record in records if record.test),
        classes=tuple(sorted(texts, key=_natural)) or None,
        fields=_fields(config),
        resized_shorter=config.ingest.resize_shorter,
        targets=dict(source_of(config).targets),
        num_quarantined=sum(record.num_bad for record in records),
        num_duplicates=num_duplicates,
        num_test_in_train=num_test_in_train,
        held_out_by="content",
        content=tuple(ContentFile(path=str(p.relative_to(folder)), sha256=sha256_of(p)) for p in contents),
    )
    manifest = manifest.model_copy(update={"digest": manifest.compute_digest()})
    write_text(folder / manifests.NAME, manifest.model_dump_json(indent=2))
    if manifest.classes:
        outbox.note(folder, f"{len(manifest.classes)} classes: {_layout.first(manifest.classes)}")
    return ShardSet(
        digest=manifest.digest,
        folder=folder,
        num_train=manifest.num_rows("train"),
        num_test=manifest.num_rows("test"),
        num_classes=len(manifest.classes) if manifest.classes else None,
        num_quarantined=manifest.num_quarantined,
        num_duplicates=num_duplicates,
    )


def _fields(config: SetupConfig) -> dict[str, tuple[str, int]]:
    found = {
        field: (codec.name, int(find("ssl_core.codecs", codec.name).version))
        for field, codec in codecs.of_source(config).items()
    }
    return {} if found == manifests.IMAGES else found


def _check_16_bit(config: SetupConfig, folder: Path, records: list[ShardRecord]) -> None:
    """Cameras of 10 to 14 bits store 16: of their values 8 bits are made as of all 16, which leaves few gray levels.

    Nothing is scaled image by image, as that would change what a gray level means; the files may be, once, by all.
    """
    count, largest = sum(record.num_16_bit for record in records), max(record.largest_16_bit for record in records)
    bits = largest.bit_length()
    if not count or bits > MOST_DARK_BITS:
        return
    said = (
        f"all {count} 16-bit gray images use {bits} bits only (largest value {largest}), so 8 bits of them hold "
        f"{(largest >> 8) + 1} gray levels, nearly black"
    )
    if config.ingest.dark_16_bit == "refuse":
        raise UserError(
            f"ingest.dark_16_bit: {said}; multiply the values in the files by {1 << (16 - bits)}, or set "
            "ingest.dark_16_bit=keep"
        )
    outbox.note(folder, said)


def _write_quarantine(folder: Path, records: list[ShardRecord]) -> None:
    with (
        write_aside(folder / "quarantine.parquet") as file,
        pq.ParquetWriter(file, QUARANTINE) as writer,
    ):
        for record in records:
            if record.num_bad:
                writer.write_table(parquet.table(writing.quarantine_path(folder, record.index), QUARANTINE))


def _too_many(config: SetupConfig, folder: Path, num_bad: int, total: int, *, complete: bool) -> str:
    path = folder / "quarantine.parquet"
    with parquet.opened(path) as file:
        rows: list[dict[str, Any]] = list(islice((r for batch in file.iter_batches(3) for r in batch.to_pylist()), 3))
    first = ", ".join(
        f"{row['file']}{'' if row['row'] is None else '#' + str(row['row'])} ({row['reason']})" for row in rows
    )
    count = f"{num_bad} of {total}" if complete else f"already {num_bad} of {total}"
    return (
        f"ingest.max_bad_fraction: {count} samples ({100 * num_bad / total:.3g} %) cannot be read, "
        f"{100 * config.ingest.max_bad_fraction:.3g} % are allowed; the first: {first}; all in {path}; "
        "repair or remove them, or raise ingest.max_bad_fraction"
    )


def _natural(text: str) -> tuple[bool, int, str]:
    """Class order: numbers by value, then text."""
    is_number = text.isdecimal() and len(text) < 19
    return (not is_number, int(text) if is_number else 0, text)


INGEST = Stage(
    "ingest",
    2,  # 1: held out by the place in the listing
    reads=("source", "ingest"),
    makes=ShardSet,
    run=run,
    also=lambda config: source_of(config).fingerprint(),
    dataset=lambda folder: manifests.load(folder).summary(),
)
