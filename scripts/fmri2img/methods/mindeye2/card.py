"""MindEye2's part of the method card: its parts and their sizes, its epoch, and the defects it reproduces."""

import pandas as pd
import torch
from torch import nn

from fmri2img.methods.known_defects import defects_table
from fmri2img.methods.mindeye2.known_defects import KNOWN_DEFECTS
from fmri2img.methods.mindeye2.network import MindEye2
from fmri2img.methods.mindeye2.settings import ModelConfig

PARTS = ("backbone's blocks", "map to tokens", "projector", "low-level head", "diffusion prior")
EPOCH = (
    "As many samples as the longest budget of a training subject has trials (trials of a session times sessions, test "
    "images counted), rounded down to whole steps. A batch holds equally many samples of each subject, so all subjects "
    "of a pretraining together see in an epoch as many samples as one of them has trials."
)
BACKBONES = {
    "as_released": (
        "As released. At sequence length 1, the only one that was released, its {blocks} blocks are the identity plus "
        "a scalar, and {idle} of their parameters never act. Everything before the diffusion prior is one affine map "
        "of a subject's betas."
    ),
    "residual_mlp": (
        "A residual MLP of {blocks} blocks, x + Linear(Dropout(GELU(Linear(LayerNorm(x))))): what the paper describes "
        "and not what was released."
    ),
}


def card(config: dict, published: bool, networks: list[dict]) -> dict:
    """See reporting.cards.card_of."""
    facts = network_facts(networks) if networks else {}
    return {
        "network": facts,
        "epoch": EPOCH,
        "known_defects": known_defects(config, published),
    }


def network_facts(networks: list[dict]) -> dict[str, str]:
    """Item -> text about the parts of the networks; of several networks of a subject, the last one counts."""
    of_subject = {subject: network for network in networks for subject in network["voxels"]}
    first = next(iter(of_subject.values()))
    model = ModelConfig.read(first["model"], "config.json", "model")
    idle = idle_parameters(first)
    facts = {
        "backbone": BACKBONES[model.backbone].format(blocks=model.blocks, idle=f"{idle:,}"),
        "shared latent": f"{model.hidden:,} entries",
    }
    totals = []
    for subject, network in of_subject.items():
        counts = parameters_by_part(network)
        totals.append(sum(counts.values()))
        facts[f"adapter of {subject}"] = f"{counts[subject]:,} parameters ({network['voxels'][subject]:,} voxels)"
    counts = parameters_by_part(first)
    facts |= {part: f"{counts[part]:,} parameters" if part in counts else "none" for part in PARTS}
    span = "–".join(dict.fromkeys(f"{total:,}" for total in (min(totals), max(totals))))
    facts["all parts, one subject"] = f"{span} parameters" + (f", {idle:,} of which never act" if idle else "")
    return facts


def parameters_by_part(network: dict) -> dict[str, int]:
    """Parameters of a stored network: an entry for each subject's adapter, by the subject's name, then PARTS.

    network: its config.json. Parts that the network lacks are left out. Parameters are counted from the configuration
    on a device without memory, so that no weights are read.
    """
    model = _empty(network)
    parts = (model.backbone.blocks, model.backbone.to_tokens, model.projector, model.low_level, model.prior)
    counts = {subject: _count(adapter) for subject, adapter in model.adapters.items()}
    return counts | {name: _count(part) for name, part in zip(PARTS, parts, strict=True) if part is not None}


def idle_parameters(network: dict) -> int:
    """Parameters that no output depends on: of the released blocks, the wide ones and the sequence blocks' norm scales.

    (A normalisation over one entry returns its bias, whatever its scale.)
    """
    model = _empty(network)
    if model.config.backbone != "as_released":
        return 0
    blocks = model.backbone.blocks
    return _count(blocks.wide) + sum(block[0].weight.numel() for block in blocks.sequence)


def _empty(network: dict) -> MindEye2:
    with torch.device("meta"):
        return MindEye2(ModelConfig.read(network["model"], "config.json", "model"), network["voxels"])


def _count(part: nn.Module) -> int:
    return sum(parameter.numel() for parameter in part.parameters())


def known_defects(config: dict, published: bool = False) -> pd.DataFrame:
    """One row per defect of the released code; see methods.known_defects.defects_table."""
    return defects_table(KNOWN_DEFECTS, "mindeye2", config, published)
