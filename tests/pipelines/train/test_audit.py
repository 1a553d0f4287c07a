"""The consumption log and what the audit makes of it; whole runs are audited in test_pretrain.py and test_kills.py."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.data.batches.order import Order
from pipelines.data.shards.manifest import Manifest, ShardFile
from pipelines.data.shards.schema import samples as sample_schema
from pipelines.errors import UserError
from pipelines.storage import inputs
from pipelines.train import consumption
from pipelines.train.audit import Audit, audit

BATCH, EPOCHS = 4, 3
SIZES = (5, 7, 6, 4)  # 22 rows in 4 row groups of 2 files: 5 batches of 4 an epoch, 2 rows left over


@pytest.fixture
def listing(tmp_path) -> Manifest:
    """Two shards whose sample ids are no row numbers."""
    ids = np.random.default_rng(0).permutation(1000)[: sum(SIZES)]
    files, start = [], 0
    for name, sizes in (("a.parquet", SIZES[:2]), ("b.parquet", SIZES[2:])):
        with pq.ParquetWriter(tmp_path / name, sample_schema("image")) as writer:
            for size in sizes:
                writer.write_table(
                    pa.table([ids[start : start + size], [b"x"] * size, ["f"] * size], schema=sample_schema("image"))
                )
                start += size
        nothing = {"num_bytes": 1, "sha256": "0", "labels_path": None, "labels_sha256": None}
        files.append(ShardFile(path=name, row_groups=sizes, **nothing))
    return Manifest(source={}, train=tuple(files), test=(), classes=None, num_quarantined=0, num_duplicates=0)


@pytest.fixture
def order() -> Order:
    return Order(np.array(SIZES), "cd" * 32, seed=1, shuffle_rows=8, global_batch_size=BATCH)


def consumed_as_planned(folder: Path, order: Order, listing: Manifest, shards: Path) -> list[int]:
    """The log of an undisturbed run, a line every 3 steps; returns the sums."""
    begins = np.cumsum(order.sizes) - order.sizes
    ids = np.concatenate([pq.read_table(shards / f.path)["sample_id"].to_numpy() for f in listing.train])
    sums = []
    for batch in range(EPOCHS * order.batches_per_epoch):
        epoch, index = divmod(batch, order.batches_per_epoch)
        rows = order.rows(epoch, index * BATCH, (index + 1) * BATCH)
        sums.append(consumption.sum_of(ids[begins[rows.group] + rows.row]))
    consumption.begin(folder, 0)
    for stop in range(3, len(sums) + 1, 3):
        consumption.append(folder, stop, np.array(sums[stop - 3 : stop]), np.zeros(3, np.int64))
    return sums


def test_a_finished_training_that_is_opened_again_was_not_restarted(tmp_path, order, listing):
    total = len(consumed_as_planned(tmp_path, order, listing, tmp_path))
    consumption.begin(tmp_path, total)
    assert look(tmp_path, order, listing).restarts == ()
    consumption.begin(tmp_path, total - 3)  # from an older checkpoint
    assert look(tmp_path, order, listing).restarts == (total - 3,)


def look(folder: Path, order: Order, listing: Manifest) -> Audit:
    return audit(order, folder, listing, folder, EPOCHS * order.batches_per_epoch)


def test_an_undisturbed_run_is_exact(tmp_path, order, listing):
    consumed_as_planned(tmp_path, order, listing, tmp_path)
    found = look(tmp_path, order, listing)
    assert (
        found.is_exact
        and found.is_complete
        and found.restarts == ()
        and found.taken_again == 0
        and found.dropped_per_epoch == 2
    )
    assert [(e.planned, e.consumed, e.repeated, e.skipped) for e in found.epochs] == [(20, 20, 0, 0)] * EPOCHS
    text = found.markdown()
    assert text.startswith("exact: every planned sample was consumed once; 15 of 15 steps")
    assert "| 0 to 2 | 20 | 20 | 0 | 0 | 0 |" in text, "epochs alike share a line"
    found.write(tmp_path / "report")
    assert Audit.model_validate(json.loads((tmp_path / "report" / "audit.json").read_text())) == found


def test_work_lost_with_a_process_and_done_again_is_still_exact(tmp_path, order, listing):
    sums = consumed_as_planned(tmp_path, order, listing, tmp_path)
    lines = (tmp_path / consumption.NAME).read_text().splitlines()
    (tmp_path / consumption.NAME).write_text("\n".join(lines[:4]) + '\n{"step": 12, "su')  # torn at step 12 of 15
    consumption.begin(tmp_path, 6)
    consumption.append(tmp_path, 15, np.array(sums[6:]), np.zeros(9, np.int64))
    found = look(tmp_path, order, listing)
    assert found.is_exact and found.restarts == (6,) and found.taken_again == 3


def test_a_restart_that_forgets_its_place_is_found(tmp_path, order, listing):
    """As Ray Data's own iterator would: the epoch anew, from a checkpoint in its middle."""
    sums = consumed_as_planned(tmp_path, order, listing, tmp_path)
    consumption.begin(tmp_path, 6)
    consumption.append(tmp_path, 15, np.array(sums[5:14]), np.zeros(9, np.int64))
    found = look(tmp_path, order, listing)
    assert not found.is_exact and found.wrong_steps == tuple(range(7, 16)) and "NOT EXACT" in found.verdict()


