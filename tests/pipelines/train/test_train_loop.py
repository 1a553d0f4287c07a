"""The loop without Ray: what it computes is a function of config and step, however often it is interrupted."""

import resource
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.config.parse import parse
from pipelines.errors import Interrupted, UserError
from pipelines.storage import checkpoint, outbox, retry
from pipelines.storage.signals import STOP
from pipelines.train import consumption
from pipelines.train.loop import train
from pipelines.train.warm_start import WarmStart
from pipelines.train.worker import Worker
from ssl_core.build import build_method
from ssl_core.optimize.optimizers import build_optimizer
from tests.support.loop import batches, losses, order_of, run, weights
from tests.support.recipe import TREE
from tests.support.tiny import suitable_encoders
from tests.support.workers import on_workers


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    run(folder)
    return folder


def test_it_learns_and_logs_every_interval(undisturbed):
    seen = losses(undisturbed)
    assert [step for step, _ in seen] == [2, 4, 6, 8, 10, 12]
    assert all(np.isfinite(loss) for _, loss in seen)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "lars"])
@pytest.mark.parametrize("method", ["simclr", "moco"])
def test_a_resume_is_bit_identical(tmp_path, optimizer, method, precision):
    changes = {"optim.name": optimizer, "train.checkpoint_seconds": 1e-9, "train.precision": precision}
    if method == "moco":
        changes["method"] = {"name": "moco", "hidden_dim": 16, "projection_dim": 8, "queue_size": 40}
    run(tmp_path / "whole", changes)
    run(tmp_path / "cut", changes)
    newest, _ = checkpoint.latest(tmp_path / "cut" / "checkpoints")
    shutil.rmtree(newest)  # as if killed between step 10 and 12
    outbox_lines = (tmp_path / "cut" / outbox.NAME).read_text().splitlines()
    uncommitted = outbox_lines[: outbox_lines.index('{"commit": 10}') + 1]
    (tmp_path / "cut" / outbox.NAME).write_text("\n".join([*uncommitted, outbox_lines[-2]]) + "\n")
    assert run(tmp_path / "cut", changes) == 12
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert losses(tmp_path / "whole") == losses(tmp_path / "cut")


def test_fine_tuning_begins_with_given_weights_and_resumes_bit_for_bit(tmp_path, undisturbed):
    given, _ = checkpoint.latest(undisturbed / "checkpoints")

    def tune(folder: Path, lr: float = 0.01) -> None:
        config = parse(TREE, {"optim.lr": lr, "train.checkpoint_seconds": 1e-9})
        folder.mkdir(exist_ok=True)
        worker = Worker(0, 1, torch.device("cpu"), folder)
        train(config, worker, order_of(config), batches(config), begin=WarmStart(str(given), layer_decay=0.5))

    tune(tmp_path / "still", lr=1e-12)
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    begun = {k: w for k, w in weights(undisturbed).items() if k.startswith("encoder.") and not k.endswith(statistics)}
    for name, weight in begun.items():
        torch.testing.assert_close(weights(tmp_path / "still")[name], weight, rtol=0, atol=1e-9)
    for folder in (tmp_path / "whole", tmp_path / "cut"):
        tune(folder)
    newest, _ = checkpoint.latest(tmp_path / "cut" / "checkpoints")
    shutil.rmtree(newest)
    tune(tmp_path / "cut")
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    moved = {k: (weights(tmp_path / "whole")[k] - w).abs().mean() for k, w in begun.items() if w.ndim > 1}
    first, *_, last = moved.values()
    assert 0 < first < last, "the layer next to the input moves less"


def test_weights_of_another_encoder_are_refused(tmp_path, undisturbed):
    given, _ = checkpoint.latest(undisturbed / "checkpoints")
    config, worker = parse(TREE, {"encoder.width": 16}), Worker(0, 1, torch.device("cpu"), tmp_path)
    with pytest.raises(UserError, match="not weights of this encoder"):
        train(config, worker, order_of(config), batches(config), begin=WarmStart(str(given)))


