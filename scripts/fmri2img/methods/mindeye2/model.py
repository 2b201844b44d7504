"""The whole network, and how it is stored."""

import json
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fmri2img.artifacts.atomic import atomic_directory
from fmri2img.artifacts.tables import read_json, write_json
from fmri2img.errors import UserError
from fmri2img.methods.mindeye2.adapters import SubjectAdapters
from fmri2img.methods.mindeye2.backbone import Backbone
from fmri2img.methods.mindeye2.configuration import ModelConfig
from fmri2img.methods.mindeye2.low_level import LowLevelHead
from fmri2img.methods.mindeye2.prior import PriorNetwork
from fmri2img.methods.mindeye2.projector import Projector
from fmri2img.training.dropout import Masks


class Encoded(NamedTuple):
    """What the network makes of betas, before any sampling; first axis: trials.

    hidden: (trials, hidden) the shared latent after the backbone's blocks; tokens: (trials, tokens, token_width), the
    prior's condition; projected: the same shape, for retrieval; latents: (trials, channels, side, side), scaled
    autoencoder latents; maps: (trials, positions, maps_width), local features; both None without the low-level head.
    """

    hidden: Tensor
    tokens: Tensor
    projected: Tensor
    latents: Tensor | None
    maps: Tensor | None


class MindEye2(nn.Module):
    """Adapters, backbone, projector, and where configured the low-level head and the diffusion prior.

    `forward` is everything but the prior, which diffusion.py trains and samples.
    """

    def __init__(self, config: ModelConfig, voxels: dict[str, int]):
        """voxels: subject -> number of voxels."""
        super().__init__()
        self.config = config
        self.adapters = SubjectAdapters(voxels, config.hidden)
        self.backbone = Backbone(config)
        self.projector = Projector(config.token_width)
        self.low_level = LowLevelHead(config.low_level, config.hidden) if config.low_level else None
        self.prior = PriorNetwork(config.prior, config.tokens, config.token_width) if config.prior else None

    @property
    def voxels(self) -> dict[str, int]:
        """Subject -> number of voxels."""
        return {subject: adapter.in_features for subject, adapter in self.adapters.items()}

    def forward(
        self, betas: dict[str, Tensor], low_level_rows: Tensor | slice = slice(None), kept: Masks | None = None
    ) -> Encoded:
        """betas: subject -> (trials, voxels); subjects follow each other in the dictionary's order.

        low_level_rows: trials that the low-level head is run on; kept: masks of dropout (dropout.masks), which training
        needs, the low-level head's for its trials.
        """
        hidden, tokens = self.backbone(self.adapters(betas), kept)
        latents, maps = self.low_level(hidden[low_level_rows], kept) if self.low_level else (None, None)
        return Encoded(hidden, tokens, self.projector(tokens), latents, maps)


def save_model(path: str | Path, model: MindEye2, metadata: dict) -> None:
    """Write a directory with model.safetensors and config.json (configuration, voxels of each subject, `metadata`)."""
    record = {"model": model.config.to_dict(), "voxels": model.voxels, "metadata": metadata}
    with atomic_directory(path) as directory:
        state = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
        save_file(state, directory / "model.safetensors")
        write_json(directory / "config.json", record)


def load_model(path: str | Path) -> tuple[MindEye2, dict]:
    """Read what `save_model` wrote: the model, in evaluation mode on the CPU, and the metadata.

    Raises UserError naming the file, and the weight or key, that is missing or does not fit.
    """
    path = Path(path)
    record = read_json(path / "config.json")
    for key in ("model", "voxels", "metadata"):
        if key not in record:
            raise UserError(f"{path / 'config.json'}: key '{key}' is missing; rerun the step that writes {path}")
    config = ModelConfig.from_dict(record["model"], f"{path / 'config.json'}: model")
    weights = path / "model.safetensors"
    try:
        state = load_file(weights)
    except FileNotFoundError:
        raise UserError(f"{weights}: no such file; rerun the step that writes it") from None
    except (SafetensorError, json.JSONDecodeError) as error:
        raise UserError(f"{weights}: cannot be read ({error}); delete it and rerun the step that writes it") from None
    return assemble(config, record["voxels"], state, str(weights)), record["metadata"]


def assemble(config: ModelConfig, voxels: dict[str, int], state: dict[str, Tensor], source: str) -> MindEye2:
    """A model that takes the tensors of `state` as its own, in evaluation mode.

    Raises UserError naming `source` and the first weight that is missing, unexpected or of another shape.
    """
    with torch.device("meta"):
        model = MindEye2(config, voxels)
    expected = model.state_dict()
    for name, tensor in expected.items():
        if name not in state:
            raise UserError(
                f"{source}: weight '{name}' is missing; it is not a file of this model, get or make it anew"
            )
        if state[name].shape != tensor.shape:
            found, wanted = tuple(state[name].shape), tuple(tensor.shape)
            raise UserError(f"{source}: weight '{name}' has shape {found}, the configuration says {wanted}")
    for name in state:
        if name not in expected:
            raise UserError(
                f"{source}: weight '{name}' is not part of the configured model; is it another model's file?"
            )
    model.load_state_dict(state, assign=True)
    return model.eval()
