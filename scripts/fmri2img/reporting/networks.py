"""Stored trained networks: the records of their training, and how many parameters each of their parts has.

Parameters are counted from the stored configuration on a device without memory, so that no weights are read.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from fmri2img.artifacts.tables import read_json
from fmri2img.errors import UserError
from fmri2img.methods.mindeye2.configuration import ModelConfig
from fmri2img.methods.mindeye2.model import MindEye2

PARTS = ("backbone's blocks", "map to tokens", "projector", "low-level head", "diffusion prior")
NOT_PRETRAINED = "from scratch"


@dataclass(frozen=True)
class TrainedRun:
    """One stored training. path: the decoder's directory; stage: pretraining, fine-tuning or from scratch; config: its
    config.json; training: its training.json."""

    path: Path
    stage: str
    config: dict
    training: dict

    @classmethod
    def open(cls, path: str | Path) -> "TrainedRun":
        """Read the records of a stored decoder. Raises UserError where one is missing, or lacks a key."""
        path = Path(path)
        config, training = read_json(path / "config.json"), read_json(path / "training.json")
        for name, record, keys in (
            ("config.json", config, ("model", "voxels", "metadata")),
            ("training.json", training, ("config", "steps", "seconds", "processes", "validation", "versions")),
        ):
            for key in keys:
                if key not in record:
                    raise UserError(f"{path / name}: key '{key}' is missing; rerun the step that writes {path}")
        if config["metadata"]["initial"] is not None:
            stage = "fine-tuning"
        else:
            stage = "pretraining" if path.name.startswith("without_") else NOT_PRETRAINED
        return cls(path, stage, config, training)

    @property
    def sessions(self) -> dict[str, int | float]:
        return self.config["metadata"]["sessions"]

    @property
    def seed(self) -> int:
        return self.training["config"]["training"]["seed"]

    @property
    def values(self) -> dict:
        """What differs between the runs of a method: counts, seconds, and the last validation's metrics."""
        counts = {key: self.config["metadata"][key] for key in ("trials", "images", "held_out_images")}
        return counts | {key: self.training[key] for key in ("steps", "seconds")} | self.training["validation"]


def parameters_by_part(config: dict) -> dict[str, int]:
    """Parameters of a stored network: an entry for each subject's adapter, by the subject's name, then PARTS.

    config: its config.json. Parts that the network lacks are left out.
    """
    model = _empty(config)
    parts = (model.backbone.blocks, model.backbone.to_tokens, model.projector, model.low_level, model.prior)
    counts = {subject: _count(adapter) for subject, adapter in model.adapters.items()}
    return counts | {name: _count(part) for name, part in zip(PARTS, parts, strict=True) if part is not None}


def idle_parameters(config: dict) -> int:
    """Parameters that no output depends on: of the released blocks, the wide ones and the sequence blocks' norm scales.

    (A normalisation over one entry returns its bias, whatever its scale.)
    """
    model = _empty(config)
    if model.config.backbone != "as_released":
        return 0
    blocks = model.backbone.blocks
    return _count(blocks.wide) + sum(block[0].weight.numel() for block in blocks.sequence)


def _empty(config: dict) -> MindEye2:
    with torch.device("meta"):
        return MindEye2(ModelConfig.from_dict(config["model"]), config["voxels"])


def _count(part: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in part.parameters())