def test_ctrl_c_keeps_a_checkpoint_of_that_step_and_goes_on(tmp_path, undisturbed):
    folder = tmp_path / "stopped"
    folder.mkdir()
    (folder / STOP).touch()
    with pytest.raises(Interrupted, match="step 2 of 12"):
        run(folder)
    (folder / STOP).unlink()
    assert run(folder) == 12
    assert losses(folder) == losses(undisturbed) and same(weights(folder), weights(undisturbed))


def test_a_torn_and_a_tampered_checkpoint_are_passed_over(tmp_path):
    run(tmp_path, {"train.checkpoint_seconds": 1e-9})
    before, newest = sorted((tmp_path / "checkpoints").glob("step_*"))
    with (newest / checkpoint.METHOD).open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    found, passed = checkpoint.latest(tmp_path / "checkpoints")
    assert found == before and "does not match its sha256" in passed[0]
    (newest / checkpoint.STATE).write_text("{")
    found, passed = checkpoint.latest(tmp_path / "checkpoints")
    assert found == before and "unreadable" in passed[0]


@pytest.mark.parametrize(("key", "value"), [("seed", 1), ("data.shuffle_rows", 8)])
def test_another_sample_order_is_refused_with_its_key(tmp_path, key, value):
    run(tmp_path, {"train.steps": 4})
    with pytest.raises(UserError, match=rf"the sample order is another one: {key} \("):
        run(tmp_path, {"train.steps": 4, key: value})
    assert run(tmp_path, {"train.steps": 4, "data.block_mb": 1}) == 4, "what only changes speed is accepted"


def test_the_consumption_log_follows_checkpoints(tmp_path):
    run(tmp_path, {"train.checkpoint_seconds": 1e-9})
    log = consumption.read(tmp_path)
    assert sorted(log.sums) == list(range(1, 13)) and log.restarts == ()
    newest, _ = checkpoint.latest(tmp_path / "checkpoints")
    shutil.rmtree(newest)
    run(tmp_path, {"train.checkpoint_seconds": 1e-9})
    again = consumption.read(tmp_path)
    assert again.sums == log.sums and again.restarts == (10,) and again.taken_again == 2


def test_too_many_replaced_samples_stop_the_run(tmp_path):
    config = parse(TREE)
    whole = batches(config)

    def damaged(start: int, stop: int):
        for arrays in whole(start, stop):
            yield {**arrays, "planned_id": arrays["planned_id"] + 1}

    with pytest.raises(UserError, match=r"32 of 85 samples no longer decode, more than ingest.max_bad_fraction 0.01"):
        train(config, Worker(0, 1, torch.device("cpu"), tmp_path), order_of(config), damaged)


def test_a_loss_that_is_not_finite_stops_with_step_ids_and_checkpoint(tmp_path):
    with pytest.raises(UserError) as caught:
        run(tmp_path, {"optim.lr": 1e30, "optim.warmup_fraction": 0.0, "train.checkpoint_seconds": 1e-9})
    text = str(caught.value)
    assert "not finite at step" in text and "sample ids" in text and "checkpoint" in text
    path, _ = checkpoint.latest(tmp_path / "checkpoints")
    if path is not None:
        assert all(t.isfinite().all() for t in weights(tmp_path).values() if t.is_floating_point())


def test_a_full_disk_names_the_last_good_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(retry, "PATIENCE_S", 0.5)
    changes = {"train.checkpoint_seconds": 1e-9}
    folder = tmp_path / "full"
    folder.mkdir()
    (folder / STOP).touch()
    with pytest.raises(Interrupted):
        run(folder, changes)
    (folder / STOP).unlink()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))  # as a full disk: larger files cannot be written
    try:
        with pytest.raises(UserError, match=r"checkpoint of step 4 .*last good checkpoint: .*00000002"):
            run(folder, changes)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list((folder / "checkpoints").glob(".*")), "nothing half-written is left"
    assert run(folder, changes) == 12


def test_storage_that_comes_back_changes_nothing(tmp_path, undisturbed):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def come_back_once_it_was_missed() -> None:
        for _ in range(600):  # not after a fixed time: a busy machine would not have written by then
            time.sleep(0.05)
            if (tmp_path / outbox.NOTES).exists():
                break
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    comes_back = threading.Thread(target=come_back_once_it_was_missed)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))
    try:
        comes_back.start()
        assert run(tmp_path, {"train.checkpoint_seconds": 1e-9}) == 12
    finally:
        comes_back.join()
    assert losses(tmp_path) == losses(undisturbed) and same(weights(tmp_path), weights(undisturbed))
    notes = (tmp_path / outbox.NOTES).read_text()
    assert notes.count("storage: ") == 1 and "trying again for 60 s" in notes


