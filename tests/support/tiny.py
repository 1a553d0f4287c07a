"""The smallest instance of every component, so that a contract test takes milliseconds."""

from importlib.util import find_spec
from typing import Any

import torch

from ssl_core import catalog
from ssl_core.encoders.base import Encoder
from ssl_core.methods.base import Method
from ssl_core.spec import IMAGE_AXES, MEL_AXES, SERIES_AXES, ViewSpec
from ssl_core.types import Batch, Target

SPECS = {  # the smallest views of each kind
    IMAGE_AXES: ViewSpec(IMAGE_AXES, (3, 8, 8), nbytes=192),
    MEL_AXES: ViewSpec(MEL_AXES, (1, 8, 16), nbytes=2560),
    SERIES_AXES: ViewSpec(SERIES_AXES, (2, 16), nbytes=128),
}
NUM_CLASSES = 4

SMALL_ENCODERS: dict[str, dict[str, Any]] = {  # overrides that only shrink; one absent here is tested at its defaults
    "convnet": {"width": 8, "depth": 3},
    "dilated_conv": {"hidden_dim": 8, "dim": 16, "depth": 2},
    "mel_conv": {"width": 8, "depth": 3},
    "mel_vit": {"patch_mels": 4, "patch_frames": 4, "dim": 16, "depth": 1, "heads": 2, "class_token": True},
    "patch_transformer": {"patch_size": 4, "dim": 16, "depth": 1, "heads": 2, "class_token": True},
    "resnet": {"width": 4},
    "series_conv": {"width": 8, "depth": 3},
    "torchvision": {"model": "shufflenet_v2_x0_5"},
    "vit": {"dim": 16, "depth": 1, "heads": 2, "class_token": True},
}
SMALL_METHODS: dict[str, dict[str, Any]] = {
    "attribute_prediction": {"color_bins": 3, "edge_bins": 4},
    "autoencoder": {"decoder_width": 4},
    "barlow_twins": {"projection_dim": 16, "scale": 0.024},
    "byol": {"hidden_dim": 32, "projection_dim": 16, "momentum": 0.9},
    "context_encoder": {"decoder_width": 4, "overlap": 1},
    "data2vec": {"mask_unit": 1, "top_blocks": 1, "momentum": 0.9},
    "denoising_autoencoder": {"decoder_width": 4},
    "gan": {"latent_dim": 8, "generator_width": 4},
    "i_jepa": {"fewest": 1, "predictor_dim": 16, "predictor_depth": 1, "predictor_heads": 2, "momentum": 0.9},
    "jigsaw": {"grid": 2, "gap": 0.25, "num_orders": 6, "hidden_dim": 32},
    "lejepa": {"hidden_dim": 32, "projection_dim": 8, "num_projections": 16},
    "mae": {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2},
    "moco": {"hidden_dim": 32, "projection_dim": 16, "queue_size": 20, "momentum": 0.9},
    "nnclr": {"hidden_dim": 32, "predictor_dim": 32, "projection_dim": 16, "queue_size": 20, "temperature": 0.5},
    "relative_position": {"gap": 0.0, "hidden_dim": 32},
    "simclr": {"hidden_dim": 32, "projection_dim": 16, "temperature": 0.5},
    "simmim": {"mask_unit": 1},
    "simsiam": {"projection_dim": 16, "predictor_dim": 8},
    "supervised": {"num_classes": NUM_CLASSES},
    "vae": {"latent_dim": 4, "decoder_width": 4},
    "vicreg": {"projection_dim": 16},
}


def image_spec(*shape: int) -> ViewSpec:
    return ViewSpec(IMAGE_AXES, shape)


def tiny_spec(encoder: str) -> ViewSpec:
    """The smallest views that an encoder of this name reads."""
    return SPECS[catalog.find("ssl_core.encoders", encoder).axes]


def tiny_encoder(name: str = "convnet", spec: ViewSpec | None = None, **overrides: Any) -> Encoder:
    component = catalog.find("ssl_core.encoders", name)
    config = component.Config(**{**SMALL_ENCODERS.get(name, {}), **overrides})
    encoder: Encoder = component(config, spec or tiny_spec(name))
    return encoder


def tiny_method(name: str, encoder: str | None = None, seed: int = 0) -> Method:
    """A method with freshly initialized weights; without an encoder's name, on the first one that suits it."""
    torch.manual_seed(seed)
    component = catalog.find("ssl_core.methods", name)
    config = component.Config(**SMALL_METHODS.get(name, {}))
    method: Method = component(config, tiny_encoder(encoder or suitable_encoders(name)[0]))
    return method


def suitable_encoders(method: str) -> list[str]:
    """Names of our own encoders that a method's `encoder_type` allows, those of images first."""
    component = catalog.find("ssl_core.methods", method)
    found = {n: catalog.find("ssl_core.encoders", n) for n in catalog.names("ssl_core.encoders")}
    fit = {n: e for n, e in found.items() if issubclass(e, component.encoder_type) and e.package is None}
    own = [name for name, encoder in fit.items() if component.axes in (None, encoder.axes)]
    return sorted(own, key=lambda name: found[name].axes != IMAGE_AXES)


def installed_encoders() -> list[str]:
    """Names of the encoders whose library, where they wrap one, is here."""
    packages = {n: catalog.find("ssl_core.encoders", n).package for n in catalog.names("ssl_core.encoders")}
    return [name for name, package in packages.items() if package is None or find_spec(package) is not None]


def tiny_batch(method: Method, size: int = 8, seed: int = 1) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    shape = method.encoder.view_shape
    views = tuple(torch.randn(size, *shape, generator=generator) for _ in _kinds(method))
    target = Target(torch.randint(NUM_CLASSES, (size,), generator=generator)) if method.reads == "class" else None
    return Batch(views, torch.arange(size) + 100, tuple(None for _ in views), target)


def _kinds(method: Method) -> tuple[str, ...]:
    """As `tiny_method` has configured it."""
    # sharding makes a class of its own
    component: Any = next(cls for cls in type(method).__mro__ if "Config" in vars(cls))
    name = component.Config.model_fields["name"].default
    kinds: tuple[str, ...] = component.kinds(component.Config(**SMALL_METHODS.get(name, {})))
    return kinds


def rows(batch: Batch, index: slice | torch.Tensor) -> Batch:
    """Some samples of a batch, e.g. one worker's share."""
    return Batch(
        tuple(v[index] for v in batch.views),
        batch.sample_id[index],
        tuple(None if v is None else v[index] for v in batch.valid),
        None if batch.target is None else Target(*(None if part is None else part[index] for part in batch.target)),
    )
