"""Conversion between stored pictures (uint8, height x width x 3) and a network's input.

Resizing is always explicit about interpolation and antialiasing, because library defaults changed between versions and
low-level metrics depend on them.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from fmri2img.backbones.registry import Backbone


def to_unit(images: np.ndarray, device: torch.device | str = "cpu") -> torch.Tensor:
    """Pictures (n, h, w, 3), uint8 or float in 0..1, as float32 (n, 3, h, w) in 0..1."""
    pixels = (
        torch.from_numpy(np.array(images)).to(device).permute(0, 3, 1, 2)
    )  # copied, because memory maps are read-only
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()


def to_uint8(pixels: torch.Tensor) -> np.ndarray:
    """Float (n, 3, h, w) in 0..1 (clamped) as uint8 pictures (n, h, w, 3), rounded to nearest."""
    return (pixels.float().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def resize(pixels: torch.Tensor, size: int, interpolation: str = "bilinear", antialias: bool = True) -> torch.Tensor:
    """Squash (n, 3, h, w) to (n, 3, size, size); pictures of that size are returned unchanged."""
    if pixels.shape[-2:] == (size, size):
        return pixels
    return F.interpolate(pixels, (size, size), mode=interpolation, align_corners=False, antialias=antialias)


def resized_pictures(images: np.ndarray, *sizes: int, antialias: bool = True) -> np.ndarray:
    """Pictures (n, h, w, 3), uint8 or float in 0..1, squashed to each of `sizes` in turn: float32 (n, size, size, 3)
    in 0..1."""
    pixels = to_unit(images)
    for size in sizes:
        pixels = resize(pixels, size, antialias=antialias)
    return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).numpy())


def resize_matrix(side: int, *sizes: int, antialias: bool = True) -> np.ndarray:
    """The matrix by which `resized_pictures` multiplies a column (or row) of `side` pixels: float64 (size, side)."""
    columns = torch.eye(side)[:, None, :, None]
    parts = []
    for part in columns.split(32):  # 23 MB at 425 pixels
        for size in sizes:
            part = resize(part, size, antialias=antialias)
        parts.append(part[:, 0, :, 0])
    return torch.cat(parts).T.double().numpy()


@dataclass(frozen=True)
class Preprocessing:
    """Resize to a square, map 0..1 to offset..offset + scale, subtract the mean and divide by the deviation.

    MindEye2 feeds its encoder with `scale` 0.5 and `offset` 0.5 (it passes pixels in 0..1 to a wrapper that expects
    -1..1); everywhere else they are 1 and 0.
    """

    image_size: int
    interpolation: str
    antialias: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    scale: float = 1.0
    offset: float = 0.0

    @classmethod
    def of(cls, backbone: Backbone) -> "Preprocessing":
        return cls(**backbone.record["preprocessing"])

    def __call__(self, images: np.ndarray, device: torch.device | str = "cpu") -> torch.Tensor:
        """Pictures (n, h, w, 3), uint8 or float in 0..1, as float32 (n, 3, image_size, image_size)."""
        pixels = resize(to_unit(images, device), self.image_size, self.interpolation, self.antialias)
        if self.interpolation == "bicubic":
            pixels = pixels.clamp(0, 1)
        mean, std = (torch.tensor(v, device=pixels.device)[:, None, None] for v in (self.mean, self.std))
        return (pixels * self.scale + self.offset - mean) / std


def placement(backbone: Backbone, device: str | torch.device | None = None) -> tuple[torch.device, torch.dtype]:
    """Device (CUDA if available) and number type: the registered `dtype` on CUDA, float32 elsewhere."""
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    name = backbone.record.get("dtype", "float32") if chosen.type == "cuda" else "float32"
    return chosen, getattr(torch, name)
