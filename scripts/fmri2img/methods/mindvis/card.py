"""MinD-Vis's part of the method card: its parts and their sizes, its epoch, and the defects it reproduces."""

import torch
from torch import nn

from fmri2img.methods.known_defects import defects_table
from fmri2img.methods.mindvis.known_defects import KNOWN_DEFECTS
from fmri2img.methods.mindvis.masked import BrainEncoder, MaskedAutoencoder
from fmri2img.methods.mindvis.network import CONTEXT
from fmri2img.methods.mindvis.settings import ModelConfig

EPOCH = "Each single training trial once, rounded down to whole steps."
DEVIATIONS = {
    "stage A": (
        "The learning rate follows a half cosine over the whole training, times the warm-up, to a fiftieth of its "
        "peak. The target subject's own training trials are not part of it."
    ),
    "betas": (
        "Z-scored voxel by voxel, or over all voxels of the training trials where the data set's `betas.normalise` is "
        "global."
    ),
}
PUBLISHED_SAMPLES = 5


def card(config: dict, published: bool, networks: list[dict]) -> dict:
    """See reporting.cards.card_of."""
    return {
        "network": network_facts(networks) if networks else {},
        "deviations": DEVIATIONS | _of_this_study(config["mindvis"], published),
        "epoch": EPOCH,
        "known_defects": defects_table(KNOWN_DEFECTS, "mindvis", _switches(config), published),
    }


def _of_this_study(own: dict, published: bool) -> dict[str, str]:
    """Deviations that the study's settings make. published: whether the network is a published one."""
    found, spread, samples = {}, own["context_spread"], own["decoding"]["samples"]
    if spread is not None and not published:
        found["start of stage B"] = (
            f"The context is rescaled so that its standard deviation over training trials is {spread:g}. That of "
            "random weights, with which the published training starts, is small (0.07 in the demo). A training that is "
            "much shorter does not raise it enough, and its pictures then hardly depend on the brain."
        )
    if samples != PUBLISHED_SAMPLES:
        found["samples"] = f"Pictures drawn and scored of each image: {samples}; published: {PUBLISHED_SAMPLES}."
    return found


def _switches(config: dict) -> dict:
    """The configuration with `set` for a switch that is a section."""
    own = config["mindvis"]
    switches = {key: "set" if own["finetuning"][key] else None for key in ("select_on_test", "tune_on_test")}
    return {"mindvis": own | {"finetuning": own["finetuning"] | switches}}


def network_facts(networks: list[dict]) -> dict[str, str]:
    """Item -> text about the parts of the networks, each a config.json; of several networks of a subject, the last."""
    of_subject = {subject: network for network in networks for subject in network["voxels"]}
    facts = {}
    for subject, network in of_subject.items():
        config, patches = ModelConfig.read(network["model"], "config.json", "model"), network["patches"]
        with torch.device("meta"):
            encoder = _count(BrainEncoder(config.encoder, patches))
            decoder = _count(MaskedAutoencoder(config, patches)) - encoder
        mapped = patches * (patches // 2) + patches // 2 + (patches // 2) * CONTEXT + CONTEXT
        facts["encoder"] = f"{config.depth} blocks of width {config.width}"
        facts[f"encoder of {subject}"] = (
            f"{encoder:,} parameters ({network['voxels'][subject]:,} voxels, {patches} patches)"
        )
        facts["decoder of masked modelling"] = f"{decoder:,} parameters, not used afterwards"
        facts[f"map of patches of {subject}"] = f"{mapped:,} parameters ({patches} to {patches // 2} to {CONTEXT})"
    facts["trained of the generator"] = "cross-attention and the norms before it"
    return facts


def _count(part: nn.Module) -> int:
    return sum(parameter.numel() for parameter in part.parameters() if parameter.requires_grad)
