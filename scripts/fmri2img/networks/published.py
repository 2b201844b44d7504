"""Checkpoints that the authors of a decoder published: reading, accounting for every key, and the prior's names.

Files are read without running the code that a pickle may hold; objects of DeepSpeed that are stored with the weights
are left out.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from fmri2img.errors import UserError
from fmri2img.networks.prior import PriorNetwork, cosine_betas
from fmri2img.networks.settings import PriorConfig
from fmri2img.networks.storage import fill
from fmri2img.tensors import read_checkpoint

# Our names of a prior's weights -> the published names (dalle2-pytorch), applied in this order.
PRIOR_NAMES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^time\.mlp\.0\.", "net.to_time_embeds.0.1.net.0.0."),
        (r"^time\.mlp\.2\.", "net.to_time_embeds.0.1.net.1.0."),
        (r"^time\.mlp\.4\.", "net.to_time_embeds.0.1.net.2."),
        (r"^position$", "net.learned_query"),
        (r"^null_brain$", "net.null_brain_embeds"),
        (r"^null_image$", "net.null_image_embed"),
        (r"^(?!net\.)", "net.causal_transformer."),
        (r"\.relative_position_bias\.", ".rel_pos_bias.relative_attention_bias."),
        (r"\.rotary_frequencies$", ".layers.0.0.rotary_emb.freqs"),
        (r"\.attention\.null_key_value$", ".0.null_kv"),
        (r"\.attention\.to_query\.", ".0.to_q."),
        (r"\.attention\.to_key_value\.", ".0.to_kv."),
        (r"\.attention\.to_out\.", ".0.to_out.0."),
        (r"\.attention\.out_norm\.", ".0.to_out.1."),
        (r"\.attention\.norm\.", ".0.norm."),
        (r"\.feedforward\.norm\.", ".1.0."),
        (r"\.feedforward\.to_hidden\.", ".1.1."),
        (r"\.feedforward\.to_out\.", ".1.5."),
        (r"^(net\.causal_transformer)\.to_out\.", r"\1.project_out."),
        (r"\.gain$", ".g"),
    )
]
TRANSFORMER = "net.causal_transformer."
SCHEDULE = "noise_scheduler."
DIFFUSION_TABLES = (  # that a published diffusion model keeps next to its weights
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
)
SCHEDULE_TABLES = (*DIFFUSION_TABLES, "p2_loss_weight")


def read_published(path: Path, what: str, left_out: tuple[str, ...] = ("deepspeed.",)) -> dict[str, Tensor]:
    """The named weights in a checkpoint of `what`, memory-mapped.

    Accepts what the published trainings save (weights under `model_state_dict` or `model`), the model states of
    DeepSpeed (under `module`), weights alone, and names that begin with `module.`. left_out: beginnings of the names of
    classes whose objects are ignored. Raises UserError naming the file.
    """
    record = read_checkpoint(path, "download it again", left_out=left_out)
    for wrapper in ("model_state_dict", "module", "model"):
        if isinstance(record, dict) and isinstance(record.get(wrapper), dict):
            record = record[wrapper]
    if not isinstance(record, dict) or not record or not all(isinstance(value, Tensor) for value in record.values()):
        raise UserError(f"{path}: holds no 'model_state_dict' of named weights; give a checkpoint of {what}")
    if all(key.startswith("module.") for key in record):
        record = {key.removeprefix("module."): value for key, value in record.items()}
    return dict(record)


def numbered(state: Mapping[str, Tensor], pattern: str) -> int:
    """One more than the largest number that `pattern` captures in the names."""
    found = [int(match[1]) for key in state if (match := re.match(pattern, key))]
    return max(found, default=-1) + 1


def template(key: str) -> str:
    """A name with its numbers left out."""
    return re.sub(r"\d+", "N", key)


def mismatch(path: str | Path, what: str, missing: list[str], unexpected: list[str], misshaped: list[str]) -> UserError:
    """The error of a file whose weights are not those of `what`."""

    def some(kind: str, keys: list[str]) -> list[str]:
        more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
        return [f"{kind} {', '.join(keys[:3])}{more}"] if keys else []

    found = some("missing", missing) + some("unexpected", unexpected) + some("of another shape:", misshaped)
    return UserError(
        f"{path}: not the weights of a {what} checkpoint: {'; '.join(found)}; download a checkpoint of {what} again"
    )


def check_keys(path: str | Path, what: str, state: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise UserError unless the weights have exactly these names and shapes."""
    missing = [key for key in shapes if key not in state]
    unexpected = [key for key in state if key not in shapes]
    misshaped = [
        f"{key} {tuple(state[key].shape)} instead of {shape}"
        for key, shape in shapes.items()
        if key in state and tuple(state[key].shape) != shape
    ]
    if missing or unexpected or misshaped:
        raise mismatch(path, what, missing, unexpected, misshaped)


