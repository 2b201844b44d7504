"""Import of the checkpoints that the authors of MindEye1 published, of subject 1.

    prior_257_...   BrainDiffusionPrior: `voxel2clip` (high-level network), `net` (the prior's network) and
                    `noise_scheduler` (tables of its schedule)
    autoencoder_... Voxel2StableDiffusionModel: the low-level network, without prefix
    prior_1x768_... as the first, for CLIP's final 768 numbers, with the prior of DALL-E 2 in place of the authors' own;
                    only its `voxel2clip` is used, for retrieval

The sizes of the networks follow from the shapes of the weights; all weights must be there, and nothing else. The
low-level network's attention has the names of diffusers 0.13, with which it was trained, or those of later releases.
"""

import math
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from fmri2img.errors import UserError
from fmri2img.methods.mindeye1.network import HighLevel, LowLevel, MindEye1
from fmri2img.methods.mindeye1.settings import HighLevelConfig, LowLevelConfig
from fmri2img.networks import published, storage
from fmri2img.networks.prior import PriorNetwork
from fmri2img.networks.settings import PriorConfig

WHAT = "MindEye1"
VOXEL2CLIP = "voxel2clip."
MIDDLE = "upsampler.mid_block.attentions.0."
EARLIER_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}  # of diffusers 0.13


def import_high_level(path: str | Path) -> tuple[HighLevelConfig, HighLevel, PriorNetwork]:
    """The high-level network and the prior of a published checkpoint, float32, in evaluation mode on the CPU.

    Raises UserError naming the file, and the keys that are missing, unexpected, or of an unexpected shape or value.
    """
    return high_level_of(published.read_published(Path(path), WHAT), str(path))


