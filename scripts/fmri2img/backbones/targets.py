"""Values of the stimuli that decoders have as targets, and the frozen networks that give them.

    tokens    image tokens                          <results>/embeddings/<network>
    latents   latents of pictures of one size       <results>/latents/<network>/<size>px
    texts     states of captions, their mean        <results>/texts/<network>

A kind of network that gives such values is a row of TARGETS. The module is light, because every reading of the workflow
imports it; loaders are named and imported by the jobs.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fmri2img.artifacts.axes import ALL, EACH
from fmri2img.backbones.registry import BROUGHT, Backbone, expect_kind
from fmri2img.backbones.vdvae_layout import latent_sizes


@dataclass(frozen=True)
class Source:
    """How networks of one kind give a target.

    loader: "module:function", Backbone -> object; None where the dataset brings the values. Of tokens it has
    encode_images(images) -> (tokens, pooled or None); of texts encode(sentences) -> Prompt, whose states are the
    target; of latents encode_stimuli(images, size, noise) -> float32 (images, tokens, width), axes(size) -> Axes and
    facts, a dictionary for the metadata. images: uint8 (images, height, width, 3); noise(*shapes): standard normal
    numbers of these shapes for each image. groups: names of axes and runs along which a penalty can be chosen.
    values: (entry of the registry, side of a picture in pixels) -> values of one image, roughly, for the estimate of
    disk space.
    """

    loader: str | None
    groups: tuple[str, ...]
    values: Callable[[dict, int | None], int]


def _tokens(record: dict, side: int | None) -> int:
    return int(record.get("tokens", 0) * record.get("token_width", 0))


def _states(width: int) -> Callable[[dict, int | None], int]:
    """States of CLIP's 77 text tokens."""
    return lambda record, side: 77 * width


def _map(record: dict, side: int | None) -> int:
    """Latents of Stable Diffusion's autoencoder: 4 channels at an eighth of the side."""
    return 4 * ((side or 0) // 8) ** 2


def _levels(record: dict, side: int | None) -> int:
    return sum(latent_sizes(record))


TOKEN, MAP = ("token", "dimension"), ("channel", "row", "column")
TARGETS: dict[str, dict[str, Source]] = {
    "tokens": {
        "open_clip": Source("fmri2img.backbones.encoders:load_encoder", TOKEN, _tokens),
        "clip_projected": Source("fmri2img.backbones.encoders:load_encoder", TOKEN, _tokens),
        "git": Source("fmri2img.backbones.captioners:load_captioner_encoder", TOKEN, _tokens),
        "blip": Source("fmri2img.backbones.captioners:load_captioner_encoder", TOKEN, _tokens),
        BROUGHT: Source(None, TOKEN, _tokens),
    },
    "latents": {
        "diffusers_vae": Source("fmri2img.backbones.autoencoders:load_autoencoder", MAP, _map),
        "vdvae": Source("fmri2img.backbones.vdvae:load_vdvae", ("level",), _levels),
    },
    "texts": {
        "open_clip": Source("fmri2img.backbones.prompts:load_prompts", TOKEN, _states(768)),
        "clip_projected": Source("fmri2img.backbones.prompts:load_prompts", TOKEN, _states(768)),
        "clip_text": Source("fmri2img.backbones.prompts:load_prompts", TOKEN, _states(768)),
        "sdxl_text": Source("fmri2img.backbones.prompts:load_prompts", TOKEN, _states(768 + 1280)),
    },
}


def groupings(target: str, kind: str) -> tuple[str, ...]:
    """Groups of values that a penalty can be chosen for."""
    return (ALL, EACH, *TARGETS[target][kind].groups)


def target_path(target: str, network: str, size: int | None = None) -> str:
    """The Embeddings of a target, below <results>."""
    if target == "latents":
        return f"latents/{network}/{size}px"
    return f"{'embeddings' if target == 'tokens' else target}/{network}"


def load_target(target: str, backbone: Backbone) -> Any:
    """Load the network that gives a target. Raises UserError for one of another kind, and as its loader does."""
    loaders = {kind: source.loader for kind, source in TARGETS[target].items() if source.loader}
    expect_kind(backbone, *loaders)
    module, _, function = loaders[backbone.kind].partition(":")
    return getattr(importlib.import_module(module), function)(backbone)
