"""Targets other than a class: stored apart, listed in the manifest, never opened by training."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.config.parse import parse
from pipelines.config.run import RunConfig
from pipelines.data.batches.reading import read_piece
from pipelines.data.batches.stream import training_chains, training_pieces
from pipelines.data.ingest import INGEST, source_of
from pipelines.data.parts import jobs
from pipelines.data.shards import manifest, targets, writing
from pipelines.errors import UserError
from pipelines.stage import Nothing
from tests.support.images import encoded, image_fields
from tests.support.recipe import TREE

KINDS = {"age": "number", "note": "text", "box": "boxes", "curve": "numbers"}
ROWS = [{"age": float(i), "note": f"n{i}", "box": [[0, 0, i, i]], "curve": [1.0, float(i)]} for i in range(24)]


def _config(tmp_path: Path, name: str, rows: list[dict[str, Any]] = ROWS, kinds: dict[str, str] = KINDS) -> RunConfig:
    images = [encoded(seed=i) for i in range(len(rows))]
    if name == "csv_manifest":
        lines = ["path\t" + "\t".join(KINDS)]
        for i, (image, row) in enumerate(zip(images, rows, strict=True)):
            (tmp_path / f"{i}.png").write_bytes(image)
            cells = [row["age"], row["note"], json.dumps(row["box"]), json.dumps(row["curve"])]
            lines.append("\t".join([f"{i}.png", *map(str, cells)]))
        path = tmp_path / "table.tsv"
        path.write_text("\n".join(lines) + "\n")
    else:
        path = tmp_path / "table.parquet"
        columns = {key: [json.dumps(r[key]) if key == "box" else r[key] for r in rows] for key in KINDS}
        pq.write_table(pa.table({"image": images, **columns}), path)
    return parse({**TREE, "source": {"name": name, "path": str(path), "targets": kinds}}, {"storage": str(tmp_path)})


def _ingest(config: RunConfig, folder: Path) -> manifest.Manifest:
    """As if all parts were left by an ingest that was interrupted, which then needs no Ray."""
    source = source_of(config)
    rules = writing.Rules(image_fields(10_000), config.ingest.test_fraction, config.ingest.row_group_kb << 10)
    for job in jobs(source, config.ingest.shard_mb):
        writing.write(source, job, rules, folder)
    INGEST.run(config, Nothing(), folder)
    return manifest.load(folder)


@pytest.mark.parametrize("name", ["csv_manifest", "parquet"])
def test_every_kind_comes_back_and_training_opens_no_targets(tmp_path: Path, name: str) -> None:
    config, folder = _config(tmp_path, name), tmp_path / "shards"
    listing = _ingest(config, folder)
    assert listing.targets == KINDS and listing.classes is None
    manifest.verify(folder, listing)
    found = {key: dict(v for s in ("train", "test") for v in targets.read(folder, listing, s, key)) for key in KINDS}
    assert sorted(found["age"].values()) == [float(i) for i in range(24)]
    for sample, age in found["age"].items():
        row = ROWS[int(age)]
        assert found["note"][sample] == row["note"] and found["curve"][sample] == row["curve"]
        assert json.loads(found["box"][sample]) == row["box"]
    with pytest.raises(KeyError):
        next(targets.read(folder, listing, "train", "unknown"))
    paths = [folder / file.targets_path for file in (*listing.train, *listing.test) if file.targets_path]
    assert paths
    with paths[0].open("ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match="targets-00000"):
        manifest.verify(folder, listing)
    for path in paths:
        path.unlink()  # what is not there cannot be read
    pieces, views = training_pieces(config, folder, listing, 1)
    assert len(read_piece(next(iter(pieces)), views)["sample_id"])
    assert list(views.chains) == training_chains(config)


def test_targets_enter_the_digest_and_none_leave_it_as_it_was(tmp_path: Path) -> None:
    plain, more = (_config(tmp_path, "parquet", kinds=kinds) for kinds in ({}, KINDS))
    one, two = _ingest(plain, tmp_path / "a"), _ingest(more, tmp_path / "b")
    assert one.digest != two.digest
    old = json.loads((tmp_path / "a" / manifest.NAME).read_text())
    old.pop("targets")
    for file in (*old["train"], *old["test"]):
        file.pop("targets_path"), file.pop("targets_sha256")
    (tmp_path / "a" / manifest.NAME).write_text(json.dumps(old))
    assert manifest.load(tmp_path / "a").digest == one.digest, "a manifest from before there were targets"
    assert "source.targets" not in "".join(INGEST.deciding(plain)), "nor is its stage another"


def test_a_cell_that_is_no_such_target_is_a_bad_sample(tmp_path: Path) -> None:
    rows = [{**row, "note": "x" if i else "many"} for i, row in enumerate(ROWS)]
    source = source_of(_config(tmp_path, "parquet", rows, {"note": "number"}))
    raws = [raw for part in source.parts(64) for raw in source.read(part)]
    assert {raw.error for raw in raws} == {"source.targets.note: no number in this row"}


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    for name in ("csv_manifest", "parquet"):
        with pytest.raises(UserError, match=r"source\.targets.*agee"):
            source_of(_config(tmp_path, name, kinds={"agee": "number"})).parts(64)