def test_steps_skipped_and_steps_taken_twice_are_counted(tmp_path, order, listing):
    consumed_as_planned(tmp_path, order, listing, tmp_path)
    lines = (tmp_path / consumption.NAME).read_text().splitlines()
    (tmp_path / consumption.NAME).write_text(
        "\n".join([lines[0], lines[1], lines[3], lines[4], lines[4], lines[5]]) + "\n"
    )
    found = look(tmp_path, order, listing)
    assert [(e.repeated, e.skipped) for e in found.epochs] == [(0, 8), (4, 4), (8, 0)]
    assert not found.is_exact and not found.wrong_steps


def test_a_batch_of_other_samples_is_found(tmp_path, order, listing):
    sums = consumed_as_planned(tmp_path, order, listing, tmp_path)
    lines = (tmp_path / consumption.NAME).read_text().replace(str(sums[4]), str(sums[4] + 1))
    (tmp_path / consumption.NAME).write_text(lines)
    assert look(tmp_path, order, listing).wrong_steps == (5,)


def test_an_unfinished_run_is_exact_as_far_as_it_came(tmp_path, order, listing):
    consumed_as_planned(tmp_path, order, listing, tmp_path)
    lines = (tmp_path / consumption.NAME).read_text().splitlines()[:3]
    (tmp_path / consumption.NAME).write_text("\n".join(lines) + "\n")
    found = look(tmp_path, order, listing)
    assert found.is_exact and not found.is_complete and found.steps == 6
    assert "exact so far: every sample planned up to here was consumed once; 6 of 15 steps" in found.markdown()
    assert [(e.planned, e.consumed, e.skipped) for e in found.epochs] == [(20, 20, 0), (20, 4, 0), (20, 0, 0)]


def test_a_sum_is_that_of_a_multiset():
    ids = np.arange(1000, dtype=np.int64)
    shuffled = np.random.default_rng(0).permutation(ids)
    assert consumption.sum_of(ids) == consumption.sum_of(shuffled)
    parts = np.array([consumption.sum_of(part) for part in np.split(shuffled, 4)])
    assert int(parts.sum()) == consumption.sum_of(ids), "parts of workers add up"
    assert consumption.sum_of(np.append(ids, 7)) != consumption.sum_of(np.append(ids, 8))
    assert consumption.sum_of(np.array([3, 3])) != consumption.sum_of(np.array([5, 5]))
    assert consumption.sum_of(np.array([1, 4])) != consumption.sum_of(np.array([2, 3]))


def test_a_folder_without_a_log_is_said(tmp_path, order, listing):
    with pytest.raises(UserError, match=r"holds no consumption\.jsonl"):
        look(tmp_path, order, listing)


def made(root: Path, name: str, keys: dict[str, object], done: bool = False) -> Path:
    folder = root / "pretrain" / name
    folder.mkdir(parents=True)
    inputs.Inputs(run="mine", keys=keys, given={}).keep(folder)
    if done:
        (folder / inputs.RECORD).touch()
    return folder


def test_resume_names_every_key_that_would_change_the_run(tmp_path):
    made(tmp_path, "done", {"seed": 5}, done=True)
    there = made(tmp_path, "open", {"seed": 0, "data.shuffle_rows": 1024, "optim.lr": 0.1})
    with pytest.raises(UserError, match="cannot go on") as caught:
        inputs.may_resume(tmp_path, "pretrain", "mine", {"seed": 1, "data.shuffle_rows": 2048, "optim.lr": 0.1})
    line = str(caught.value)
    assert str(there) in line and "data.shuffle_rows (1024 there, 2048 here), seed (0 there, 1 here)" in line
    assert "optim.lr" not in line
    inputs.may_resume(tmp_path, "pretrain", "mine", {"seed": 0, "data.shuffle_rows": 1024, "optim.lr": 0.1})
    with pytest.raises(UserError, match="no unfinished pretrain of other"):
        inputs.may_resume(tmp_path, "pretrain", "other", {})


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"x" * 50)])
def test_a_shard_that_is_gone_or_damaged_is_said_with_what_to_do(tmp_path, order, listing, damage):
    consumed_as_planned(tmp_path, order, listing, tmp_path)
    (tmp_path / "manifest.json").touch()
    damage(tmp_path / "b.parquet")
    with pytest.raises(UserError, match=rf"b\.parquet: .*; delete {tmp_path} and run again"):
        look(tmp_path, order, listing)
