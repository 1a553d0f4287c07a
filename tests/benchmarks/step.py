"""Training steps on a GPU against plain PyTorch and against the chip: `python -m tests.benchmarks step`.

Needs a CUDA device; takes about four minutes, half of it torch.compile's. Ours: bf16 autocast, channels_last, compiled
encoders. Plain: the same method in eager float32 and NCHW, as PyTorch comes. Both start from uint8 crops in the
device's memory, as `where: worker` leaves them, and color and normalize them by the same lines.
"""

import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from pipelines.train.loop import autocast, compile_
from ssl_core.augment.image_crop_jitter import ImageCropJitter
from ssl_core.build import build_method
from ssl_core.catalog import find
from ssl_core.nn.ema import follow_, frozen_copy
from ssl_core.noise import salt
from ssl_core.optimize.optimizers import OptimConfig, build_optimizer
from ssl_core.types import Batch, Progress
from tests.benchmarks.peers import kornia_colors
from tests.benchmarks.runner import WALL, Contender, Outcome, Race, Row, Spread, Work, goal, optional, race, spread

OURS, PLAIN, PRODUCT, VIEWS, KORNIA = "ours", "plain", "bf16 matrix product", "views", "kornia"
OPTIMIZER, TEACHER = "optimizer", "teacher"
CASES = [  # encoder, side of a view, samples in a batch
    ({"name": "resnet", "depth": 18}, 32, 512),
    ({"name": "resnet", "depth": 50}, 224, 256),
    ({"name": "vit", "size": "base", "patch_size": 16}, 224, 128),
]
TINY = [({"name": "resnet", "width": 4}, 16, 8), ({"name": "vit", "dim": 16, "depth": 1, "heads": 2}, 16, 8)]
TURN_S = 0.3
"""A contender's turn on a GPU, about."""
SIDE = 8192
"""Of the matrices whose product says what the chip gives: 2 * SIDE^3 operations."""


def run(quick: bool = False) -> Outcome:
    if not (quick or torch.cuda.is_available()):
        sys.exit("benchmark step: needs a CUDA device; --quick shows on a CPU that it runs")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True
    rows: list[Row] = []
    goals: list[Row] = []
    for encoder, side, batch in TINY if quick else CASES:
        torch.compiler.reset()  # one encoder's graph at a time
        ours = Step(encoder, side, batch, device, is_ours=True, compiles=not quick)
        raced = race(contenders(ours, 64 if quick else SIDE, 0.0 if quick else TURN_S), 1 if quick else 4, WALL)
        name = f"SimCLR, {encoder['name']} {encoder.get('depth') or encoder.get('size')}, {side} px, batch {batch}"
        rows.append(row(name, raced, ours))
        print(rows[-1], file=sys.stderr, flush=True)  # a machine that is lent for minutes may go before the end
        goals += goals_of(name, raced, ours)
    where = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    return Outcome({f"Steps, in images of two views each per second; the device is: {where}": rows}, goals)


class Step:
    """One training step; `config` of an encoder as in a recipe."""

    def __init__(
        self, config: dict[str, object], side: int, batch: int, device: torch.device, *, is_ours: bool, compiles: bool
    ):
        self.config, self.side, self.batch, self.device, self._is_ours = config, side, batch, device, is_ours
        self._chain = ImageCropJitter(ImageCropJitter.Config(size=side, where="worker"))
        self._ids, self._number = np.arange(batch), 0
        self.crops = torch.randint(256, (2, batch, side, side, 3), dtype=torch.uint8).to(device)
        encoder = find("ssl_core.encoders", str(config["name"])).Config(**config)
        simclr = find("ssl_core.methods", "simclr").Config()
        self.method = build_method(simclr, encoder, {"eval": self._chain.config}, device=device)
        if is_ours:
            self.method.to(memory_format=torch.channels_last)
        self.optimizer = build_optimizer(OptimConfig(), self.method, 1e-3)
        if compiles:
            compile_(self.method)

    def __call__(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)  # first: gradients stay for `optimizer` to be timed alone
        views = self.views()
        if not self._is_ours:
            views = tuple(view.contiguous() for view in views)
        batch = Batch(views, torch.from_numpy(self._ids).to(self.device))
        with autocast("bf16" if self._is_ours else "fp32", self.device):
            out = self.method(batch, Progress(self._number, 10**6))
        out.loss.backward()
        self.optimizer.step()
        self._number += 1

    def views(self) -> tuple[Tensor, ...]:
        """Both, finished: [B, 3, S, S] each."""
        return tuple(self._chain.finish(crop, self._ids, salt(self._number, i)) for i, crop in enumerate(self.crops))

    def operations(self) -> float:
        """Of forward and backward of the encoder, for one image in two views; counted by torch."""
        with FlopCounterMode(display=False) as counter, torch.compiler.set_stance("force_eager"):
            self.method.encoder(self.views()[0][:2]).pooled.sum().backward()
        return float(counter.get_total_flops())


