"""Training targets of each image, read from memory maps."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.errors import UserError
from fmri2img.integrity import again
from fmri2img.training.sources import fingerprint


class Targets:
    """Training targets, computed once for every image and read from memory maps by image_id.

    All are Embeddings artifacts: image tokens; and for the low-level head autoencoder latents (one token per position)
    and a teacher's local features of the image (view 0) and of augmented copies (views 1 to K). Raises UserError when a
    file is missing, or when latents are not square or come without local features.
    """

    def __init__(
        self, embeddings: str | Path, latents: str | Path | None = None, views: Sequence[str | Path] = ()
    ) -> None:
        if (latents is None) != (not views):
            raise UserError("training configuration: 'settings.latents' and 'settings.local_features' go together")
        if latents is not None and len(views) < 2:
            raise UserError(
                "training configuration: 'settings.local_features' lists the plain view and at least one augmented view"
            )
        self._tokens = Embeddings.open(embeddings)
        self._latents = Embeddings.open(latents) if latents is not None else None
        self._views = [Embeddings.open(path) for path in views]
        if self._latents is not None and self.latent_shape[1] ** 2 != self._latents.tokens.shape[1]:
            raise UserError(f"{latents}: {self._latents.tokens.shape[1]} positions are not a square; {again(latents)}")

    @property
    def fingerprints(self) -> dict[str, str]:
        """Setting that names each artifact -> its fingerprint (training.sources)."""
        named = {"embeddings": self._tokens}
        if self._latents is not None:
            named |= {"latents": self._latents} | {f"local_features.{i}": view for i, view in enumerate(self._views)}
        return {name: fingerprint(made.metadata, made.ids[None], made.tokens) for name, made in named.items()}

    @property
    def encoder(self) -> str:
        """Registry name and revision of the encoder whose tokens these are."""
        return f"{self._tokens.metadata['encoder']} ({self._tokens.metadata['revision']})"

    @property
    def token_shape(self) -> tuple[int, int]:
        """(tokens, width)."""
        return self._tokens.tokens.shape[1:]

    @property
    def latent_shape(self) -> tuple[int, int]:
        """(channels, side)."""
        positions, channels = self._latents.tokens.shape[1:]
        return channels, round(positions**0.5)

    @property
    def latent_scale(self) -> float:
        """The autoencoder's scaling factor, by which its latents are multiplied."""
        return self._latents.metadata["scaling_factor"]

    @property
    def map_shape(self) -> tuple[int, int]:
        """(positions, width)."""
        return self._views[0].tokens.shape[1:]

    @property
    def augmentations(self) -> int:
        """Number of augmented views."""
        return max(0, len(self._views) - 1)

    def check(self, ids: np.ndarray) -> None:
        """Raises UserError naming the artifact that lacks one of the images `ids`."""
        for artifact in (self._tokens, *([self._latents] if self._latents else []), *self._views):
            artifact.rows(ids)

    def tokens(self, ids: np.ndarray) -> Tensor:
        """Image tokens float16 (images, tokens, width) of `ids`, which may repeat and be in any order."""
        return _read(self._tokens, ids)

    def latents(self, ids: np.ndarray) -> Tensor:
        """Scaled autoencoder latents float16 (images, channels, side, side)."""
        latents = _read(self._latents, ids)
        channels, side = self.latent_shape
        return latents.transpose(1, 2).reshape(len(ids), channels, side, side)

    def maps(self, ids: np.ndarray, views: np.ndarray) -> Tensor:
        """Local features float16 (images, positions, width) of view number `views` (images,) of each image."""
        maps = torch.empty(len(ids), *self.map_shape, dtype=torch.float16)
        for view in np.unique(views):
            chosen = np.flatnonzero(views == view)
            maps[chosen] = _read(self._views[view], ids[chosen])
        return maps


def _read(artifact: Embeddings, ids: np.ndarray) -> Tensor:
    return torch.from_numpy(artifact.tokens[artifact.rows(ids)])
