"""Teachers of local features: a frozen network's output at each position of an image.

MindEye2's low-level head learns the 7 x 7 map of VICRegL's ConvNeXt-XL (Bardes et al., 2022) after its projector, for
the image and for an augmented copy. The demo's teacher is a middle layer of an EfficientNet-Lite.

The ConvNeXt is torchvision's own; a checkpoint of the original code is renamed to it. Its blocks have no layer scale,
which is the same as a scale of 1.
"""

import re
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from fmri2img.backbones.features import efficientnet_lite
from fmri2img.backbones.pixels import Preprocessing, placement, resize, to_unit
from fmri2img.backbones.registry import Backbone, expect_kind
from fmri2img.errors import UserError
from fmri2img.tensors import read_checkpoint

# Of the teacher's augmented views, as MindEye2 draws them; an entry of the registry may change values.
AUGMENTATION = {"grey": 0.1, "solarised": 0.1, "blurred": 0.0, "area": (0.9, 0.9), "ratio": (1.0, 1.0)}
CONVNEXT_BLOCK = {"dwconv": "block.0", "norm": "block.2", "pwconv1": "block.3", "pwconv2": "block.5"}


class LocalFeatures:
    """A frozen network that maps pixels (n, 3, size, size) to (n, positions, width), positions row by row."""

    def __init__(
        self,
        network: Callable[[Tensor], Tensor],
        preprocessing: Preprocessing,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.network, self.preprocessing = network, preprocessing
        self.device, self.dtype = torch.device(device), dtype

    @torch.inference_mode()
    def maps(self, images: np.ndarray, batch: int = 32) -> np.ndarray:
        """Local features float32 (n, positions, width) of images (n, h, w, 3), uint8 or float in 0..1."""
        parts = [
            self.network(self.preprocessing(images[start : start + batch], self.device).to(self.dtype)).float().cpu()
            for start in range(0, len(images), batch)
        ]
        return torch.cat(parts).numpy()


def augmented(
    images: np.ndarray, ids: np.ndarray, view: int, preprocessing: Preprocessing, augmentation: dict | None = None
) -> np.ndarray:
    """Augmented copies of images, float32 (n, size, size, 3) in 0..1, with the size of `preprocessing`.

    Colour jitter (brightness and contrast 0.4, saturation 0.2, hue 0.1) with probability 0.8; then, with the values of
    `augmentation` (of the registry, AUGMENTATION without): grey, solarised and blurred with these probabilities, and a
    part of the area between these shares, whose ratio of sides is between these values. The released codes redraw the
    copies at each step; here each image has a fixed number of views, which depend only on its image_id and the number
    of the view.
    """
    from torchvision.transforms import v2

    values = AUGMENTATION | (augmentation or {})
    blur = v2.GaussianBlur(kernel_size=7, sigma=(0.1, 2.0))
    steps = [
        v2.RandomApply([v2.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)], p=0.8),
        v2.RandomGrayscale(p=values["grey"]),
        v2.RandomSolarize(threshold=0.5, p=values["solarised"]),
        *([v2.RandomApply([blur], p=values["blurred"])] if values["blurred"] else []),
        v2.RandomResizedCrop(
            preprocessing.image_size, scale=tuple(values["area"]), ratio=tuple(values["ratio"]), antialias=True
        ),
    ]
    pixels = resize(to_unit(images), preprocessing.image_size, preprocessing.interpolation, preprocessing.antialias)
    copies = []
    with torch.random.fork_rng(devices=[]):
        for image, image_id in zip(pixels.clamp(0, 1), ids, strict=True):
            torch.manual_seed(int(np.random.SeedSequence([int(image_id), view]).generate_state(1)[0]))
            copies.append(v2.Compose(steps)(image).clamp(0, 1))
    return torch.stack(copies).permute(0, 2, 3, 1).numpy()


