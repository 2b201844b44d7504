"""Frozen feature networks, with which metrics compare pictures.

Only the library of the requested network is imported. Layers are named as in the library: nodes of torchvision's
feature extractor ("features.4", "avgpool"); "pooled" for an image-text encoder's joint vector; "pool" for the
features of published FID values; and for EfficientNet-Lite "stem" and "block_<i>" for the maps after those layers,
"features" for the last convolution averaged over positions, and "logits" for the scores of ImageNet's 1,000 classes.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch.nn.functional import adaptive_avg_pool2d

from fmri2img.backbones.pixels import Preprocessing, placement, resized_pictures
from fmri2img.backbones.registry import Backbone, expect_kind
from fmri2img.errors import UserError
from fmri2img.tensors import read_checkpoint

BLOCK_IMAGES = 16  # small enough for the caches of a CPU: EfficientNet-Lite2 takes half the time of 64


class FeatureNetwork:
    """A frozen network with explicit preprocessing.

    network: maps float (n, 3, size, size) to a dict of layer -> (n, ...).
    """

    def __init__(
        self,
        network: Callable[[torch.Tensor], dict[str, torch.Tensor]],
        layers: list[str],
        preprocessing: Preprocessing,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.network, self.layers, self.preprocessing = network, layers, preprocessing
        self.device, self.dtype = torch.device(device), dtype

    @torch.inference_mode()
    def features(self, images: np.ndarray, batch: int = 64, grid: int | None = None) -> dict[str, np.ndarray]:
        """Features of images (n, h, w, 3), uint8 or float in 0..1: layer -> float32 (n, dimensions), flattened.

        grid: first average maps (n, channels, height, width) to grid x grid positions.
        """
        parts: dict[str, list[np.ndarray]] = {layer: [] for layer in self.layers}
        for start in range(0, len(images), batch):
            pixels = self.preprocessing(images[start : start + batch], self.device).to(self.dtype)
            outputs = self.network(pixels)
            for layer in self.layers:
                found = outputs[layer]
                if grid is not None and found.ndim == 4:
                    found = adaptive_avg_pool2d(found, grid)
                parts[layer].append(found.flatten(1).float().cpu().numpy())
        return {layer: np.concatenate(blocks) for layer, blocks in parts.items()}


def features_of(images: np.ndarray, network: FeatureNetwork, size: int, antialias: bool) -> dict[str, np.ndarray]:
    """A network's features of pictures uint8 (n, h, w, 3), first resized to `size`: layer -> float32 (n, d)."""
    blocks = [
        network.features(resized_pictures(images[start : start + BLOCK_IMAGES], size, antialias=antialias))
        for start in range(0, len(images), BLOCK_IMAGES)
    ]
    return {layer: np.concatenate([block[layer] for block in blocks]) for layer in blocks[0]}


def load_features(
    backbone: Backbone, layers: list[str] | None = None, device=None, antialias: bool = True
) -> FeatureNetwork:
    """Load a feature network that yields `layers` (default: all that are registered).

    antialias: False if pictures are not to be filtered even where the registry says so. Raises UserError for a layer
    that is not registered, and for a missing or altered file.
    """
    build = {
        "open_clip": _open_clip,
        "torchvision": _torchvision,
        "efficientnet_lite": _efficientnet_lite,
        "fid_inception": _fid_inception,
    }
    expect_kind(backbone, *build)
    known = backbone.record["layers"]
    for layer in layers or []:
        if layer not in known:
            raise UserError(f"backbone {backbone.name}: no layer '{layer}'; registered are {', '.join(known)}")
    device, dtype = placement(backbone, device)
    network = build[backbone.kind](backbone, layers or known, device, dtype)
    preprocessing = Preprocessing.of(backbone)
    preprocessing = replace(preprocessing, antialias=preprocessing.antialias and antialias)
    return FeatureNetwork(network, layers or known, preprocessing, device, dtype)


