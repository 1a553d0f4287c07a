"""`train.precision: auto` is one precision for all workers, from the first step to the last."""

import errno
import json
import os
from pathlib import Path

import pytest
import torch

from pipelines.config.parse import parse
from pipelines.errors import UserError
from pipelines.storage import checkpoint, outbox, retry
from pipelines.train.loop import autocast
from pipelines.train.precision import CPU_TESTS, is_fast_in_bf16, settled
from pipelines.train.worker import Worker
from tests.support.loop import run
from tests.support.recipe import TREE
from tests.support.workers import on_workers

CPU = torch.device("cpu")
AUTO = {"train.precision": "auto"}


@pytest.fixture
def cpu_has(monkeypatch):
    """Say what this CPU has: names of CPU_TESTS that are True."""

    def has(*names: str) -> None:
        for name in CPU_TESTS:
            monkeypatch.setattr(torch.cpu, name, lambda found=name in names: found, raising=False)

    return has


def precision(folder: Path, wanted: str = "auto") -> str:
    return settled(parse(TREE, {"train.precision": wanted}), Worker(0, 1, CPU, folder)).train.precision


def notes(folder: Path) -> str:
    path = folder / outbox.NOTES
    return path.read_text() if path.exists() else ""


def test_this_torch_has_the_functions_that_are_asked():
    for name in CPU_TESTS:
        assert isinstance(getattr(torch.cpu, name)(), bool)


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="needs /proc/cpuinfo")
def test_it_is_what_the_kernel_says_of_this_cpu():
    flags = Path("/proc/cpuinfo").read_text().split()
    assert is_fast_in_bf16(CPU) == ("avx512_bf16" in flags or "amx_bf16" in flags)


@pytest.mark.parametrize(("has", "chosen"), [(CPU_TESTS[:1], "bf16"), (CPU_TESTS[1:], "bf16"), ((), "fp32")])
def test_auto_is_bf16_where_the_cpu_multiplies_it(tmp_path, cpu_has, has, chosen):
    cpu_has(*has)
    assert precision(tmp_path) == chosen and not notes(tmp_path)
    with autocast("auto", CPU):
        assert torch.is_autocast_enabled("cpu") == (chosen == "bf16")
    assert is_fast_in_bf16(torch.device("cuda"))


def test_what_the_config_says_is_done_whatever_the_cpu_has(tmp_path, cpu_has):
    cpu_has(*CPU_TESTS)
    assert precision(tmp_path, "fp32") == "fp32"
    cpu_has()
    assert precision(tmp_path, "bf16") == "bf16"


def test_a_torch_without_these_private_functions_gets_fp32(tmp_path, monkeypatch):
    for name in CPU_TESTS:
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert precision(tmp_path) == "fp32"


def test_workers_agree_on_what_the_weakest_of_them_has(tmp_path):
    assert on_workers(2, _settled_where, tmp_path, (0, 1)) == ["bf16", "bf16"]
    for strong in (0,), (1,), ():
        assert on_workers(2, _settled_where, tmp_path, strong) == ["fp32", "fp32"], strong


def _settled_where(rank: int, folder: Path, strong: tuple[int, ...]) -> str:
    with pytest.MonkeyPatch.context() as patch:
        for name in CPU_TESTS:
            patch.setattr(torch.cpu, name, lambda: rank in strong, raising=False)
        return settled(parse(TREE), Worker(rank, 2, CPU, folder)).train.precision


@pytest.mark.parametrize(("there", "here"), [("bf16", "fp32"), ("fp32", "bf16")])
def test_a_run_goes_on_elsewhere_in_the_precision_it_began_in(tmp_path, cpu_has, there, here):
    cpu_has(*(CPU_TESTS if there == "bf16" else ()))
    assert precision(tmp_path) == there
    run(tmp_path, AUTO)
    cpu_has(*(CPU_TESTS if here == "bf16" else ()))
    assert precision(tmp_path) == there
    assert f"train.precision: {there}, in which this run began; {here} would be faster here" in notes(tmp_path)


def test_all_workers_go_on_in_what_rank_0_finds_in_the_checkpoint(tmp_path, cpu_has):
    cpu_has()
    run(tmp_path, AUTO)
    assert on_workers(2, _settled_where, tmp_path, (0, 1)) == ["fp32", "fp32"]


def test_a_checkpoint_from_before_precision_was_recorded_and_a_torn_one_do_not_stand_in_the_way(tmp_path, cpu_has):
    cpu_has()
    run(tmp_path, {**AUTO, "train.checkpoint_seconds": 1e-9})
    cpu_has(*CPU_TESTS)
    before, newest = sorted((tmp_path / "checkpoints").glob("step_*"))
    (newest / checkpoint.STATE).write_text("{")
    assert precision(tmp_path) == "fp32", "the one before says so"
    state = checkpoint.state_of(before)
    assert state.pop("precision") == "fp32"
    (before / checkpoint.STATE).write_text(json.dumps(state))
    assert precision(tmp_path) == "bf16"


def test_a_checkpoint_that_cannot_be_read_just_now_is_no_missing_one(tmp_path, monkeypatch):
    run(tmp_path, AUTO)
    monkeypatch.setattr(retry, "PATIENCE_S", 0.0)

    def stale(path: Path) -> None:
        raise OSError(errno.ESTALE, "Stale file handle", str(path))

    monkeypatch.setattr(os, "scandir", stale)
    with pytest.raises(UserError, match=r"checkpoints: cannot be read \(Stale file handle\)"):
        precision(tmp_path)