def load_local_features(backbone: Backbone, device=None) -> LocalFeatures:
    """Load a teacher. Raises UserError for a missing or altered file, or a map of another size than registered."""
    build = {"vicregl_convnext": _vicregl_convnext, "efficientnet_lite_map": _efficientnet_lite_map}
    expect_kind(backbone, *build)
    device, dtype = placement(backbone, device)
    (file,) = backbone.record["files"]
    tensors = read_checkpoint(backbone.file(file), "fetch it again")
    network = build[backbone.kind](backbone, tensors, device, dtype)
    preprocessing = Preprocessing.of(backbone)
    teacher = LocalFeatures(network, preprocessing, device, dtype)
    found = teacher.maps(np.zeros((1, preprocessing.image_size, preprocessing.image_size, 3), np.uint8)).shape[1:]
    registered = (backbone.record["tokens"], backbone.record["token_width"])
    if found != registered:
        raise UserError(
            f"backbone {backbone.name}: its map has {found[0]} positions of width {found[1]}, but "
            f"{registered[0]} of width {registered[1]} are registered; correct tokens and token_width in "
            "config/backbones.yaml"
        )
    return teacher


def _efficientnet_lite_map(backbone: Backbone, tensors: dict[str, Tensor], device, dtype) -> Callable[[Tensor], Tensor]:
    network, last = efficientnet_lite(backbone, tensors, device, dtype), backbone.record["block"]

    def maps(pixels: Tensor) -> Tensor:
        x = network._swish(network._bn0(network._conv_stem(pixels)))
        for layer in network._blocks[: last + 1]:
            x = layer(x)
        return x.flatten(2).transpose(1, 2)

    return maps


class ConvNeXtMaps(nn.Module):
    """ConvNeXt without pooling or classifier, followed by a norm and a projector for each position.

    depths, widths: blocks and channels of the four stages; projector: widths of its layers, the last one the map's.
    """

    def __init__(self, depths: list[int], widths: list[int], projector: list[int]) -> None:
        from torchvision.models.convnext import CNBlockConfig, ConvNeXt

        super().__init__()
        stages = [
            CNBlockConfig(width, following, depth)
            for width, following, depth in zip(widths, [*widths[1:], None], depths, strict=True)
        ]
        self.features = ConvNeXt(stages, layer_scale=1.0, num_classes=1).features
        self.norm = nn.LayerNorm(widths[-1], eps=1e-6)
        layers: list[nn.Module] = []
        for before, after in zip([widths[-1], *projector[:-2]], projector[:-1], strict=True):
            layers += [nn.Linear(before, after), nn.LayerNorm(after), nn.ReLU()]
        self.projector = nn.Sequential(*layers, nn.Linear(projector[-2], projector[-1], bias=False))

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, 3, h, w) -> (n, positions, width)."""
        return self.projector(self.norm(self.features(pixels).flatten(2).transpose(1, 2)))


def from_vicregl(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of VICRegL's ConvNeXt and projector of maps, renamed as in ConvNeXtMaps; other names are kept."""
    return {_renamed(name): tensor for name, tensor in tensors.items()}


def _renamed(name: str) -> str:
    name = name.replace("maps_projector.", "projector.").removeprefix("backbone.")
    if found := re.fullmatch(r"downsample_layers\.(\d)\.(.*)", name):
        return f"features.{2 * int(found[1])}.{found[2]}"
    if found := re.fullmatch(r"stages\.(\d)\.(\d+)\.(\w+)\.(weight|bias)", name):
        return f"features.{2 * int(found[1]) + 1}.{found[2]}.{CONVNEXT_BLOCK.get(found[3], found[3])}.{found[4]}"
    return name


def _vicregl_convnext(backbone: Backbone, tensors: dict, device, dtype) -> nn.Module:
    record = backbone.record
    network = ConvNeXtMaps(**record["arguments"])
    prefix, unused = record.get("prefix", ""), tuple(record.get("unused", []))
    tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.get("model", tensors).items()}
    tensors = from_vicregl({name: tensor for name, tensor in tensors.items() if not name.startswith(unused)})
    for name, tensor in network.state_dict().items():
        if name.endswith(".layer_scale"):
            tensors.setdefault(name, torch.ones_like(tensor))
    expected = network.state_dict()
    for what, names in (("missing", expected.keys() - tensors), ("unexpected", tensors.keys() - expected)):
        if names:
            raise UserError(
                f"backbone {backbone.name}: {what} tensor {min(names)} ({len(names)} in all); the weights are not of "
                "the registered network: correct the entry in config/backbones.yaml"
            )
    network.load_state_dict(tensors)
    return network.to(device, dtype).eval().requires_grad_(False)
