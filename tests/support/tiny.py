"""The smallest instance of every component, so that a contract test takes milliseconds."""

from importlib.util import find_spec
from typing import Any

import torch

from ssl_core import catalog
from ssl_core.encoders.base import Encoder
from ssl_core.methods.base import Method
from ssl_core.spec import IMAGE_AXES, MEL_AXES, SERIES_AXES, TOKEN_AXES, ViewSpec
from ssl_core.tokenizers.base import CLS, NUM_SPECIAL, PAD, SEP
from ssl_core.types import Batch, Target

SPECS = {  # the smallest views of each kind
    IMAGE_AXES: ViewSpec(IMAGE_AXES, (3, 8, 8), nbytes=192),
    MEL_AXES: ViewSpec(MEL_AXES, (1, 8, 16), nbytes=2560),
    SERIES_AXES: ViewSpec(SERIES_AXES, (2, 16), nbytes=128),
    TOKEN_AXES: ViewSpec(TOKEN_AXES, (12,), num_ids=20, ragged=True, nbytes=48),
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
    "text_transformer": {"dim": 16, "depth": 2, "heads": 2},
    "torchvision": {"model": "shufflenet_v2_x0_5"},
    "vit": {"dim": 16, "depth": 1, "heads": 2, "class_token": True},
}
DISTILLATION = {  # temperatures at which eight samples do not magnify the rounding of a sum
    "num_local": 1,
    "num_prototypes": 12,
    "hidden_dim": 32,
    "bottleneck_dim": 8,
    "student_temperature": 0.2,
    "start_teacher_temperature": 0.1,
    "teacher_temperature": 0.15,
    "momentum": 0.9,
}
SMALL_METHODS: dict[str, dict[str, Any]] = {
    "attribute_prediction": {"color_bins": 3, "edge_bins": 4},
    "autoencoder": {"decoder_width": 4},
    "barlow_twins": {"projection_dim": 16, "scale": 0.024},
    "best_rq": {"num_codes": 12, "code_dim": 4, "span": 1},
    "byol": {"hidden_dim": 32, "projection_dim": 16, "momentum": 0.9},
    "colorization": {"bins": 5},
    "context_encoder": {"decoder_width": 4, "overlap": 1},
    "cpc": {"patch": 4, "stride": 2, "context_dim": 8, "context_depth": 1, "target_dim": 16},
    "data2vec": {"mask_unit": 1, "top_blocks": 1, "momentum": 0.9},
    "denoising_autoencoder": {"decoder_width": 4},
    "dino": DISTILLATION,
    "dinov2": DISTILLATION | {"mask_ratio": (0.3, 0.6)},
    "gan": {"latent_dim": 8, "generator_width": 4},
    "ibot": DISTILLATION | {"mask_ratio": (0.3, 0.6)},
    "i_jepa": {"fewest": 1, "predictor_dim": 16, "predictor_depth": 1, "predictor_heads": 2, "momentum": 0.9},
    "jigsaw": {"grid": 2, "gap": 0.25, "num_orders": 6, "hidden_dim": 32},
    "lejepa": {"hidden_dim": 32, "projection_dim": 8, "num_projections": 16},
    "mae": {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2},
    "moco": {"hidden_dim": 32, "projection_dim": 16, "queue_size": 20, "momentum": 0.9},
    "moco_v3": {"hidden_dim": 32, "projection_dim": 16, "momentum": 0.9},
    "multi_task": {
        "parts": {
            "contrast": {"name": "simclr", "hidden_dim": 32, "projection_dim": 16, "temperature": 0.5},
            "code": {"name": "autoencoder", "decoder_width": 4},
        },
        "weights": {"code": 0.5},
        "weighting": "uncertainty",
    },
    "nnclr": {"hidden_dim": 32, "predictor_dim": 32, "projection_dim": 16, "queue_size": 20, "temperature": 0.5},
    "relative_position": {"gap": 0.0, "hidden_dim": 32},
    "simclr": {"hidden_dim": 32, "projection_dim": 16, "temperature": 0.5},
    "simmim": {"mask_unit": 1},
    "simsiam": {"projection_dim": 16, "predictor_dim": 8},
    "supervised": {"num_classes": NUM_CLASSES},
    "swav": {
        "num_local": 1,
        "num_prototypes": 6,
        "hidden_dim": 32,
        "projection_dim": 16,
        "queue_size": 8,
        "queue_start": 0.0,
    },
    "vae": {"latent_dim": 4, "decoder_width": 4},
    "vicreg": {"projection_dim": 16},
}
SMALL_METHODS_ENCODERS: dict[str, dict[str, Any]] = {  # what a method wants of the encoder
    "gpt": {"causal": True},
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
    over = tiny_encoder(encoder or suitable_encoders(name)[0], **SMALL_METHODS_ENCODERS.get(name, {}))
    method: Method = component(config, over)
    return method


def suitable_encoders(method: str) -> list[str]:
    """Names of our own encoders that a method can train, those of images first; tiny views of tokens are ragged."""
    component = catalog.find("ssl_core.methods", method)
    found = {n: catalog.find("ssl_core.encoders", n) for n in catalog.names("ssl_core.encoders")}
    fit = {n: e for n, e in found.items() if issubclass(e, component.encoder_type) and e.package is None}
    own = [
        name
        for name, encoder in fit.items()
        if component.axes in (None, encoder.axes) and (component.reads_valid or not SPECS[encoder.axes].ragged)
    ]
    return sorted(own, key=lambda name: found[name].axes != IMAGE_AXES)


def installed_encoders() -> list[str]:
    """Names of the encoders whose library, where they wrap one, is here."""
    packages = {n: catalog.find("ssl_core.encoders", n).package for n in catalog.names("ssl_core.encoders")}
    return [name for name, package in packages.items() if package is None or find_spec(package) is not None]


def tiny_views(spec: ViewSpec, size: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Views [B, *shape], and which of their tokens [B, T] are no padding; None where there is none."""
    if not spec.num_ids:
        return torch.randn(size, *spec.shape, generator=generator), None
    longest = spec.shape[0]
    length = torch.randint(4, longest + 1, (size, 1), generator=generator)
    place = torch.arange(longest)
    ids = torch.randint(NUM_SPECIAL, spec.num_ids, (size, longest), generator=generator)
    ids = torch.where(place == 0, CLS, torch.where(place == length - 1, SEP, ids))
    return torch.where(place < length, ids, PAD), place < length


def tiny_batch(method: Method, size: int = 8, seed: int = 1) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    made = [tiny_views(method.encoder.spec, size, generator) for _ in _kinds(method)]
    target = Target(torch.randint(NUM_CLASSES, (size,), generator=generator)) if method.reads == "class" else None
    return Batch(tuple(x for x, _ in made), torch.arange(size) + 100, tuple(valid for _, valid in made), target)


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
