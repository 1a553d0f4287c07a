"""What a run will take, from measurements that are given."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipelines.config.parse import parse
from pipelines.config.run import RunConfig
from pipelines.data.batches.order import Order
from pipelines.data.shards.manifest import Manifest, ShardFile
from pipelines.runtime.placement import Node, Placement, placement, placement_line
from pipelines.train.plan import forecast
from pipelines.train.plan.forecast import Rehearsed
from tests.support.recipe import TREE

REHEARSED = Rehearsed(
    step_s=0.1,
    data_wait=0.03,
    look_s=1.0,
    save_s=0.5,
    checkpoint_bytes=3_000_000,
    worker_bytes=1_000_000_000,
    gpu_bytes=0,
    reader_bytes=500_000_000,
    sample_bytes=2000,
    block_rows=320,
    block_bytes=4e6,
)
ONE = [Node("a/1", "a", {"CPU": 8, "object_store_memory": 512_000_000})]


def config(**changes: object) -> RunConfig:
    train = {"train.global_batch_size": 64, "train.num_workers": 2, "train.steps": 100}
    return parse(TREE, {**train, **{name.replace("__", "."): value for name, value in changes.items()}})


def test_workers_are_packed_and_readers_take_what_is_left():
    nodes = [Node("a/1", "a", {"CPU": 2}), Node("b/1", "b", {"CPU": 3})]
    assert placement(config(), nodes, use_gpu=False) == Placement({"b/1": 2}, {"a/1": 2, "b/1": 1}, 0)
    four = config(train__num_workers=4)
    assert placement(four, nodes, use_gpu=False).workers == {"b/1": 3, "a/1": 1}


def test_nodes_without_gpus_read_for_those_with():
    nodes = [Node("gpu", "a", {"CPU": 2, "GPU": 2}), Node("cpu", "b", {"CPU": 16})]
    assert placement(config(), nodes, use_gpu=True) == Placement({"gpu": 2}, {"cpu": 16}, 0)


def test_nodes_without_the_resource_of_workers_read_for_those_with():
    nodes = [Node("head", "a", {"CPU": 9}), *(Node(name, "a", {"CPU": 2, "trainer": 1}) for name in ("x", "y"))]
    placed = placement(config(ray__worker_resource="trainer"), nodes, use_gpu=False)
    assert placed == Placement({"x": 1, "y": 1}, {"head": 9, "x": 1, "y": 1}, 0)


def test_workers_that_find_no_room_are_said():
    nodes = [Node("a/1", "a", {"CPU": 1})]
    assert placement(config(), nodes, use_gpu=False) == Placement({"a/1": 1}, {}, 1)
    line = placement_line(config(), nodes, use_gpu=False)
    assert line.startswith("planned workers: "), "a plan: Ray decides"
    assert "1 find no room" in line and "room for none; that is 0, too few" in line


def test_time_counts_looks_and_checkpoints():
    plain = config(train__monitor_samples=0)
    assert forecast.seconds(plain, REHEARSED, steps=100) == pytest.approx(10 + 0.5)
    looking = config(train__monitor_samples=64, train__monitor_every=30)
    assert forecast.seconds(looking, REHEARSED, steps=100) == pytest.approx(10 + 4 + 0.5)
    often = config(train__monitor_samples=0, train__checkpoint_seconds=4)
    assert forecast.seconds(often, REHEARSED, steps=100) == pytest.approx(10 + 3 * 0.5)


@pytest.mark.parametrize(("num_bytes", "text"), [(12, "12 B"), (1234, "1.23 kB"), (5e9, "5 GB"), (2e15, "2e+03 TB")])
def test_sizes_are_readable(num_bytes, text):
    assert forecast.size(num_bytes) == text


def test_the_time_to_start_is_the_measured_one():
    recorded = json.loads((Path(__file__).parents[2] / "benchmarks" / "bench.json").read_text())["startup"]
    (rows,) = recorded["tables"].values()
    (measured,) = (row["selfray, s"][0] for row in rows if row["part"] == "sum")
    assert measured == pytest.approx(forecast.START_S, rel=0.1), "recorded anew: take over the number"


def test_the_table_says_what_is_needed():
    file = ShardFile(path="p", row_groups=(640,), num_bytes=640_000, sha256="", labels_path=None, labels_sha256=None)
    listing = Manifest(source={}, train=(file,), test=(), classes=None, num_quarantined=3, num_duplicates=0)
    order = Order(np.array([640]), "0" * 64, 0, 1024, 64)
    table = dict(forecast.rows(config(train__monitor_samples=0), listing, order, REHEARSED, ONE, use_gpu=False))
    assert table["samples"] == "640 train, 0 test, 3 quarantined"
    assert table["steps"] == "100 of 64 samples: 10 epochs"
    assert table["workers"] == "2 of 1 CPU each: 2 on a/1"
    assert table["readers"] == "2 at once of 1 CPU each; room for 6 on a/1"
    assert table["samples/s"] == "640; 3 % of the time steps wait for data"
    assert table["time"].startswith("10s of training")
    assert table["bytes read"] == "12.8 MB, 2 kB per sample"
    assert table["memory"] == "1 GB per worker, 500 MB per reader"
    assert table["object store"] == (
        "32 MB needed (blocks of 4 MB), at most 80 MB filled ahead of slower steps, 512 MB there"
    )
    assert table["disk"] == "640 kB of shards, 6 MB of checkpoints and logs"


def test_no_room_is_said_in_place_of_numbers():
    file = ShardFile(path="p", row_groups=(640,), num_bytes=640_000, sha256="", labels_path=None, labels_sha256=None)
    listing = Manifest(source={}, train=(file,), test=(), classes=None, num_quarantined=3, num_duplicates=0)
    order = Order(np.array([640]), "0" * 64, 0, 1024, 64)
    table = dict(forecast.rows(config(train__num_workers=64), listing, order, None, ONE, use_gpu=False))
    assert list(table) == ["samples", "shards", "steps", "workers", "readers", "time, memory"]
    assert table["time, memory"] == "no room to rehearse 64 workers; free CPUs or lower train.num_workers"
