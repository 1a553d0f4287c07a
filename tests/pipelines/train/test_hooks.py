"""What a method may do around a step, and which of its encoders is evaluated and registered."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

import ssl_core.methods
from pipelines.storage import checkpoint
from ssl_core.methods.base import Method
from ssl_core.optimize.optimizers import OptimConfig, build_optimizer, set_lr_
from tests.support.loop import run
from tests.support.tiny import tiny_method

CHANGES: dict[str, object] = {"method": {"name": "with_teacher"}, "optim.lr": 0.01, "train.checkpoint_seconds": 1e-9}


@pytest.fixture(autouse=True)
def _more_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of tests/support/methods are found beside our own."""
    more = Path(__file__).parents[2] / "support" / "methods"
    monkeypatch.setattr(ssl_core.methods, "__path__", [*ssl_core.methods.__path__, str(more)])


def test_the_teacher_is_what_is_exported_and_looked_at(tmp_path: Path) -> None:
    looked = list[bool]()

    def monitor(method: Method) -> dict[str, float]:
        looked.append(method.exported is method.get_submodule("teacher"))
        return {}

    run(tmp_path, CHANGES, monitor=monitor)
    newest, _ = checkpoint.latest(tmp_path / "checkpoints")
    assert newest is not None and checkpoint.state_of(newest)["exports"] == "teacher"
    exported, all_ = checkpoint.encoder_weights(newest), checkpoint.weights(newest)
    assert all(torch.equal(exported[name], all_[f"teacher.{name}"]) for name in exported)
    assert any(not torch.equal(exported[name], all_[f"encoder.{name}"]) for name in exported)
    assert looked and all(looked)


def test_a_checkpoint_of_before_exports_its_encoder(tmp_path: Path) -> None:
    run(tmp_path)
    newest, _ = checkpoint.latest(tmp_path / "checkpoints")
    assert newest is not None
    state = newest / checkpoint.STATE
    state.write_text(state.read_text().replace('"exports"', '"unknown"'))
    assert checkpoint.encoder_weights(newest).keys() == {
        name.removeprefix("encoder.") for name in checkpoint.weights(newest) if name.startswith("encoder.")
    }


def test_a_layer_may_wait(tmp_path: Path) -> None:
    seen = list[Tensor]()

    def monitor(method: Method) -> dict[str, float]:
        seen.append(method.get_submodule("waits").weight.detach().clone())  # type: ignore[operator,union-attr]
        return {}

    run(
        tmp_path, CHANGES | {"optim.weight_decay": 0.5, "train.log_every": 1, "train.monitor_every": 1}, monitor=monitor
    )
    moved = [not torch.equal(weight, seen[0]) for weight in seen]
    assert moved == [False] * 6 + [True] * 6, "without its gradient it does not even decay"


@pytest.mark.parametrize("name", ["adamw", "sgd", "lars"])
def test_a_constant_learning_rate_does_not_follow_the_schedule(name: str) -> None:
    method = tiny_method("with_teacher")
    optimizer = build_optimizer(OptimConfig.model_validate({"name": name}), method, 0.1)
    set_lr_(optimizer, 0.02)
    rates = {p: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    for key, p in method.named_parameters():
        if p.requires_grad:
            assert rates[p] == (0.1 if key.startswith("head.") else 0.02), key