def test_checkpoints_that_were_passed_over_do_not_crowd_out_good_ones(tmp_path):
    config = parse(TREE)
    method = build_method(config.method, config.encoder, config.views, seed=0)
    optimizer = build_optimizer(config.optim, method, 0.1)
    for step in (90, 100):
        checkpoint.save(tmp_path, step, method, optimizer, {})
    for step in (10, 20, 30):
        checkpoint.save(tmp_path, step, method, optimizer, {})
        assert checkpoint.latest_step(tmp_path) == step, "those of a lost future are gone"
    assert sorted(path.name for path in tmp_path.glob("step_*")) == ["step_00000020", "step_00000030"]


def test_all_workers_go_on_from_one_checkpoint(tmp_path):
    """Rank 1 finds a newer one than rank 0 did, as a predecessor that is still ending may leave it."""
    (tmp_path / STOP).touch()
    with pytest.raises(Interrupted):
        run(tmp_path, {"train.checkpoint_seconds": 1e-9})
    (first, mine), (second, other) = on_workers(2, _restored, str(tmp_path))
    assert first == second and mine == other


def _restored(rank: int, folder: str) -> tuple[int, float]:
    config = parse(TREE)
    method = build_method(config.method, config.encoder, config.views, seed=rank)
    optimizer = build_optimizer(config.optim, method, 0.1)
    worker = Worker(rank, 2, torch.device("cpu"), Path(folder))
    if rank == 1:
        time.sleep(1)  # rank 0 has looked by now
        checkpoint.save(worker.checkpoints, 4, method, optimizer, {"order": order_of(config).identity})
    step = worker.restore(method, optimizer, order_of(config))
    return step, sum(float(tensor.double().sum()) for tensor in method.state_dict().values())


def test_two_workers_take_the_same_steps_as_one(tmp_path, undisturbed):
    on_workers(2, _run_on_worker, str(tmp_path), 2)
    assert [s for s, _ in losses(tmp_path)] == [s for s, _ in losses(undisturbed)]
    np.testing.assert_allclose([x for _, x in losses(tmp_path)], [x for _, x in losses(undisturbed)], rtol=1e-4)


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 4)])
def test_another_number_of_workers_goes_on_in_the_middle(tmp_path, undisturbed, before, after):
    (tmp_path / STOP).touch()
    assert on_workers(before, _run_on_worker, str(tmp_path), before) == ["stopped"] * before
    (tmp_path / STOP).unlink()
    assert on_workers(after, _run_on_worker, str(tmp_path), after) == ["done"] * after
    assert consumption.read(tmp_path).sums == consumption.read(undisturbed).sums, "the same global batches"
    np.testing.assert_allclose([x for _, x in losses(tmp_path)], [x for _, x in losses(undisturbed)], rtol=1e-4)


def _run_on_worker(rank: int, folder: str, size: int) -> str:
    try:
        run(Path(folder), {"train.num_workers": size}, rank, size)
    except Interrupted:
        return "stopped"
    return "done"


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["simclr", "moco", "mae", "denoising_autoencoder"])  # supervised looks at its labels
def test_between_two_points_nothing_waits_for_the_gpu(tmp_path, name):
    """Else kernels of the next step are launched only when those of this one are through."""
    encoder = {"name": suitable_encoders(name)[0]}
    encoder |= {"patch_size": 4} if encoder["name"] == "vit" else {"depth": 2}
    config = parse({**TREE, "method": {"name": name}, "encoder": encoder}, {"train.log_every": 12})

    def guarded(start: int, stop: int):
        for step, arrays in enumerate(batches(config)(start, stop)):
            torch.cuda.set_sync_debug_mode("error" if 2 < step < stop - 1 else "default")
            yield arrays

    worker = Worker(0, 1, torch.device("cuda"), tmp_path)
    try:
        assert train(config, worker, order_of(config), guarded) == 12
    finally:
        torch.cuda.set_sync_debug_mode("default")