def high_level_of(state: dict[str, Tensor], path: str) -> tuple[HighLevelConfig, HighLevel, PriorNetwork]:
    """As `import_high_level`, of the named weights themselves; path: what errors name."""
    prior_config, prior = published.prior_of(state, "", path, WHAT)
    try:
        width = _size(state, f"{VOXEL2CLIP}projector.0.weight", path=path)
        config = HighLevelConfig.read(
            _trunk_sizes(state, VOXEL2CLIP, path)
            | {
                "tokens": max(1, _size(state, f"{VOXEL2CLIP}lin1.bias", path=path) // width),
                "token_width": width,
                "projector": _size(state, f"{VOXEL2CLIP}projector.2.bias", path=path),
                "prior": prior_config.to_dict(),
                "token_scale": math.sqrt(width),
            },
            path,
            "model",
        )
        voxels = _size(state, f"{VOXEL2CLIP}lin0.0.weight", -1, path)
    except KeyError as missing:
        raise published.mismatch(path, WHAT, [missing.args[0]], [], []) from None
    with torch.device("meta"):
        network = HighLevel(config, voxels)
    published.check_keys(path, WHAT, state, high_level_shapes(network, prior, config.prior))
    own = {name: state[VOXEL2CLIP + name].float() for name in network.state_dict()}
    storage.fill(network, own, path)
    return config, network, prior


def high_level_shapes(network: HighLevel, prior: PriorNetwork, config: PriorConfig) -> dict[str, tuple[int, ...]]:
    """Published name -> shape of everything that the checkpoint of a high-level network holds."""
    shapes = {VOXEL2CLIP + name: tuple(values.shape) for name, values in network.state_dict().items()}
    shapes |= {published.published_prior_name(name): tuple(v.shape) for name, v in prior.state_dict().items()}
    return shapes | published.prior_constants(config)


def import_low_level(path: str | Path) -> tuple[LowLevelConfig, LowLevel]:
    """The low-level network of a published checkpoint; see `import_high_level`."""
    return low_level_of(published.read_published(Path(path), WHAT), str(path))


def low_level_of(state: dict[str, Tensor], path: str) -> tuple[LowLevelConfig, LowLevel]:
    """As `import_low_level`, of the named weights themselves; path: what errors name."""
    state = {later_name(key): value for key, value in state.items()}
    up = "upsampler.up_blocks."
    blocks = published.numbered(state, r"upsampler\.up_blocks\.(\d+)\.")
    with_maps = any(key.startswith("maps_projector.") for key in state)
    try:
        seed_channels = _size(state, "norm.weight", path=path)
        side = math.isqrt(_size(state, "lin1.weight", path=path) // seed_channels)
        config = LowLevelConfig.read(
            _trunk_sizes(state, "", path)
            | {
                "seed_channels": seed_channels,
                "channels": [
                    _size(state, f"{up}{block}.resnets.0.conv2.bias", path=path) for block in reversed(range(blocks))
                ],
                "layers": published.numbered(state, r"upsampler\.up_blocks\.0\.resnets\.(\d+)\.") - 1,
                "latent_channels": _size(state, "upsampler.conv_out.bias", path=path),
                "latent_side": side * 2 ** max(blocks - 1, 0),
                "maps_width": _size(state, "maps_projector.6.bias", path=path) if with_maps else None,
            },
            path,
            "model",
        )
        voxels = _size(state, "lin0.0.weight", -1, path)
    except KeyError as missing:
        raise published.mismatch(path, WHAT, [missing.args[0]], [], []) from None
    with torch.device("meta"):
        network = LowLevel(config, voxels)
    published.check_keys(path, WHAT, state, _shapes(network))
    storage.fill(network, {name: value.float() for name, value in state.items()}, path)
    return config, network


def later_name(key: str) -> str:
    """The name that later releases of diffusers give a weight of the low-level network's attention."""
    name, _, part = key.removeprefix(MIDDLE).rpartition(".")
    return f"{MIDDLE}{EARLIER_NAMES[name]}.{part}" if key.startswith(MIDDLE) and name in EARLIER_NAMES else key


def import_model(high_level: str | Path, low_level: str | Path | None) -> MindEye1:
    """Both networks in one model. Raises UserError also where they are of different numbers of voxels."""
    config, network, prior = import_high_level(high_level)
    low_config, low_network = import_low_level(low_level) if low_level else (None, None)
    voxels = network.lin0[0].in_features
    if low_network is not None and low_network.lin0[0].in_features != voxels:
        raise UserError(
            f"{low_level}: is for {low_network.lin0[0].in_features} voxels, {high_level} for {voxels}; give two "
            "checkpoints of one subject"
        )
    with torch.device("meta"):
        model = MindEye1(config, low_config, voxels)
    model.voxel2clip, model.prior, model.voxel2sd = network, prior, low_network
    return model.eval()


def import_final_layer(path: str | Path) -> nn.Module:
    """The `voxel2clip` of the checkpoint for CLIP's final layer: betas -> (vectors, vectors for retrieval).

    Its prior is DALL-E 2's own network (dalle2-pytorch), for which there is no use without the service that searched
    LAION-5B: its weights are accounted for by name and left out.
    """
    state = published.read_published(Path(path), WHAT)
    own = {key.removeprefix(VOXEL2CLIP): value for key, value in state.items() if key.startswith(VOXEL2CLIP)}
    unknown = [key for key in state if not key.startswith(VOXEL2CLIP) and not re.fullmatch(FINAL_LAYER_PRIOR, key)]
    try:
        width = _size(own, "projector.0.weight", path=str(path))
        sizes = _trunk_sizes(own, "", str(path)) | {"tokens": 1, "token_width": width}
        config = HighLevelConfig.read(sizes | {"projector": _size(own, "projector.2.bias", path=str(path))}, str(path))
        voxels = _size(own, "lin0.0.weight", -1, str(path))
    except KeyError as missing:
        raise published.mismatch(path, WHAT, [VOXEL2CLIP + missing.args[0]], unknown, []) from None
    with torch.device("meta"):
        network = HighLevel(config, voxels)
    shapes = {VOXEL2CLIP + name: shape for name, shape in _shapes(network).items()}
    known = {key: value for key, value in state.items() if key.startswith(VOXEL2CLIP) or key in unknown}
    published.check_keys(path, WHAT, known, shapes)
    storage.fill(network, {name: value.float() for name, value in own.items()}, str(path))
    return network


# Names of the weights of DALL-E 2's prior, as far as the importer leaves them out.
FINAL_LAYER_PRIOR = (
    r"net\.(to_text_embeds|to_time_embeds|to_image_embeds)\..*|"
    r"net\.(learned_query|null_text_encodings|null_text_embeds|null_image_embed)|"
    r"net\.causal_transformer\.(rel_pos_bias\.relative_attention_bias\.weight|project_out\.weight|norm\.g|init_norm\.g)|"
    r"net\.causal_transformer\.layers\.\d+\.0\.(null_kv|norm\.g|to_q\.weight|to_kv\.weight|rotary_emb\.freqs)|"
    r"net\.causal_transformer\.layers\.\d+\.0\.(to_out\.0\.weight|to_out\.1\.g)|"
    r"net\.causal_transformer\.layers\.\d+\.1\.(0\.g|1\.weight|3\.g|5\.weight)|"
    r"noise_scheduler\.(" + "|".join(published.SCHEDULE_TABLES) + r")"
)


def _trunk_sizes(state: dict[str, Tensor], prefix: str, path: str) -> dict:
    return {
        "hidden": _size(state, f"{prefix}lin0.0.weight", path=path),
        "blocks": published.numbered(state, re.escape(prefix) + r"mlp\.(\d+)\."),
    }


def _shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(values.shape) for name, values in network.state_dict().items()}


def _size(state: dict[str, Tensor], key: str, axis: int = 0, path: str = "") -> int:
    """Length of a weight along an axis. Raises KeyError(key) for one that is missing."""
    if not state[key].ndim:
        raise published.mismatch(path, WHAT, [], [], [f"{key} ()"])
    return state[key].shape[axis]