def contenders(ours: Step, side: int, seconds: float) -> list[Contender]:
    plain = Step(ours.config, ours.side, ours.batch, ours.device, is_ours=False, compiles=False)
    teacher = frozen_copy(ours.method.encoder)
    a, b = (torch.randn(side, side, device=ours.device, dtype=torch.bfloat16) for _ in range(2))

    def turn(call: Callable[[], object], count: int) -> Work:
        """Over and over until the time is up; as long as the first of its turns showed."""
        repeats = 0

        def work(number: int) -> int:
            nonlocal repeats
            if not repeats:
                call()  # compiles, and measures convolutions
                begin = time.perf_counter()
                call()
                _wait(ours.device)
                repeats = max(1, round(seconds / (time.perf_counter() - begin)))
            for _ in range(repeats):
                call()
            _wait(ours.device)
            return count * repeats

        return work

    return [
        Contender(OURS, turn(ours, ours.batch)),
        Contender(PLAIN, turn(plain, ours.batch)),
        Contender(VIEWS, turn(ours.views, ours.batch)),
        optional(KORNIA, lambda: turn(_kornia(ours), ours.batch)),
        Contender(OPTIMIZER, turn(ours.optimizer.step, ours.batch)),
        Contender(TEACHER, turn(lambda: follow_(teacher, ours.method.encoder, 0.99), ours.batch)),
        Contender(PRODUCT, turn(lambda: a @ b, 2 * side**3)),
    ]


def _kornia(ours: Step) -> Callable[[], object]:
    colors = kornia_colors(ours.side)
    return lambda: [colors(crop.permute(0, 3, 1, 2).float() / 255) for crop in ours.crops]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def row(name: str, raced: Race, ours: Step) -> Row:
    return {
        "step": name,
        "ours": raced.rate(OURS),
        PLAIN: raced.rate(PLAIN),
        "times": raced.ratio(OURS, (PLAIN,)),
        "TFLOP/s": _each(raced, lambda r: r[OURS] * ours.operations() / 1e12),
        PRODUCT: _each(raced, lambda r: r[PRODUCT] / 1e12),
        "colors, share of a step": _share(raced, VIEWS),
        "colors, times kornia": raced.ratio(VIEWS, (KORNIA,)) or raced.absent.get(KORNIA, "-"),
        "optimizer and teacher, share": _share(raced, OPTIMIZER, TEACHER),
    }


def goals_of(name: str, raced: Race, ours: Step) -> list[Row]:
    goals = [
        goal(f"{name}: share of a step for optimizer and teacher", _share(raced, OPTIMIZER, TEACHER), at_most=0.03),
        goal(f"{name}: share of a step for colors", _share(raced, VIEWS), at_most=0.1),
        goal(f"{name}: colors, rate over kornia's", raced.ratio(VIEWS, (KORNIA,)), at_least=5),
    ]
    if ours.config["name"] == "resnet":
        goals.append(goal(f"{name}: rate over eager float32", raced.ratio(OURS, (PLAIN,)), at_least=3))
    else:
        share = _each(raced, lambda r: r[OURS] * ours.operations() / r[PRODUCT])
        goals.append(goal(f"{name}: share of the chip's matrix rate", share, at_least=0.4))
    return goals


def _share(raced: Race, *parts: str) -> Spread:
    """Of a step's time that these parts take."""
    return _each(raced, lambda r: sum(r[OURS] / r[part] for part in parts))


def _each(raced: Race, value: Callable[[dict[str, float]], float]) -> Spread:
    rounds = zip(*raced.rates.values(), strict=True)
    return spread([value(dict(zip(raced.rates, rates, strict=True))) for rates in rounds])