def published_prior_name(name: str) -> str:
    """The published name of a weight of prior.PriorNetwork."""
    for pattern, replacement in PRIOR_NAMES:
        name = pattern.sub(replacement, name)
    return name


def prior_sizes(state: Mapping[str, Tensor], prefix: str, width: int) -> dict[str, int]:
    """Sizes of PriorConfig that the shapes of a published prior imply.

    prefix: of its names; width: of a token. Raises KeyError(key) when a weight they follow from is missing.
    """
    transformer = prefix + TRANSFORMER

    def size(key: str, axis: int) -> int:
        return state[key].shape[axis] if state[key].ndim else 1

    return dict(
        depth=numbered(state, re.escape(transformer) + r"layers\.(\d+)\."),
        heads=size(transformer + "rel_pos_bias.relative_attention_bias.weight", -1),
        head_width=size(transformer + "layers.0.0.null_kv", -1),
        feedforward=max(1, size(transformer + "layers.0.1.5.weight", -1) // width),
        timesteps=size(prefix + SCHEDULE + "betas", 0),
        rotary_width=2 * size(transformer + "layers.0.0.rotary_emb.freqs", 0),
    )


def _rotary(config: PriorConfig) -> list[str]:
    """Published names of the rotations' frequencies, which every layer repeats."""
    return [f"{TRANSFORMER}layers.{layer}.0.rotary_emb.freqs" for layer in range(config.depth)]


def prior_constants(config: PriorConfig) -> dict[str, tuple[int, ...]]:
    """Name -> shape of what a published prior holds besides its weights: tables of the schedule, and rotations."""
    tables = {SCHEDULE + table: (config.timesteps,) for table in SCHEDULE_TABLES}
    return tables | dict.fromkeys(_rotary(config), (config.rotated // 2,))


def check_prior_constants(path: str | Path, state: Mapping[str, Tensor], prefix: str, config: PriorConfig) -> None:
    """Raise UserError when the noise schedule, or the rotation in some layer, is not what our prior computes."""
    betas = cosine_betas(config.timesteps)
    kept = torch.cumprod(1 - betas, dim=0)
    frequencies = 10000 ** (-torch.arange(0, config.rotated, 2) / config.rotated)
    known = {SCHEDULE + "betas": betas, SCHEDULE + "alphas_cumprod": kept}
    for key, value in (known | dict.fromkeys(_rotary(config), frequencies)).items():
        if not torch.allclose(state[prefix + key].double(), value.double(), rtol=1e-2, atol=1e-4):
            raise UserError(
                f"{path}: {prefix + key} differs from the published model's; a prior trained so is not supported"
            )


def prior_of(state: Mapping[str, Tensor], prefix: str, path: str, what: str) -> tuple[PriorConfig, PriorNetwork]:
    """The diffusion prior in a published checkpoint, float32, in evaluation mode; its sizes follow from the shapes.

    prefix: of its names, before `net.` and `noise_scheduler.`; path, what: what errors name. Raises UserError naming
    the keys that are missing, unexpected, or of an unexpected shape or value; keys outside of the prior are left alone.
    """
    own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    own = {key: value for key, value in own.items() if key.startswith(("net.", SCHEDULE))}
    try:
        tokens, width = own["net.null_brain_embeds"].shape
        config = PriorConfig.read(prior_sizes(own, "", width), path, "model.prior")
    except KeyError as missing:
        raise mismatch(path, what, [prefix + missing.args[0]], [], []) from None
    with torch.device("meta"):
        prior = PriorNetwork(config, tokens, width)
    names = {published_prior_name(name): name for name in prior.state_dict()}
    shapes = {there: tuple(prior.state_dict()[name].shape) for there, name in names.items()}
    check_keys(path, what, own, shapes | prior_constants(config))
    check_prior_constants(path, own, "", config)
    fill(prior, {name: own[there].float() for there, name in names.items()}, path)
    return config, prior
