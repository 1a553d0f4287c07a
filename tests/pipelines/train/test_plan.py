"""The forecast against what a run then takes, on a real Ray."""

from pathlib import Path

import psutil
import pytest
import ray

from pipelines.config.parse import parse
from pipelines.config.run import RunConfig
from pipelines.data import ingest
from pipelines.data.shards import manifest
from pipelines.data.shards.shard_set import ShardSet
from pipelines.runtime import capacity
from pipelines.stage import Nothing
from pipelines.storage import outbox
from pipelines.tracking.display import repeating
from pipelines.train import pretrain
from pipelines.train.plan import forecast
from tests.support.commands import until
from tests.support.processes import ray_processes
from tests.support.recipe import TREE

pytestmark = pytest.mark.timeout(600)
CHANGES = {  # steps long enough to be what limits, a second of them between two points
    "views.global.size": 16,
    "views.eval.size": 16,
    "encoder.width": 32,
    "encoder.depth": 3,
    "train.global_batch_size": 128,
    "train.log_every": 5,
    "train.threads": 1,
}
WITHIN = 0.3


@pytest.fixture(scope="module")
def shards(ray_session, tmp_path_factory) -> ShardSet:
    return ingest.run(parse(TREE), Nothing(), tmp_path_factory.mktemp("shards"))


@pytest.mark.slow
@pytest.mark.parametrize(("num_workers", "steps"), [(1, 120), (2, 120), (1, 500)])
def test_a_run_takes_what_was_forecast(shards, tmp_path, num_workers, steps):
    """Rehearsed before and after, since other programs come and go on the machine: the run must lie about between."""
    from pipelines.train.plan.rehearsal import rehearse

    config = parse(TREE, CHANGES | {"train.num_workers": num_workers, "train.steps": steps})
    listing = manifest.load(shards.folder)
    before = rehearse(config, shards, use_gpu=False)
    assert before is not None, "there is room for all here"
    resident: list[int] = []
    stored: list[int] = []

    def look() -> None:
        resident.extend(map(_resident, ray_processes("RayTrainWorker")))
        stored.append(_in_object_store())

    assert until(lambda: _in_object_store() < before.block_bytes, 60), "what the rehearsal filled is freed"
    with repeating(0.2, look):
        pretrain.run(config, shards, tmp_path)
    after = rehearse(config, shards, use_gpu=False)
    assert after is not None
    took = _steady_seconds(tmp_path, config)
    told = sorted(forecast.seconds(config, seen, steps) for seen in (before, after))
    print(f"\nforecast {told[0]:.1f} to {told[1]:.1f} s, took {took:.1f} s")
    print(f"memory forecast {before.worker_bytes / 1e6:.0f} MB, took {max(resident) / 1e6:.0f} MB")
    filled, used = forecast.store_filled(config, before, capacity.members(), steps), max(stored)
    print(f"object store forecast {filled / 1e6:.1f} MB, took {used / 1e6:.1f} MB")
    assert used <= filled * (1 + WITHIN)
    if steps < 500:  # readers are faster, and all there is has room
        assert used == pytest.approx(filled, rel=WITHIN)
    assert told[0] * (1 - WITHIN) < took < told[1] * (1 + WITHIN)
    assert before.worker_bytes == pytest.approx(max(resident), rel=WITHIN)
    bytes_per_row = sum(file.num_bytes for file in listing.train) / listing.num_rows("train")
    # an epoch is one block here: each worker has rows in all row groups
    assert before.sample_bytes == pytest.approx(bytes_per_row * num_workers, rel=WITHIN)
    assert f"workers: {num_workers} of 1 CPU each: {num_workers} on " in (tmp_path / outbox.NOTES).read_text()


def test_no_room_for_all_workers_is_no_rehearsal(shards):
    from pipelines.train.plan.rehearsal import rehearse

    many = 2 * sum(node.has("CPU") for node in capacity.members())
    config = parse(TREE, CHANGES | {"train.num_workers": many, "train.global_batch_size": many})
    assert rehearse(config, shards, use_gpu=False) is None


def _in_object_store() -> int:
    """Bytes, on all nodes."""
    from ray._private.internal_api import get_memory_info_reply, get_state_from_address

    state = get_state_from_address(ray.get_runtime_context().gcs_address)
    return int(get_memory_info_reply(state).store_stats.object_store_bytes_used)


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:  # it ended while we looked
        return 0


def _steady_seconds(folder: Path, config: RunConfig) -> float:
    """Of all steps, at the rate between the first and the last point: what comes before them is start-up."""
    points = [point for point in outbox.read(folder) if "loss" in point.metrics]
    first, last = points[0], points[-1]
    return (last.time - first.time) / 1000 / (last.step - first.step) * last.total
