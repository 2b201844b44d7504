"""Masked brain modelling (SC-MBM): an autoencoder that predicts most patches of a voxel pattern from the others.

The voxels, in the order of the recording, are cut into patches of 16; a pattern is repeated from its start until whole
patches are filled. Modules and weights are named as in the released checkpoints. Chen et al., Seeing Beyond the Brain,
CVPR (2023); the masking is that of He et al., Masked Autoencoders Are Scalable Vision Learners, CVPR (2022).
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from fmri2img.methods.mindvis.settings import EncoderConfig, ModelConfig


class Masked(NamedTuple):
    """loss: 0-d; prediction: (samples, patches, patch) of all patches; mask: (samples, patches), 1 where removed."""

    loss: Tensor
    prediction: Tensor
    mask: Tensor


class PatchEmbedding(nn.Module):
    """Patches of voxels to vectors: (samples, 1, voxels) -> (samples, patches, width)."""

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv1d(1, width, kernel_size=patch, stride=patch)

    def forward(self, betas: Tensor) -> Tensor:
        return self.proj(betas).transpose(1, 2)


class BrainEncoder(nn.Module):
    """The encoder alone, without masking and class token: (samples, 1, voxels) -> (samples, patches, width).

    `cls_token` and `mask_token` have no effect; the released encoder has them.
    """

    def __init__(self, config: EncoderConfig, patches: int) -> None:
        super().__init__()
        self.patch_embed = PatchEmbedding(config.patch, config.width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width), requires_grad=False)
        self.pos_embed = fixed_positions(config.width, patches)
        self.blocks = blocks(config.width, config.depth, config.heads, config.mlp_ratio)
        self.norm = nn.LayerNorm(config.width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.width), requires_grad=False)
        self.checkpointing = False
        initialise(self)

    def forward(self, betas: Tensor) -> Tensor:
        x = self.patch_embed(betas) + self.pos_embed[:, 1:]
        for block in self.blocks:
            if self.checkpointing and self.training:
                x = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return self.norm(x)


class MaskedAutoencoder(nn.Module):
    """Encoder of the patches that are kept, and decoder of all patches."""

    def __init__(self, config: ModelConfig, patches: int) -> None:
        super().__init__()
        decoder = config.decoder
        self.config, self.patch = config, config.patch
        self.patch_embed = PatchEmbedding(config.patch, config.width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.pos_embed = fixed_positions(config.width, patches)
        self.blocks = blocks(config.width, config.depth, config.heads, config.mlp_ratio)
        self.norm = nn.LayerNorm(config.width)

        self.decoder_embed = nn.Linear(config.width, decoder.width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder.width))
        self.decoder_pos_embed = fixed_positions(decoder.width, patches)
        self.decoder_blocks = blocks(decoder.width, decoder.depth, decoder.heads, config.mlp_ratio)
        self.decoder_norm = nn.LayerNorm(decoder.width)
        self.decoder_pred = nn.Linear(decoder.width, config.patch)
        self.checkpointing = False
        initialise(self)

    @property
    def patches(self) -> int:
        return self.pos_embed.shape[1] - 1

    def forward(self, betas: Tensor, noise: Tensor) -> Masked:
        """Predict the removed patches.

        betas: (samples, 1, voxels), whole patches; noise: (samples, patches), uniform in 0..1, from which `masking`
        chooses. The loss is the squared error of the removed patches, averaged over their voxels and over patches.
        """
        encoded, mask, restore = self.encode(betas, noise)
        prediction = self.decode(encoded, restore)
        error = ((prediction - betas.reshape(*prediction.shape)) ** 2).mean(dim=-1)
        return Masked((error * mask).sum() / mask.sum().clamp(min=1), prediction, mask)

    def encode(self, betas: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Class token and kept patches (samples, 1 + kept, width), and mask and order as `masking` returns them."""
        x = self.patch_embed(betas) + self.pos_embed[:, 1:]
        keep, restore, mask = masking(noise, self.config.mask_ratio)
        x = x.gather(1, keep[:, :, None].expand(-1, -1, x.shape[2]))
        start = (self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1)
        return self.norm(self._through(self.blocks, torch.cat([start, x], dim=1))), mask, restore

    def decode(self, encoded: Tensor, restore: Tensor) -> Tensor:
        """Voxels (samples, patches, patch) of all patches, in their own order."""
        x = self.decoder_embed(encoded)
        missing = self.mask_token.expand(len(x), restore.shape[1] + 1 - x.shape[1], -1).to(x.dtype)
        every = torch.cat([x[:, 1:], missing], dim=1).gather(1, restore[:, :, None].expand(-1, -1, x.shape[2]))
        x = torch.cat([x[:, :1], every], dim=1) + self.decoder_pos_embed
        return self.decoder_pred(self.decoder_norm(self._through(self.decoder_blocks, x)))[:, 1:]

    def _through(self, layers: nn.ModuleList, x: Tensor) -> Tensor:
        for block in layers:
            if self.checkpointing and self.training:
                x = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return x


