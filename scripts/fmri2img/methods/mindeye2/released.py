"""Import of the checkpoints that the authors of MindEye2 published (`last.pth`).

A checkpoint holds, by the published names, `ridge.linears.N` (subject adapters, in the order of training),
`backbone` (blocks, projector and low-level head) and `diffusion_prior` (network, and the tables of its noise schedule).
The sizes of the model follow from the shapes of the weights; all weights must be there, and nothing else.

It accepts the dictionary that the published training saves (weights under `model_state_dict`), the model states of
DeepSpeed (under `module`), what DeepSpeed's zero_to_fp32.py makes of its shards (the weights alone), and names that
begin with `module.`, in any float type.
"""

import math
import re
from pathlib import Path

import torch
from torch import Tensor

from fmri2img.errors import UserError
from fmri2img.methods.mindeye2.network import MindEye2, assemble
from fmri2img.methods.mindeye2.settings import LowLevelConfig, ModelConfig
from fmri2img.networks import published
from fmri2img.networks.settings import PriorConfig

# Our names -> the published names, applied in this order.
PUBLISHED_NAMES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^backbone\.blocks\.(wide|sequence)\.(\d+)\.1\.", r"backbone.blocks.\1.\2.1.0."),
        (r"^backbone\.blocks\.(wide|sequence)\.(\d+)\.4\.", r"backbone.blocks.\1.\2.1.3."),
        (r"^backbone\.blocks\.wide\.", "backbone.mixer_blocks1."),
        (r"^backbone\.blocks\.sequence\.", "backbone.mixer_blocks2."),
        (r"^backbone\.to_tokens\.", "backbone.backbone_linear."),
        (r"^projector\.", "backbone.clip_proj."),
        (r"^low_level\.seed\.", "backbone.blin1."),
        (r"^low_level\.norm\.", "backbone.bnorm."),
        (r"^low_level\.upsampler\.", "backbone.bupsampler."),
        (r"^low_level\.maps\.", "backbone.b_maps_projector."),
    )
]
PRIOR = "diffusion_prior."
LOW_LEVEL = ("backbone.blin1.", "backbone.bnorm.", "backbone.bupsampler.", "backbone.b_maps_projector.")
WHAT = "MindEye2"


def import_checkpoint(path: str | Path, subjects: list[str]) -> MindEye2:
    """The model of a published checkpoint, float32, in evaluation mode on the CPU; its sizes are in `.config`.

    subjects: names of the checkpoint's ridge layers, in order; a fine-tuned model has one, a pretrained one seven.
    Raises UserError naming the file, and the keys that are missing, unexpected, or of an unexpected shape or value.
    """
    state = published.read_published(Path(path), WHAT)
    known = _templates()
    unknown = [key for key in state if published.template(key) not in known]
    try:
        config, voxels = _configuration(state, subjects, str(path))
    except KeyError as missing:
        raise published.mismatch(path, WHAT, [missing.args[0]], unknown, []) from None

    with torch.device("meta"):
        expected = MindEye2(config, voxels).state_dict()
    names = {published_name(name, subjects): name for name in expected}
    shapes = {there: tuple(expected[name].shape) for there, name in names.items()}
    if config.prior:
        shapes |= {PRIOR + key: shape for key, shape in published.prior_constants(config.prior).items()}
    published.check_keys(path, WHAT, state, shapes)
    if config.prior:
        published.check_prior_constants(path, state, PRIOR, config.prior)
    return assemble(config, voxels, {name: state[there].float() for there, name in names.items()}, str(path))


def published_name(name: str, subjects: list[str]) -> str:
    """The published name of one of our weights."""
    if name.startswith("adapters."):
        subject, parameter = name.removeprefix("adapters.").rsplit(".", 1)
        return f"ridge.linears.{subjects.index(subject)}.{parameter}"
    if name.startswith("prior."):
        return PRIOR + published.published_prior_name(name.removeprefix("prior."))
    for pattern, replacement in PUBLISHED_NAMES:
        name = pattern.sub(replacement, name)
    return name


def _templates() -> set[str]:
    """The published names of all weights a model can have, numbers left out."""
    config = ModelConfig(
        hidden=4, backbone="as_released", tokens=2, token_width=4, low_level=LowLevelConfig(), prior=PriorConfig()
    )
    with torch.device("meta"):
        names = MindEye2(config, {"subject": 2}).state_dict()
    weights = [published_name(name, ["subject"]) for name in names]
    constants = [PRIOR + key for key in published.prior_constants(PriorConfig())]
    return {published.template(key) for key in (*weights, *constants)}


def _configuration(state: dict[str, Tensor], subjects: list[str], path: str) -> tuple[ModelConfig, dict[str, int]]:
    """Sizes and voxels that the shapes imply. Raises KeyError(key) when a weight they follow from is missing."""

    def size(key: str, axis: int = 0) -> int:
        if not state[key].shape:
            raise published.mismatch(path, WHAT, [], [], [f"{key} ()"])
        return state[key].shape[axis]

    ridges = published.numbered(state, r"ridge\.linears\.(\d+)\.")
    if ridges != len(subjects):
        given = f"{len(subjects)} ({', '.join(subjects)})"
        raise UserError(f"{path}: holds {ridges} ridge layers, --subjects names {given}; name one subject per layer")
    if len(set(subjects)) != len(subjects):
        raise UserError(f"--subjects: {', '.join(subjects)} names a subject twice")
    voxels = {subject: size(f"ridge.linears.{i}.weight", -1) for i, subject in enumerate(subjects)}
    token_width = size("backbone.clip_proj.0.weight")

    low_level = None
    if any(key.startswith(LOW_LEVEL) for key in state):
        blocks = published.numbered(state, r"backbone\.bupsampler\.up_blocks\.(\d+)\.")
        seed_channels = size("backbone.bnorm.weight")
        side = math.isqrt(size("backbone.blin1.bias") // seed_channels)
        up = "backbone.bupsampler.up_blocks."
        low_level = dict(
            latent_channels=size("backbone.bupsampler.conv_out.bias"),
            latent_side=side * 2 ** max(blocks - 1, 0),
            seed_channels=seed_channels,
            channels=tuple(size(f"{up}{block}.resnets.0.conv2.bias") for block in reversed(range(blocks))),
            layers=published.numbered(state, r"backbone\.bupsampler\.up_blocks\.0\.resnets\.(\d+)\.") - 1,
            maps_width=size("backbone.b_maps_projector.6.bias"),
        )
    prior = None
    if any(key.startswith(PRIOR) for key in state):
        prior = published.prior_sizes(state, PRIOR, token_width)
    record = dict(
        hidden=size("ridge.linears.0.bias"),
        backbone="as_released",
        tokens=max(1, size("backbone.backbone_linear.bias") // token_width),
        token_width=token_width,
        blocks=published.numbered(state, r"backbone\.mixer_blocks1\.(\d+)\."),
        low_level=low_level,
        prior=prior,
    )
    return ModelConfig.read(record, path, "model"), voxels
