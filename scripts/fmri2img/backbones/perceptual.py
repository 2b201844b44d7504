"""Perceptual distances: networks that compare two pictures directly.

LPIPS (Zhang et al., CVPR 2018), AlexNet version 0.1: torchmetrics holds the architecture and the trained weights of its
five linear layers; AlexNet's own weights are in the registry. DreamSim (Fu et al., NeurIPS 2023) is an optional
package, and its weights are in the registry.
"""

import importlib
import tempfile
from collections.abc import Callable

import numpy as np
import torch

from fmri2img.archives import unpack
from fmri2img.backbones.pixels import placement, resize, to_unit
from fmri2img.backbones.registry import Backbone, expect_kind
from fmri2img.errors import UserError
from fmri2img.tensors import read_checkpoint


class PerceptualDistance:
    """A distance. compare: maps two float (n, 3, size, size) in 0..1 to distances (n,)."""

    def __init__(self, compare: Callable, size: int, device: torch.device | str = "cpu") -> None:
        self.compare, self.size, self.device = compare, size, torch.device(device)

    @torch.inference_mode()
    def distances(self, truth: np.ndarray, images: np.ndarray) -> np.ndarray:
        """Distance of each pair of pictures (n, h, w, 3), uint8 or float in 0..1: float64 (n,)."""
        pair = (resize(to_unit(pictures, self.device), self.size).clamp(0, 1) for pictures in (truth, images))
        return self.compare(*pair).reshape(-1).double().cpu().numpy()


def load_perceptual(backbone: Backbone, device=None) -> PerceptualDistance:
    """Load `lpips` from a registered torchvision AlexNet, or `dreamsim` from its package.

    Raises UserError for a missing or altered file, another network, or a package that is not installed.
    """
    if backbone.kind == "dreamsim":
        return _dreamsim(backbone, device)
    expect_kind(backbone, "torchvision")
    if backbone.record["network"] != "alexnet":
        raise UserError(f"backbone {backbone.name}: LPIPS is defined here on alexnet, not {backbone.record['network']}")
    from torchmetrics.functional.image.lpips import _LPIPS

    (file,) = backbone.record["files"]
    # Its constructor would download AlexNet; `pnet_rand` leaves it untrained, so the registered weights can be loaded.
    network = _LPIPS(pretrained=True, net="alex", pnet_rand=True)
    tensors = read_checkpoint(backbone.file(file), "fetch it again")
    for name, parameter in network.net.named_parameters():  # slice2.3.weight is AlexNet's features.3.weight
        key = f"features.{name.split('.', 1)[1]}"
        if key not in tensors or tensors[key].shape != parameter.shape:
            raise UserError(f"backbone {backbone.name}: no tensor {key} of shape {tuple(parameter.shape)} in {file}")
        parameter.copy_(tensors[key])
    chosen, _ = placement(backbone, device)
    network = network.to(chosen)
    return PerceptualDistance(
        lambda a, b: network(a, b, normalize=True), backbone.record["preprocessing"]["image_size"], chosen
    )


def _dreamsim(backbone: Backbone, device) -> PerceptualDistance:
    try:
        dreamsim = importlib.import_module("dreamsim").dreamsim
    except ImportError as error:
        raise UserError(
            f"backbone {backbone.name}: Python package dreamsim is not installed; `pip install dreamsim`, or "
            "remove dreamsim from `metrics`"
        ) from error
    (file,) = backbone.record["files"]
    path, (chosen, _) = backbone.file(file), placement(backbone, device)
    with tempfile.TemporaryDirectory() as folder:  # the package downloads nothing if it finds all its files
        unpack(path, folder, f"delete {path.parent} and fetch it again")
        network, _ = dreamsim(device=str(chosen), cache_dir=folder, dreamsim_type=backbone.record["network"])
    return PerceptualDistance(network, backbone.record["image_size"], chosen)
