"""An encoder under the names of a library that has this very architecture: torchvision, timm or transformers.

A ResNet keeps torchvision's names, which are timm's too; a ViT keeps timm's but for the patch embedding, and
transformers has names of its own. What is written is opened by that library and compared with the encoder. Inputs are
views as the encoder reads them, normalized by ImageNet's mean and deviation.

Shapes: B samples, D encoder width, N patches.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipelines.errors import UserError
from ssl_core.augment._image.base import MEAN, STD
from ssl_core.encoders.base import Encoder
from ssl_core.encoders.resnet import ResNet
from ssl_core.encoders.vit import ViT
from ssl_core.nn.transformer import Block

WEIGHTS, CONFIG = "model.safetensors", "config.json"
LIBRARIES = ("torchvision", "timm", "transformers")
FILES: Mapping[str, tuple[str, ...]] = {
    "torchvision": (WEIGHTS,),
    "timm": (WEIGHTS, CONFIG),
    "transformers": (WEIGHTS, CONFIG, "preprocessor_config.json"),
}
"""Library -> the files that it opens."""
_DEPTHS = {(2, 2, 2, 2): 18, (3, 4, 6, 3): 34}
_BOTTLENECKS = {(3, 4, 6, 3): 50, (3, 4, 23, 3): 101}

Network = Callable[[Tensor], Tensor]
"""[B, C, H, W] views -> [B, D]."""


def write(library: str, encoder: Encoder, folder: Path) -> Network:
    """Write the library's files into `folder`, and open them with it.

    Raises:
        UserError: the library has no such architecture.
    """
    try:
        writer = _WRITERS[library, type(encoder)]
    except KeyError:
        has = ", ".join(sorted(kind.__name__.lower() for name, kind in _WRITERS if name == library))
        name = type(encoder).__module__.rpartition(".")[2]
        raise UserError(f"--format {library}: has no encoder {name}; it takes {has}") from None
    return writer(encoder, folder)


def _torchvision(encoder: Encoder, folder: Path) -> Network:
    from torchvision import models

    depth = _depth(encoder, "torchvision")
    _save(encoder.state_dict(), folder)
    network = getattr(models, f"resnet{depth}")(weights=None)
    _filled(network, folder, left_out="fc.")
    network.fc = nn.Identity()
    return network.eval()


def _timm_resnet(encoder: Encoder, folder: Path) -> Network:
    depth = _depth(encoder, "timm")
    return _timm(encoder.state_dict(), f"resnet{depth}", {}, encoder, folder)


def _timm_vit(encoder: Encoder, folder: Path) -> Network:
    assert isinstance(encoder, ViT)
    state = encoder.state_dict()
    state["patch_embed.proj.weight"] = _as_convolution(state.pop("patch_embed.weight"), encoder)
    state["patch_embed.proj.bias"] = state.pop("patch_embed.bias")
    state["pos_embed"] = _positions(encoder)
    state.pop("position", None)  # where it is learned
    arguments = {
        "img_size": list(encoder.view_shape[1:]),
        "patch_size": encoder.patch_size,
        "in_chans": encoder.view_shape[0],
        "embed_dim": encoder.embed_dim,
        "depth": len(encoder.blocks),
        "num_heads": _heads(encoder),
        "class_token": encoder.cls_token is not None,
        "reg_tokens": encoder.num_class_tokens - int(encoder.cls_token is not None),
        "global_pool": "avg" if encoder.cls_token is None else "token",
        "fc_norm": False,
    }
    return _timm(state, "vit_tiny_patch16_224", arguments, encoder, folder)


def _timm(state: dict[str, Tensor], name: str, arguments: dict[str, Any], encoder: Encoder, folder: Path) -> Network:
    import timm

    _save(state, folder)
    mean, std = ([level / 255 for level in levels] for levels in (MEAN, STD))
    shown = {"input_size": list(encoder.view_shape), "fixed_input_size": bool(arguments), "mean": mean, "std": std}
    config = {"architecture": name, "num_classes": 0, "num_features": encoder.embed_dim, "model_args": arguments}
    (folder / CONFIG).write_text(json.dumps(config | {"pretrained_cfg": {**shown, "num_classes": 0}}, indent=1))
    network: Any = timm.create_model(f"local-dir:{folder}", pretrained=True)
    return network.eval()


def _transformers_vit(encoder: Encoder, folder: Path) -> Network:
    assert isinstance(encoder, ViT)
    if encoder.cls_token is None:
        raise UserError(
            "--format transformers: its ViT has a class token; train with encoder.class_token, or take timm"
        )
    if encoder.reg_token is not None:
        raise UserError("--format transformers: its ViT has no registers; take timm")
    from transformers import ViTModel

    _save(_transformers_names(encoder), folder)
    config = {
        "architectures": ["ViTModel"],
        "model_type": "vit",
        "hidden_size": encoder.embed_dim,
        "num_hidden_layers": len(encoder.blocks),
        "num_attention_heads": _heads(encoder),
        "intermediate_size": 4 * encoder.embed_dim,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": 1e-6,
        "image_size": list(encoder.view_shape[1:]),
        "patch_size": encoder.patch_size,
        "num_channels": encoder.view_shape[0],
        "qkv_bias": True,
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=1))
    height, width = encoder.view_shape[1:]
    mean, std = ([level / 255 for level in levels] for levels in (MEAN, STD))
    shown = {"image_processor_type": "ViTImageProcessor", "size": {"height": height, "width": width}}
    (folder / FILES["transformers"][2]).write_text(json.dumps(shown | {"image_mean": mean, "image_std": std}, indent=1))
    network: Any = ViTModel.from_pretrained(folder, add_pooling_layer=False).eval()
    return lambda views: network(pixel_values=views).last_hidden_state[:, 0]


def _transformers_names(encoder: ViT) -> dict[str, Tensor]:
    state = encoder.state_dict()
    found = {
        "embeddings.cls_token": state["cls_token"],
        "embeddings.position_embeddings": _positions(encoder),
        "embeddings.patch_embeddings.projection.weight": _as_convolution(state["patch_embed.weight"], encoder),
        "embeddings.patch_embeddings.projection.bias": state["patch_embed.bias"],
        "layernorm.weight": state["norm.weight"],
        "layernorm.bias": state["norm.bias"],
    }
    parts = {
        "attention.output.dense": "attn.proj",
        "intermediate.dense": "mlp.fc1",
        "output.dense": "mlp.fc2",
        "layernorm_before": "norm1",
        "layernorm_after": "norm2",
    }
    for block in range(len(encoder.blocks)):
        there, here = f"encoder.layer.{block}", f"blocks.{block}"
        for kind in ("weight", "bias"):
            found |= {f"{there}.{name}.{kind}": state[f"{here}.{own}.{kind}"] for name, own in parts.items()}
            thirds = zip(("query", "key", "value"), state[f"{here}.attn.qkv.{kind}"].chunk(3), strict=True)
            found |= {f"{there}.attention.attention.{name}.{kind}": third for name, third in thirds}
    return found


def _depth(encoder: Encoder, library: str) -> int:
    """Of a ResNet as the library has it.

    Raises:
        UserError: another width or stem.
    """
    assert isinstance(encoder, ResNet)
    first = encoder.conv1
    if first.out_channels != 64 or first.kernel_size != (7, 7) or first.in_channels != 3:
        raise UserError(
            f"--format {library}: has ResNets of width 64 (encoder.width) with a 7x7 stem (encoder.stem: imagenet) on "
            f"RGB; this one has width {first.out_channels}, a {first.kernel_size[0]}x{first.kernel_size[1]} stem and "
            f"{first.in_channels} channels"
        )
    counts = len(encoder.layer1), len(encoder.layer2), len(encoder.layer3), len(encoder.layer4)
    return (_DEPTHS if encoder.embed_dim == 512 else _BOTTLENECKS)[counts]


def _heads(encoder: ViT) -> int:
    block = encoder.blocks[0]
    assert isinstance(block, Block)
    return block.attn.heads


def _as_convolution(weight: Tensor, encoder: ViT) -> Tensor:
    """[D, P] of a linear layer on patches -> [D, C, p, p]."""
    return weight.unflatten(1, (encoder.view_shape[0], encoder.patch_size, encoder.patch_size))


def _positions(encoder: ViT) -> Tensor:
    """[1, E + N, D]: class token and registers have none of their own."""
    position = encoder.position.detach()
    none = position.new_zeros(1, encoder.num_class_tokens, encoder.embed_dim)
    return torch.cat([none, position], dim=1)


def _save(state: Mapping[str, Tensor], folder: Path) -> None:
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / WEIGHTS, {"format": "pt"})


def _filled(network: nn.Module, folder: Path, left_out: str) -> None:
    found = network.load_state_dict(load_file(folder / WEIGHTS), strict=False)
    strange = [*found.unexpected_keys, *(name for name in found.missing_keys if not name.startswith(left_out))]
    if strange:
        raise UserError(f"--format: {WEIGHTS} and the library's network differ in {', '.join(strange[:3])}")


_WRITERS: Mapping[tuple[str, type[Encoder]], Callable[[Encoder, Path], Network]] = {
    ("torchvision", ResNet): _torchvision,
    ("timm", ResNet): _timm_resnet,
    ("timm", ViT): _timm_vit,
    ("transformers", ViT): _transformers_vit,
}
