"""Invariants 1 and 2 through Ray Data: each worker streams exactly its planned rows, and views follow the sample."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from ray.data import DataContext

from pipelines.config.parse import parse
from pipelines.data import ingest
from pipelines.data.batches import stream as views
from pipelines.data.batches.layout import Layout
from pipelines.data.batches.stream import both_splits, some_rows, training_batches, training_order
from pipelines.data.shards import manifest
from pipelines.data.shards.shard_set import ShardSet
from pipelines.errors import UserError
from pipelines.evaluate.leaks import hashing
from pipelines.evaluate.leaks.hashing import of_splits
from pipelines.runtime import pacing, session
from pipelines.stage import Nothing
from pipelines.storage import outbox
from tests.support.recipe import TREE

pytestmark = pytest.mark.timeout(600)
CONFIG = parse(TREE, {"train": {"epochs": 3, "global_batch_size": 16}, "data.shuffle_rows": 300})


@pytest.fixture(scope="module")
def shards(ray_session, tmp_path_factory) -> ShardSet:
    return ingest.run(CONFIG, Nothing(), tmp_path_factory.mktemp("shards"))


def stream(shards: ShardSet, rank: int, size: int, start: int, stop: int) -> dict[str, np.ndarray]:
    listing = manifest.load(shards.folder)
    parts = list(training_batches(CONFIG, shards.folder, listing, rank, size, start, stop, shards.folder / "stage"))
    assert len(parts) == stop - start
    return {name: np.stack([part[name] for part in parts]) for name in ("sample_id", "view0", "view1")}


def planned(shards: ShardSet, start: int, stop: int) -> np.ndarray:
    """Sample ids of the global batches, from the order alone: [batches, 16]."""
    import pyarrow.parquet as pq

    listing = manifest.load(shards.folder)
    order = training_order(CONFIG, listing)
    table = np.concatenate([pq.read_table(shards.folder / f.path)["sample_id"].to_numpy() for f in listing.train])
    begins = np.cumsum(order.sizes) - order.sizes
    found = []
    for batch in range(start, stop):
        epoch, index = divmod(batch, order.batches_per_epoch)
        rows = order.rows(epoch, index * 16, (index + 1) * 16)
        found.append(table[begins[rows.group] + rows.row])
    return np.stack(found)


def test_one_worker_sees_the_planned_order_over_several_epochs(shards):
    per_epoch = training_order(CONFIG, manifest.load(shards.folder)).batches_per_epoch
    seen = stream(shards, 0, 1, 0, 2 * per_epoch)
    assert np.array_equal(seen["sample_id"], planned(shards, 0, 2 * per_epoch))
    for epoch in range(2):
        ids = seen["sample_id"][epoch * per_epoch : (epoch + 1) * per_epoch].reshape(-1)
        assert len(set(ids.tolist())) == len(ids)
    first, second = (seen["sample_id"][i * per_epoch : (i + 1) * per_epoch] for i in range(2))
    assert not np.array_equal(first, second)


def test_many_executions_are_one_stream(shards, monkeypatch):
    monkeypatch.setattr(views, "BLOCKS_AT_ONCE", 1)  # one for each epoch or what fits into a block of it
    assert np.array_equal(stream(shards, 0, 1, 40, 230)["sample_id"], planned(shards, 40, 230))


@pytest.mark.parametrize("size", [2, 4])
def test_more_workers_get_the_same_batches_byte_for_byte(shards, size):
    whole = stream(shards, 0, 1, 85, 95)  # across the end of an epoch
    shares = [stream(shards, rank, size, 85, 95) for rank in range(size)]
    for name, values in whole.items():
        assert np.array_equal(np.concatenate([share[name] for share in shares], axis=1), values), name


def test_a_later_start_is_the_rest_of_the_same_stream(shards):
    whole, rest = stream(shards, 0, 1, 80, 100), stream(shards, 0, 1, 91, 100)
    assert all(np.array_equal(whole[name][11:], rest[name]) for name in whole)


def test_two_views_differ_and_epochs_differ(shards):
    listing = manifest.load(shards.folder)
    seen = stream(shards, 0, 1, 0, training_order(CONFIG, listing).batches_per_epoch + 10)
    assert not np.array_equal(seen["view0"], seen["view1"])
    ids = seen["sample_id"].reshape(-1)
    again = next(i for i in ids[-160:] if i in ids[:-160])
    a, b = np.flatnonzero(ids == again)[:2]
    flat = seen["view0"].reshape(len(ids), -1)
    assert not np.array_equal(flat[a], flat[b])


def test_a_split_comes_in_shard_order_and_a_limit_spreads_over_it(shards):
    listing = manifest.load(shards.folder)
    whole, num_train = both_splits(CONFIG, shards.folder, listing, 5000)
    ids = np.concatenate([b["sample_id"] for b in whole.iter_batches(batch_size=None, batch_format="numpy")])
    assert num_train == 1437
    assert len(ids) == 1797 == len(set(ids.tolist()))
    ids = ids[num_train:]
    few = some_rows(CONFIG, shards.folder, listing, "test", 50, ("eval",))
    assert set(few["sample_id"].tolist()) <= set(ids.tolist())
    assert 40 <= len(few["sample_id"]) <= 50


def test_hashes_of_all_samples_come_window_by_window_and_an_interrupted_run_goes_on(shards, tmp_path, monkeypatch):
    listing = manifest.load(shards.folder)

    def columns(root):
        kept = of_splits(CONFIG, shards.folder, listing, root)
        return [np.concatenate(column) for side in kept for column in zip(*side, strict=True)]

    whole = columns(tmp_path / "whole")
    both, num_train = both_splits(CONFIG, shards.folder, listing, 5000)
    ids = np.concatenate([b["sample_id"] for b in both.iter_batches(batch_size=None, batch_format="numpy")])
    assert np.array_equal(whole[0], ids[:num_train]) and np.array_equal(whole[2], ids[num_train:])
    monkeypatch.setattr(views, "BLOCKS_AT_ONCE", 1)
    assert all(np.array_equal(a, b) for a, b in zip(columns(tmp_path / "parts"), whole, strict=True))
    first, *_, last = sorted((tmp_path / "parts").glob("*/*.safetensors"))
    made = first.stat().st_mtime_ns
    last.unlink()
    (last.parent / hashing.WHOLE).unlink()  # as if killed before the last window
    assert all(np.array_equal(a, b) for a, b in zip(columns(tmp_path / "parts"), whole, strict=True))
    assert first.stat().st_mtime_ns == made and last.exists()


def test_fewer_samples_than_one_batch_is_said_at_once(shards):
    config = parse(TREE, {"train.global_batch_size": 4096})
    with pytest.raises(UserError, match=r"train.global_batch_size: 4096 is more than the 1437 samples"):
        training_order(config, manifest.load(shards.folder))


def test_a_changed_shard_is_found(shards, tmp_path):
    import shutil

    copy = Path(shutil.copytree(shards.folder, tmp_path / "copy"))
    listing = manifest.load(copy)
    manifest.verify(copy, listing)
    with (copy / listing.train[0].path).open("r+b") as file:
        file.seek(100)
        file.write(b"\x00\x01")
    with pytest.raises(UserError, match="sha256 is not the one in the manifest"):
        manifest.verify(copy, listing)
    (copy / listing.train[0].path).unlink()
    with pytest.raises(UserError, match="missing"):
        manifest.verify(copy, listing)
    text = (copy / manifest.NAME).read_text()
    (copy / manifest.NAME).write_text(text.replace('"num_duplicates"', '"num_duplicates"').replace("train/", "trian/"))
    with pytest.raises(UserError, match="digest does not match"):
        manifest.load(copy)


def spilled_bytes() -> int:
    import ray
    from ray._private.internal_api import node_stats

    (node,) = ray.nodes()
    stats = node_stats(node["NodeManagerAddress"], node["NodeManagerPort"], include_memory_info=False)
    return int(stats.store_stats.spilled_bytes_total)


def test_a_full_object_store_spills_and_nothing_is_lost(shards):
    import ray

    before = spilled_bytes()
    held = [ray.put(np.full(20 << 20, number, np.uint8)) for number in range(13)]  # 260 of 256 MB
    per_epoch = training_order(CONFIG, manifest.load(shards.folder)).batches_per_epoch
    seen = stream(shards, 0, 1, 0, per_epoch)
    assert spilled_bytes() > before
    assert np.array_equal(seen["sample_id"], planned(shards, 0, per_epoch))
    assert [int(ray.get(ref)[-1]) for ref in held] == list(range(13))


@pytest.mark.parametrize("key", ["data.shuffle_rows", "train.global_batch_size", "data.block_mb", "train.num_workers"])
@pytest.mark.parametrize("value", [0, -4])
def test_sizes_below_one_are_refused_with_their_key(key, value):
    with pytest.raises(UserError, match=rf"{key}: .*greater than 0"):
        parse(TREE, {key: value})


def test_a_window_larger_than_the_data_is_a_full_shuffle(shards):
    listing = manifest.load(shards.folder)
    order = training_order(parse(TREE, {"data.shuffle_rows": 10**9}), listing)
    rows = order.rows(0, 0, order.num_rows)
    flat = (np.cumsum(order.sizes) - order.sizes)[rows.group] + rows.row
    assert np.array_equal(np.sort(flat), np.arange(order.num_rows))
    neighbors = np.abs(np.diff(flat))  # of a full shuffle: a third of the rows apart on average
    assert abs(neighbors.mean() / order.num_rows - 1 / 3) < 0.03


def test_the_order_holds_whatever_the_process_has_set_before(shards):
    """Rows of train and test are told apart by their place, and by default Ray gives what is read first."""
    before = DataContext.get_current()
    DataContext._set_current(DataContext())  # that of a command which has not read anything yet
    try:
        data, _ = both_splits(CONFIG, shards.folder, manifest.load(shards.folder), 100)
        DataContext._set_current(DataContext())
        listing = manifest.load(shards.folder)
        pieces = list(Layout(shards.folder, listing, "test").in_order(None))
        for made in (data, views._stream(pieces, views._views(CONFIG, shards.folder, listing, [CONFIG.views["eval"]]))):
            assert made.context.execution_options.preserve_order
        assert data.context.execution_options.resource_limits.cpu == 1 + CONFIG.data.cpus
    finally:
        DataContext._set_current(before)


def test_a_manifest_of_a_newer_format_is_refused(shards, tmp_path):
    text = (shards.folder / manifest.NAME).read_text()
    newer = json.loads(text) | {"format": 2}
    (tmp_path / manifest.NAME).write_text(json.dumps(newer))
    with pytest.raises(UserError, match=r"manifest\.json: format 2, this Selfray reads format 1"):
        manifest.load(tmp_path)


def test_executions_side_by_side_each_have_their_cpus(shards, monkeypatch):
    """Ray 2.60 by itself gives the second one none for up to 20 s."""
    session.data_context(cpus=4)  # other tests in this process may have set fewer
    limits = []

    class Watched(pacing.PacedExecution):
        def on_execution_step(self, executor):
            limits.append(executor._resource_manager.get_global_limits().cpu)
            super().on_execution_step(executor)

    monkeypatch.setattr(DataContext.get_current(), "custom_execution_callback_classes", [Watched])
    listing = manifest.load(shards.folder)
    streams = [training_batches(CONFIG, shards.folder, listing, 0, 1, 0, 90, shards.folder) for _ in range(2)]
    for _ in zip(*streams, strict=True):
        pass
    assert set(limits) == {4}


def test_a_long_wait_for_data_is_said_and_does_not_end_the_run(tmp_path, monkeypatch):
    from pipelines.train import ray_worker

    monkeypatch.setattr(ray_worker, "LONG_WAIT_S", 0.2)

    def stuck():
        yield 1
        time.sleep(0.6)
        yield 2

    batches = ray_worker.with_wait_warnings(stuck(), tmp_path)
    assert next(batches) == 1
    time.sleep(0.5)  # a slow step is no wait
    assert not (tmp_path / outbox.NOTES).exists()
    assert list(batches) == [2]
    assert "waiting for data for" in (tmp_path / outbox.NOTES).read_text()
