"""From checked configs to modules: the one place where names become objects."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ssl_core.augment.base import Augmentation
from ssl_core.catalog import find, names
from ssl_core.codecs.base import Codec
from ssl_core.config import NamedConfig
from ssl_core.encoders.base import Encoder
from ssl_core.methods.base import Method


class _NoDraws(TorchFunctionMode):
    """Leave weights undrawn: on the meta device a draw imports torch's compiler, five seconds in every process."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        draws = func in (Tensor.normal_, Tensor.uniform_) or getattr(func, "__module__", "") == "torch.nn.init"
        return (args[0] if args else kwargs["tensor"]) if draws else func(*args, **kwargs)


def build_chain(config: NamedConfig) -> Augmentation:
    chain: Augmentation = find("ssl_core.augment", config.name)(config)
    return chain


def build_codec(config: NamedConfig) -> Codec[Any]:
    codec: Codec[Any] = find("ssl_core.codecs", config.name)(config)
    return codec


def build_chains(views: Mapping[str, NamedConfig]) -> dict[str, Augmentation]:
    """One chain per view kind."""
    return {kind: build_chain(config) for kind, config in views.items()}


def check_views(method: NamedConfig, views: Mapping[str, NamedConfig]) -> None:
    """Whether the chains give what the method reads.

    Raises:
        ValueError: a kind is missing, is not read by anyone, or the views differ where the method wants them alike.
    """
    component = find("ssl_core.methods", method.name)
    needed = component.kinds(method)
    if missing := sorted({*needed, "eval"} - set(views)):
        raise ValueError(f"views needs {', '.join(missing)}: method {method.name} reads {', '.join(needed)}")
    if unread := sorted(set(views) - {*needed, "eval"}):
        raise ValueError(f"views.{unread[0]}: nobody reads it; method {method.name} reads {', '.join(needed)}")
    specs = {kind: chain.spec._replace(nbytes=0) for kind, chain in build_chains(views).items()}
    if len(set(specs.values())) > 1 and not component.mixes_specs:
        raise ValueError(
            f"method {method.name} reads views of one shape: "
            + ", ".join(f"views.{kind} gives {spec}" for kind, spec in specs.items())
        )
    if "local" in specs and any(a > b for a, b in zip(specs["local"].shape, specs["global"].shape, strict=False)):
        raise ValueError(
            f"views.local: {specs['local']} is larger than views.global, {specs['global']}; lower views.local.size"
        )


def check_encoder_reads(method: Method, config: NamedConfig, views: Mapping[str, NamedConfig]) -> None:
    """Whether an encoder that was built for one size of views reads the others; `method` is on the meta device.

    Raises:
        ValueError: it does not.
    """
    if not method.mixes_specs:
        return
    encoder = method.encoder.to("meta")  # a position that was computed is not there yet
    own, name = encoder.spec, type(encoder).__module__.rpartition(".")[2]
    for kind in dict.fromkeys(type(method).kinds(config)):
        spec = build_chain(views[kind]).spec
        try:
            encoder(encoder.blank(spec))
        except ValueError as error:  # in our words
            raise ValueError(f"views.{kind}: {error}") from None
        except (RuntimeError, AssertionError):  # the latter of networks of torchvision and timm
            raise ValueError(
                f"views.{kind}: encoder {name}, built for views of {own}, cannot read those of {spec}"
            ) from None


def check_eval_view(views: Mapping[str, NamedConfig]) -> None:
    """
    Raises:
        ValueError: there is no `eval` view, or its chain draws: features would depend on more than the sample.
    """
    if "eval" not in views:
        raise ValueError("views needs eval: the view that the encoder is evaluated in")
    if find("ssl_core.augment", (name := views["eval"].name)).draws:
        fixed = ", ".join(n for n in names("ssl_core.augment") if not find("ssl_core.augment", n).draws)
        raise ValueError(f"views.eval: {name} draws at random; evaluation needs one that is always the same: {fixed}")


def build_encoder(config: NamedConfig, views: Mapping[str, NamedConfig]) -> Encoder:
    encoder: Encoder = find("ssl_core.encoders", config.name)(config, build_chain(views["eval"]).spec)
    return encoder


def without_memory(config: NamedConfig, views: Mapping[str, NamedConfig]) -> Encoder:
    """The encoder on the meta device: names and shapes of its tensors, whatever their size."""
    with torch.device("meta"), _NoDraws():
        return build_encoder(config, views)


def untrained(encoder: NamedConfig) -> NamedConfig:
    """The same architecture without the weights that the config may name."""
    return encoder.model_copy(update={"weights": None}) if "weights" in type(encoder).model_fields else encoder


def drawn_encoder(config: NamedConfig, views: Mapping[str, NamedConfig], seed: int) -> Encoder:
    """An encoder with weights drawn from `seed`: those that `build_method` gives it."""
    with torch.random.fork_rng(devices=[]):  # the caller's generator is not ours to move
        torch.manual_seed(seed)
        return build_encoder(config, views)


def build_method(
    method: NamedConfig,
    encoder: NamedConfig,
    views: Mapping[str, NamedConfig],
    *,
    device: str | torch.device = "cpu",
    seed: int = 0,
) -> Method:
    """Encoder and method with weights drawn from `seed`; on device "meta" a check that costs no memory.

    Raises:
        ValueError: the encoder cannot read the views, or the method cannot use the encoder.
    """
    component = find("ssl_core.methods", method.name)
    needed = component.encoder_type
    if not issubclass(find("ssl_core.encoders", encoder.name), needed):
        raise ValueError(f"method {method.name} needs a {needed.__name__}; encoder {encoder.name} is not one")
    spec = build_chain(views["eval"]).spec
    if component.axes not in (None, spec.axes):
        raise ValueError(f"method {method.name} works on {' x '.join(component.axes)}; the views are {spec}")
    if spec.ragged and not component.reads_valid:
        reading = ", ".join(n for n in names("ssl_core.methods") if find("ssl_core.methods", n).reads_valid)
        raise ValueError(f"method {method.name} would take padding for data; of ragged views it can be {reading}")
    if torch.device(device).type == "meta":
        with torch.device("meta"), _NoDraws():
            return _build(method, encoder, views)
    with torch.random.fork_rng(devices=[]):  # the caller's generator is not ours to move
        torch.manual_seed(seed)
        return _build(method, encoder, views).to(device)


def _build(method: NamedConfig, encoder: NamedConfig, views: Mapping[str, NamedConfig]) -> Method:
    built: Method = find("ssl_core.methods", method.name)(method, build_encoder(encoder, views))
    return built
