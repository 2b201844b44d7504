"""MindEye1's part of the method card: its parts and their sizes, its epoch, and the defects it reproduces."""

from torch import nn

from fmri2img.methods.known_defects import defects_table
from fmri2img.methods.mindeye1.known_defects import KNOWN_DEFECTS
from fmri2img.methods.mindeye1.network import empty_model

EPOCH = (
    "As many samples of the high-level network as the subject has training images, rounded down to whole steps. A "
    "sample is an image at one of its presentations; all samples of a step are at the first, the second or the third. "
    "An image that was presented less often in the budget repeats those that there are."
)
DEVIATIONS = (
    "One training holds both networks, which share nothing; the low-level one has its own batch and learning rate, and "
    "as many samples as published in half the steps. Augmented images are cached views, where they are configured, and "
    "not drawn at each step. No weights are chosen by test images (the released code also used the last ones)."
)


def card(config: dict, published: bool, networks: list[dict]) -> dict:
    """See reporting.cards.card_of."""
    return {
        "network": network_facts(networks) if networks else {},
        "epoch": EPOCH,
        "known_defects": defects_table(KNOWN_DEFECTS, "mindeye1", config, published),
    }


def network_facts(networks: list[dict]) -> dict[str, str]:
    """Item -> text about the parts of the networks, each a config.json; of several networks of a subject, the last."""
    of_subject = {subject: network for network in networks for subject in network["voxels"]}
    facts = {"deviations": DEVIATIONS}
    for subject, network in of_subject.items():
        counts = parameters_by_part(network)
        facts[f"first layer of {subject}"] = (
            f"{counts.pop('first layer'):,} parameters ({network['voxels'][subject]:,} voxels)"
        )
        facts |= {part: f"{count:,} parameters" for part, count in counts.items()}
    return facts


def parameters_by_part(network: dict) -> dict[str, int]:
    """Part -> parameters of a stored network, counted from its config.json on a device without memory.

    The high-level network: first layer, residual blocks, map to tokens, projector; then diffusion prior and, where
    there is one, low-level network.
    """
    model = empty_model(network, "config.json")
    high = model.voxel2clip
    parts = {
        "first layer": high.lin0,
        "residual blocks": high.mlp,
        "map to tokens": high.lin1,
        "projector": high.projector,
        "diffusion prior": model.prior,
        "low-level network": model.voxel2sd,
    }
    return {name: _count(part) for name, part in parts.items() if part is not None}


def _count(part: nn.Module) -> int:
    return sum(parameter.numel() for parameter in part.parameters())