def masking(noise: Tensor, ratio: float) -> tuple[Tensor, Tensor, Tensor]:
    """Which patches are kept: those with the smallest noise.

    noise: (samples, patches). Returns the numbers of the int(patches * (1 - ratio)) kept patches, in ascending order of
    their noise; each patch's place among the kept and then the removed ones; and the mask, 1 where a patch is removed.
    """
    order = torch.argsort(noise, dim=1)
    restore = torch.argsort(order, dim=1)
    kept = int(noise.shape[1] * (1 - ratio))
    return order[:, :kept], restore, (restore >= kept).to(noise.dtype)


def blocks(width: int, depth: int, heads: int, mlp_ratio: float) -> nn.ModuleList:
    """timm's transformer blocks, with torch's layer norm as released (epsilon 1e-5; timm's own has 1e-6)."""
    return nn.ModuleList([Block(width, heads, mlp_ratio, qkv_bias=True, norm_layer=nn.LayerNorm) for _ in range(depth)])


def fixed_positions(width: int, patches: int) -> nn.Parameter:
    """Positions (1, 1 + patches, width): zeros for the class token, then sines and cosines; they are not trained."""
    frequencies = 1 / 10000 ** (np.arange(width // 2, dtype=float) / (width / 2))
    angles = np.outer(np.arange(patches, dtype=float), frequencies)
    values = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    table = np.concatenate([np.zeros((1, width)), values]).astype(np.float32)
    return nn.Parameter(torch.tensor(table)[None], requires_grad=False)


def resized_positions(positions: Tensor, patches: int, resizing: str) -> Tensor:
    """Positions (1, 1 + n, width) of another number of patches; the class token's stays.

    resizing: "linear"; or "nearest", as in the released code, where several patches may have one position.
    """
    if positions.shape[1] == patches + 1:
        return positions
    options = {"align_corners": False} if resizing == "linear" else {}
    resized = F.interpolate(positions[:, 1:].transpose(1, 2), size=patches, mode=resizing, **options)
    return torch.cat([positions[:, :1], resized.transpose(1, 2)], dim=1)


def initialise(module: nn.Module) -> None:
    """Initial weights as released: Xavier for linear layers; deviation 0.02 for the patches' map and the tokens."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Conv1d):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
    for name in ("cls_token", "mask_token"):
        nn.init.normal_(getattr(module, name), std=0.02)


def padded(betas: np.ndarray, length: int) -> np.ndarray:
    """Betas (trials, voxels), repeated from their first voxel up to `length` voxels."""
    return np.pad(betas, ((0, 0), (0, length - betas.shape[1])), "wrap")


def whole_patches(voxels: int, patch: int) -> int:
    """Number of patches that hold this number of voxels."""
    return -(-voxels // patch)
