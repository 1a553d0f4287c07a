"""Several objectives over one encoder (Doersch & Zisserman, 2017, https://arxiv.org/abs/1708.07860).

The loss is a weighted sum of the losses of the parts. Parts that read the same kind of view get the same views.
With `weighting: uncertainty` the weights are learned (Kendall et al., 2018, https://arxiv.org/abs/1705.07115, equation
10): loss i enters as exp(-s_i) * loss_i + s_i, where s_i is the logarithm of its variance.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, PositiveFloat, SerializeAsAny, StringConstraints
from torch import Tensor, nn

from ssl_core.catalog import find, named_in
from ssl_core.config import NamedConfig
from ssl_core.encoders.base import Encoder
from ssl_core.methods.base import Method
from ssl_core.types import Batch, LossOutput, Progress

METHODS = "ssl_core.methods"


Label = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]


class MultiTask(Method):
    """A weighted sum of the losses of several methods over one encoder."""

    view_kinds = ()
    min_samples = 2  # a part may compare samples

    class Config(NamedConfig):
        name: Literal["multi_task"] = "multi_task"
        parts: Annotated[
            dict[Label, Annotated[SerializeAsAny[NamedConfig], named_in("ssl_core.methods")]], Field(min_length=2)
        ]
        """Label, as metrics and weights name it -> method."""
        weights: dict[Label, PositiveFloat] = {}
        """Label -> weight of that part's loss in the sum; 1 where there is none."""
        weighting: Literal["fixed", "uncertainty"] = "fixed"
        """fixed: as `weights` say; uncertainty: learned from there."""

    weights: Tensor  # [parts]

    @classmethod
    def kinds(cls, config: Any) -> tuple[str, ...]:
        """As many views of each kind as the part that reads most of them."""
        most = Counter[str]()
        for part in config.parts.values():
            most |= Counter(find(METHODS, part.name).kinds(part))
        return tuple(most.elements())

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__(encoder)
        if unknown := sorted(set(config.weights) - set(config.parts)):
            raise ValueError(f"method.weights.{unknown[0]}: no such part; there are {', '.join(config.parts)}")
        self.parts = nn.ModuleDict({label: _part(label, part, encoder) for label, part in config.parts.items()})
        kinds = self.kinds(config)
        self.reading = {
            label: _places(find(METHODS, part.name).kinds(part), kinds) for label, part in config.parts.items()
        }  # which of the views each part reads
        weights = torch.tensor([config.weights.get(label, 1.0) for label in config.parts])
        self.register_buffer("weights", weights, persistent=False)
        self.log_variances = nn.Parameter(-weights.log()) if config.weighting == "uncertainty" else None  # [parts]
        self.constant_lr = tuple(  # type: ignore[misc]  # of these parts
            f"parts.{label}.{name}" for label, part in self._each() for name in part.constant_lr
        )

    def _each(self) -> Iterator[tuple[str, Method]]:
        for label, part in self.parts.items():
            assert isinstance(part, Method)
            yield label, part

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        losses, metrics = list[Tensor](), dict[str, Tensor]()
        for label, part in self._each():
            out: LossOutput = part(_share(batch, self.reading[label]), progress)
            losses.append(out.loss)
            metrics[f"{label}_loss"] = out.loss.detach()
            metrics |= {f"{label}_{name}": value for name, value in out.metrics.items()}
        stacked = torch.stack(losses)
        if self.log_variances is None:
            return LossOutput((self.weights * stacked).sum(), metrics)
        weights = (-self.log_variances).exp()
        metrics |= {f"{label}_weight": weight for label, weight in zip(self.parts, weights.detach(), strict=True)}
        return LossOutput((weights * stacked + self.log_variances).sum(), metrics)

    def before_step(self, progress: Progress) -> None:
        for _, part in self._each():
            part.before_step(progress)

    def after_step(self, progress: Progress) -> None:
        for _, part in self._each():
            part.after_step(progress)

    def reconstruct(self, batch: Batch) -> tuple[Tensor, Tensor] | None:
        """The pictures of the first part that makes any, of its first view; a report gives a single one."""
        for label, part in self._each():
            view = self.reading[label][0] if len(batch.views) > 1 else 0
            if (pictures := part.reconstruct(_share(batch, [view]))) is not None:
                return pictures
        return None

    def generate(self, sample_id: Tensor) -> Tensor | None:
        """The views of the first part that makes any."""
        made = (part.generate(sample_id) for _, part in self._each())
        return next((views for views in made if views is not None), None)


def _part(label: str, config: NamedConfig, encoder: Encoder) -> Method:
    """A method over an encoder that it does not own: registered once, in the whole, each tensor has one name.

    Raises:
        ValueError: it cannot be a part, or not over this encoder.
    """
    key, name, component = f"method.parts.{label}", config.name, find(METHODS, config.name)
    if issubclass(component, MultiTask):
        raise ValueError(f"{key}: multi_task is no part of itself; list its parts here")
    if component.reads is not None:
        raise ValueError(f"{key}: {name} reads labels; the parts are self-supervised methods")
    if component.exports != "encoder":
        raise ValueError(f"{key}: {name} is evaluated by its {component.exports}, not by the encoder that parts share")
    if not isinstance(encoder, component.encoder_type):
        raise ValueError(f"{key}: {name} needs a {component.encoder_type.__name__}, which this encoder is not")
    if component.axes not in (None, encoder.spec.axes):
        raise ValueError(f"{key}: {name} works on {' x '.join(component.axes)}; the views are {encoder.spec}")
    try:
        part: Method = component(config, encoder)
    except ValueError as error:  # it names its key as if it were alone
        raise ValueError(str(error).replace("method.", f"{key}.")) from None
    del part._modules["encoder"]
    part.__dict__["encoder"] = encoder
    return part


def _places(wanted: tuple[str, ...], kinds: tuple[str, ...]) -> list[int]:
    """Where the views of a part lie among those of all: the n-th of a kind is the n-th of that kind."""
    seen = Counter[str]()
    places = []
    for kind in wanted:
        places.append([index for index, other in enumerate(kinds) if other == kind][seen[kind]])
        seen[kind] += 1
    return places


def _share(batch: Batch, places: list[int]) -> Batch:
    valid = tuple(batch.valid[place] for place in places) if batch.valid else ()
    return Batch(tuple(batch.views[place] for place in places), batch.sample_id, valid)
