"""Inputs of an encoding model: layers of frozen networks, one band each."""

import numpy as np

from fmri2img.backbones.pixels import resized_pictures

BLOCK_IMAGES = 16  # small enough for the caches of a CPU


class BandFeatures:
    """Pictures -> one array of features for each band.

    networks: as fmri2img.backbones.loading.RegisteredNetworks; bands: list of {network, layer}, as registered in
    config/backbones.yaml; grid: maps are averaged to grid x grid positions; size: pictures are first resized to it,
    with or without antialiasing, so that a stimulus and a smaller reconstruction of it are treated alike.
    """

    def __init__(self, networks, bands: list[dict], grid: int, size: int, antialias: bool) -> None:
        self.bands, self.grid, self.size, self.antialias = bands, grid, size, antialias
        layers: dict[str, list[str]] = {}
        for band in bands:
            layers.setdefault(band["network"], []).append(band["layer"])
        self._networks = {name: networks.features(name, sorted(set(of))) for name, of in layers.items()}

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        """Features of images (n, height, width, 3), uint8: float32 (n, width) for each band."""
        parts: list[list[np.ndarray]] = [[] for _ in self.bands]
        for start in range(0, len(images), BLOCK_IMAGES):
            pixels = resized_pictures(images[start : start + BLOCK_IMAGES], self.size, antialias=self.antialias)
            found = {name: network.features(pixels, grid=self.grid) for name, network in self._networks.items()}
            for part, band in zip(parts, self.bands, strict=True):
                part.append(found[band["network"]][band["layer"]])
        return [np.concatenate(part) for part in parts]