def _open_clip(backbone: Backbone, layers, device, dtype):
    from fmri2img.backbones.encoders import load_encoder

    visual = load_encoder(backbone, device).model.visual
    return lambda pixels: {"pooled": visual(pixels)[0]}


def efficientnet_lite(backbone: Backbone, tensors: dict[str, torch.Tensor], device, dtype):
    """A frozen EfficientNet-Lite with these weights."""
    from efficientnet_lite_pytorch import EfficientNet

    # Its "same" padding is computed for a given input size, so the network must be built for the registered one.
    size = backbone.record["preprocessing"]["image_size"]
    network = EfficientNet.from_name(backbone.record["network"], image_size=size)
    network.load_state_dict(tensors)
    # Depthwise convolutions are faster with channels last: 13 instead of 18 ms per image on one core.
    return network.to(device, dtype, memory_format=torch.channels_last).eval().requires_grad_(False)


def _efficientnet_lite(backbone: Backbone, layers, device, dtype):
    (file,) = backbone.record["files"]
    tensors = read_checkpoint(backbone.file(file), "fetch it again")
    network = efficientnet_lite(backbone, tensors, device, dtype)
    whole = "features" in layers or "logits" in layers
    last = max((int(layer.removeprefix("block_")) for layer in layers if layer.startswith("block_")), default=-1)

    def forward(pixels):
        """Run the network up to the last requested layer."""
        found = {"stem": network._bn0(network._conv_stem(pixels))}
        maps = network._swish(found["stem"])
        for number, block in enumerate(network._blocks if whole else network._blocks[: last + 1]):
            found[f"block_{number}"] = maps = block(maps)
        if whole:
            found["features"] = network._swish(network._bn1(network._conv_head(maps))).mean((2, 3))
            found["logits"] = network._fc(found["features"])
        return {layer: found[layer] for layer in layers}

    return forward


def _torchvision(backbone: Backbone, layers, device, dtype):
    (file,) = backbone.record["files"]
    tensors = read_checkpoint(backbone.file(file), "fetch it again")
    network = torchvision_network(backbone, tensors)
    return extractor(network.to(device, dtype), layers)


def _fid_inception(backbone: Backbone, layers, device, dtype):
    from fmri2img.backbones.fid_inception import fid_inception

    (file,) = backbone.record["files"]
    network = fid_inception(read_checkpoint(backbone.file(file), "fetch it again"))
    pooled = extractor(network.to(device, dtype), ["avgpool"])
    return lambda pixels: {"pool": pooled(pixels)["avgpool"]}


def torchvision_network(backbone: Backbone, tensors: dict[str, torch.Tensor]) -> torch.nn.Module:
    """The registered torchvision architecture with the given weights.

    `prefix` is removed from each tensor's name; parts of the network in `absent` may lack weights; tensors whose names
    begin with one of `unused` are ignored. Raises UserError naming any other tensor that is missing or unexpected.
    """
    from torchvision import models

    record = backbone.record
    network = models.get_model(record["network"], weights=None, **record.get("arguments", {}))
    prefix = record.get("prefix", "")
    tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    missing, unexpected = network.load_state_dict(tensors, strict=False)
    missing = [name for name in missing if not name.startswith(tuple(record.get("absent", [])))]
    unexpected = [name for name in unexpected if not name.startswith(tuple(record.get("unused", [])))]
    for what, names in (("missing", missing), ("unexpected", unexpected)):
        if names:
            raise UserError(
                f"backbone {backbone.name}: {what} tensor {names[0]} ({len(names)} in all); the weights are not of "
                f"{record['network']}: correct the entry in config/backbones.yaml"
            )
    return network


def extractor(network: torch.nn.Module, layers: list[str]) -> torch.nn.Module:
    """torchvision's own feature extractor, frozen: pixels -> dict of layer -> output."""
    from torchvision.models.feature_extraction import create_feature_extractor

    return create_feature_extractor(network.eval().requires_grad_(False), return_nodes=list(layers))
