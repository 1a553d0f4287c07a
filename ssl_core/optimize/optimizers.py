"""Optimizers: which parameters decay, the learning rate a batch size asks for, and state without pickle."""

from collections.abc import Callable, Mapping
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import SGD, AdamW, Optimizer

from ssl_core.optimize.optim_config import OptimConfig
from ssl_core.optimize.sharding import whole

REFERENCE_BATCH = 256  # samples; `optim.lr` is quoted for this global batch (Goyal et al., 2017, section 2.1)


def peak_lr(config: OptimConfig, global_batch_size: int) -> float:
    """The learning rate after warm-up for a global batch of that many samples."""
    ratio = global_batch_size / REFERENCE_BATCH
    return config.lr * {"linear": ratio, "sqrt": sqrt(ratio), "none": 1.0}[config.lr_scaling]


def build_optimizer(
    config: OptimConfig, module: nn.Module, peak_lr: float, scales: Mapping[str, float] | None = None
) -> Optimizer:
    """An optimizer over the trainable parameters, vectors (biases, norms) free of weight decay.

    Build it after the module is on its device.

    Args:
        scales: parameter name -> its share of the learning rate (optimize/layer_decay.py). None: all the whole.
    """
    scale_of = scales or {name: 1.0 for name, _ in module.named_parameters()}
    constant = tuple(f"{part}." for part in getattr(module, "constant_lr", ()))
    trainable = {name: p for name, p in module.named_parameters() if p.requires_grad}
    kinds = {name: (scale_of[name], name.startswith(constant)) for name in trainable}
    groups: list[dict[str, Any]] = []
    for scale, is_constant in sorted(set(kinds.values())):
        mine = [p for name, p in trainable.items() if kinds[name] == (scale, is_constant)]
        shared = {"lr_scale": scale, "lr": peak_lr * scale, "constant_lr": is_constant}
        groups += [
            {"params": [p for p in mine if p.ndim > 1], "weight_decay": config.weight_decay, "decays": True, **shared},
            {"params": [p for p in mine if p.ndim <= 1], "weight_decay": 0.0, "adapt": False, **shared},
        ]
    if config.name == "lars":
        return LARS(groups, peak_lr, config.momentum)
    for group in groups:
        group.pop("adapt", None)
    if config.name == "sgd":
        return SGD(groups, peak_lr, momentum=config.momentum)
    fused = all(p.device.type in ("cpu", "cuda") for p in trainable.values())
    return AdamW(groups, peak_lr, betas=config.betas, fused=fused)


def set_lr_(optimizer: Optimizer, lr: float) -> None:
    """Give every parameter group this learning rate, times its own scale; constant ones keep the peak."""
    for group in optimizer.param_groups:
        if not group.get("constant_lr"):
            group["lr"] = lr * group.get("lr_scale", 1.0)


def set_weight_decay_(optimizer: Optimizer, weight_decay: float) -> None:
    """Give every parameter group that decays this weight decay."""
    for group in optimizer.param_groups:
        if group.get("decays"):
            group["weight_decay"] = weight_decay


def clip_gradients_(module: nn.Module, config: OptimConfig) -> None:
    """Scale gradients down to `optim.grad_clip`, all by one factor or each parameter's by its own."""
    if config.grad_clip is None:
        return
    parameters = [p for p in module.parameters() if p.grad is not None]
    for group in [parameters] if config.grad_clip_by == "all" else [[p] for p in parameters]:
        clip_grad_norm_(group, config.grad_clip)


class LARS(Optimizer):
    """SGD whose step in each layer is proportional to the norm of its weights (You et al., 2017, algorithm 1).

    Parameter groups with `adapt` False take a plain momentum step (SimCLR, B.1: biases and norms).

    Args:
        params: parameters or groups.
        lr: global learning rate (gamma).
        momentum: m.
        trust: the trust coefficient (eta).
    """

    def __init__(self, params: list[dict[str, object]], lr: float, momentum: float, trust: float = 1e-3):
        super().__init__(params, {"lr": lr, "momentum": momentum, "trust": trust, "weight_decay": 0.0, "adapt": True})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update_(p, p.grad, group)
        return loss

    def _update_(self, p: Tensor, grad: Tensor, group: Mapping[str, float]) -> None:
        rate: float | Tensor = group["lr"]
        if group["adapt"]:
            # whole at once: the norms of two workers' shares do not add up
            weight_norm, grad_norm = whole(p.norm()), whole(grad.norm())
            local = group["trust"] * weight_norm / (grad_norm + group["weight_decay"] * weight_norm)
            # weights at zero could never leave it, and a layer without gradient has no direction
            rate = rate * torch.where((weight_norm > 0) & (grad_norm > 0), local, torch.ones_like(local))
        if "momentum_buffer" not in self.state[p]:
            self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        velocity = self.state[p]["momentum_buffer"]
        velocity.mul_(group["momentum"]).add_(grad.add(p, alpha=group["weight_decay"]) * rate)
        p.sub_(velocity)


def optimizer_tensors(optimizer: Optimizer, module: nn.Module) -> dict[str, Tensor]:
    """The optimizer's state as `slot/parameter name` -> contiguous tensor, ready for safetensors.

    E.g. "exp_avg/encoder.conv1.weight". Slots that hold nothing (SGD without momentum) are left out.
    """
    return {
        f"{slot}/{name}": value.detach().contiguous()
        for name, p in module.named_parameters()
        for slot, value in optimizer.state.get(p, {}).items()
        if value is not None
    }


def load_optimizer_tensors_(optimizer: Optimizer, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave; training then goes on bit for bit.

    Raises:
        ValueError: a tensor belongs to no parameter that this optimizer trains, or has another shape.
    """
    parameters = dict(module.named_parameters())
    trained = {p for group in optimizer.param_groups for p in group["params"]}
    optimizer.state.clear()
    for key, value in tensors.items():
        slot, _, name = key.partition("/")
        p = parameters.get(name)
        if p is None or p not in trained:
            raise ValueError(f"optimizer state '{key}' belongs to no trained parameter of this model")
        if value.ndim and value.shape != p.shape:
            raise ValueError(f"optimizer state '{key}' has shape {tuple(value.shape)}; the parameter {tuple(p.shape)}")
        # fused kernels walk raw memory, so a slot must have its parameter's strides (channels_last), not the file's,
        # and they want the step counter beside the parameter
        like = torch.empty_like(p, dtype=value.dtype) if value.shape == p.shape else value.to(p.device)
        optimizer.state[p][slot] = like.copy_(value)
