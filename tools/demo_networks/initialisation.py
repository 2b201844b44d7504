"""A text-to-image UNet becomes one that is conditioned on image tokens: the first weights of an unCLIP generator.

As for MindEye2's SDXL unCLIP (its configuration unclip6): every tensor is the text-to-image network's, except the keys
and values of the cross-attentions, which are drawn again because the tokens have another width and another meaning, and
the first weight of the vector condition, of which the columns of four sizes stay.
"""

import math
import re

import torch
from diffusers import UNet2DConditionModel
from torch import nn

from fmri2img.errors import UserError

FRESH = re.compile(r"\.attn2\.to_[kv]\.weight$")
VECTOR = "add_embedding.linear_1.weight"
SIZES = 4  # original height and width, crop top and left
SIZES_OF_SDXL = 6  # and the target's height and width
COLUMNS = ("sizes", "released")


def size_columns(total: int, code: int, which: str) -> slice:
    """Which columns of a vector condition of width `total` (each size in `code` values) are kept.

    SDXL's vector is: pooled text (1280), original size (512), crop (512), target size (512). "sizes": the original
    size's and the crop's, 1280 to 2303, which mean in the new network what they meant in the old. "released": the
    first 1024, as MindEye2's configuration slices them (":, :1024"); they belonged to the pooled text, so the size
    embedding starts without meaning. Without a pooled text and a target size the two are the same.
    """
    kept = SIZES * code
    if which == "released" or total == kept:
        return slice(0, kept)
    first = total - SIZES_OF_SDXL * code
    if first < 0:
        raise UserError(
            f"start: the network's vector condition has {total} columns, neither {SIZES} sizes of {code} nor "
            f"{SIZES_OF_SDXL} behind a pooled text; start from a network of the SDXL kind"
        )
    return slice(first, first + kept)


def initialise_from(
    base: UNet2DConditionModel, context_width: int, columns: str = "sizes", sample_size: int | None = None
) -> UNet2DConditionModel:
    """UNet for tokens of `context_width`, begun with the weights of the text-to-image network `base`.

    columns: see `size_columns`. sample_size: side of the latents that will be drawn, the base's own if not given.
    The new keys and values are drawn from torch's global generator as nn.Linear draws its weights. All other tensors
    are shared with `base`, which must not be used any more. Raises UserError when `base` has no size conditioning.
    """
    config = base.config
    if config.addition_embed_type != "text_time" or columns not in COLUMNS:
        raise UserError(
            "start: the network must be of the SDXL kind (addition_embed_type text_time) and size_columns one of "
            f"{', '.join(COLUMNS)}; choose another network or correct the key"
        )
    code = config.addition_time_embed_dim
    changed = {
        "cross_attention_dim": context_width,
        "projection_class_embeddings_input_dim": SIZES * code,
        "sample_size": sample_size or config.sample_size,
    }
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(dict(config) | changed)
    tensors = dict(base.state_dict())
    for name, expected in unet.state_dict().items():
        if FRESH.search(name):
            tensors[name] = torch.empty(expected.shape, dtype=tensors[name].dtype, device=tensors[name].device)
            nn.init.kaiming_uniform_(tensors[name], a=math.sqrt(5))
    vector = tensors[VECTOR]
    tensors[VECTOR] = vector[:, size_columns(vector.shape[1], code, columns)].clone()
    unet.load_state_dict(tensors, strict=True, assign=True)
    return unet
