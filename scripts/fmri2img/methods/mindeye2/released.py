"""Import of the checkpoints that the authors of MindEye2 published (`last.pth`).

A checkpoint holds, by the published names, `ridge.linears.N` (subject adapters, in the order of training),
`backbone` (blocks, projector and low-level head) and `diffusion_prior` (network, and the tables of its noise schedule).
The sizes of the model follow from the shapes of the weights; all weights must be there, and nothing else.

It accepts the dictionary that the published training saves (weights under `model_state_dict`), the model states of
DeepSpeed (under `module`), what DeepSpeed's zero_to_fp32.py makes of its shards (the weights alone), and names that
begin with `module.`, in any float type. Files are read without running the code that a pickle may hold; objects of
DeepSpeed that are stored with the weights are left out.
"""

import math
import pickle
import re
from pathlib import Path

import torch
from torch import Tensor

from fmri2img.errors import UserError
from fmri2img.methods.mindeye2.network import MindEye2, assemble
from fmri2img.methods.mindeye2.prior import cosine_betas
from fmri2img.methods.mindeye2.settings import LowLevelConfig, ModelConfig, PriorConfig

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
        (r"^prior\.time\.mlp\.0\.", "diffusion_prior.net.to_time_embeds.0.1.net.0.0."),
        (r"^prior\.time\.mlp\.2\.", "diffusion_prior.net.to_time_embeds.0.1.net.1.0."),
        (r"^prior\.time\.mlp\.4\.", "diffusion_prior.net.to_time_embeds.0.1.net.2."),
        (r"^prior\.position$", "diffusion_prior.net.learned_query"),
        (r"^prior\.null_brain$", "diffusion_prior.net.null_brain_embeds"),
        (r"^prior\.null_image$", "diffusion_prior.net.null_image_embed"),
        (r"^prior\.", "diffusion_prior.net.causal_transformer."),
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
        (r"^(diffusion_prior\.net\.causal_transformer)\.to_out\.", r"\1.project_out."),
        (r"\.gain$", ".g"),
    )
]
SCHEDULE = "diffusion_prior.noise_scheduler."
SCHEDULE_TABLES = (
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
    "p2_loss_weight",
)
LOW_LEVEL = ("backbone.blin1.", "backbone.bnorm.", "backbone.bupsampler.", "backbone.b_maps_projector.")
TRANSFORMER = "diffusion_prior.net.causal_transformer."


def import_checkpoint(path: str | Path, subjects: list[str]) -> MindEye2:
    """The model of a published checkpoint, float32, in evaluation mode on the CPU; its sizes are in `.config`.

    subjects: names of the checkpoint's ridge layers, in order; a fine-tuned model has one, a pretrained one seven.
    Raises UserError naming the file, and the keys that are missing, unexpected, or of an unexpected shape or value.
    """
    state = _read(Path(path))
    known = _templates()
    unknown = [key for key in state if _template(key) not in known]
    try:
        config, voxels = _configuration(state, subjects, str(path))
    except KeyError as missing:
        raise UserError(_mismatch(path, [missing.args[0]], unknown, [])) from None

    with torch.device("meta"):
        expected = MindEye2(config, voxels).state_dict()
    names = {published_name(name, subjects): name for name in expected}
    shapes = {published: tuple(expected[name].shape) for published, name in names.items()}
    if config.prior:
        shapes |= {SCHEDULE + table: (config.prior.timesteps,) for table in SCHEDULE_TABLES}
        rotary = [f"{TRANSFORMER}layers.{layer}.0.rotary_emb.freqs" for layer in range(config.prior.depth)]
        shapes |= {key: (config.prior.rotated // 2,) for key in rotary}
    missing = [key for key in shapes if key not in state]
    unexpected = [key for key in state if key not in shapes]
    misshaped = [
        f"{key} {tuple(state[key].shape)} instead of {shape}"
        for key, shape in shapes.items()
        if key in state and tuple(state[key].shape) != shape
    ]
    if missing or unexpected or misshaped:
        raise UserError(_mismatch(path, missing, unexpected, misshaped))
    if config.prior:
        _check_constants(state, config.prior, rotary, str(path))
    return assemble(config, voxels, {name: state[published].float() for published, name in names.items()}, str(path))


class LeftOut:
    """Placeholder for an object that is not loaded: accepts any arguments and state, and keeps nothing."""

    def __init__(self, *arguments) -> None:
        pass

    def __setstate__(self, state) -> None:
        pass


def _load(path: Path):
    """The file's content, memory-mapped, with `LeftOut` for objects of DeepSpeed, which need not be installed."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:
        found = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
        if not found or not all(name.startswith("deepspeed.") for name in found):
            raise
    with torch.serialization.safe_globals([(LeftOut, name) for name in found]):
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def _read(path: Path) -> dict[str, Tensor]:
    """The named weights in the file, memory-mapped."""
    try:
        record = _load(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except pickle.UnpicklingError:
        raise UserError(
            f"{path}: holds objects other than tensors and numbers, which are not loaded since they can run code; "
            "save its model_state_dict alone where the file is trusted, and import that"
        ) from None
    except (RuntimeError, ValueError, EOFError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: not a PyTorch checkpoint that can be read ({reason}); download it again") from None
    for wrapper in ("model_state_dict", "module"):
        if isinstance(record, dict) and isinstance(record.get(wrapper), dict):
            record = record[wrapper]
    if not isinstance(record, dict) or not record or not all(isinstance(value, Tensor) for value in record.values()):
        raise UserError(f"{path}: holds no 'model_state_dict' of named weights; give a last.pth of MindEye2")
    if all(key.startswith("module.") for key in record):
        record = {key.removeprefix("module."): value for key, value in record.items()}
    return dict(record)


def published_name(name: str, subjects: list[str]) -> str:
    """The published name of one of our weights."""
    if name.startswith("adapters."):
        subject, parameter = name.removeprefix("adapters.").rsplit(".", 1)
        return f"ridge.linears.{subjects.index(subject)}.{parameter}"
    for pattern, replacement in PUBLISHED_NAMES:
        name = pattern.sub(replacement, name)
    return name


def _template(key: str) -> str:
    return re.sub(r"\d+", "N", key)


def _templates() -> set[str]:
    """The published names of all weights a model can have, numbers left out."""
    config = ModelConfig(
        hidden=4, backbone="as_released", tokens=2, token_width=4, low_level=LowLevelConfig(), prior=PriorConfig()
    )
    with torch.device("meta"):
        names = MindEye2(config, {"subject": 2}).state_dict()
    published = [published_name(name, ["subject"]) for name in names]
    return {_template(key) for key in (*published, *(SCHEDULE + table for table in SCHEDULE_TABLES))}


def _configuration(state: dict[str, Tensor], subjects: list[str], path: str) -> tuple[ModelConfig, dict[str, int]]:
    """Sizes and voxels that the shapes imply. Raises KeyError(key) when a weight they follow from is missing."""

    def count(pattern: str) -> int:
        """One more than the largest number that `pattern` captures in the names."""
        found = [int(match[1]) for key in state if (match := re.match(pattern, key))]
        return max(found, default=-1) + 1

    def size(key: str, axis: int = 0) -> int:
        if not state[key].shape:
            raise UserError(_mismatch(path, [], [], [f"{key} ()"]))
        return state[key].shape[axis]

    ridges = count(r"ridge\.linears\.(\d+)\.")
    if ridges != len(subjects):
        given = f"{len(subjects)} ({', '.join(subjects)})"
        raise UserError(f"{path}: holds {ridges} ridge layers, --subjects names {given}; name one subject per layer")
    if len(set(subjects)) != len(subjects):
        raise UserError(f"--subjects: {', '.join(subjects)} names a subject twice")
    voxels = {subject: size(f"ridge.linears.{i}.weight", -1) for i, subject in enumerate(subjects)}
    token_width = size("backbone.clip_proj.0.weight")

    low_level = None
    if any(key.startswith(LOW_LEVEL) for key in state):
        blocks = count(r"backbone\.bupsampler\.up_blocks\.(\d+)\.")
        seed_channels = size("backbone.bnorm.weight")
        side = math.isqrt(size("backbone.blin1.bias") // seed_channels)
        up = "backbone.bupsampler.up_blocks."
        low_level = dict(
            latent_channels=size("backbone.bupsampler.conv_out.bias"),
            latent_side=side * 2 ** max(blocks - 1, 0),
            seed_channels=seed_channels,
            channels=tuple(size(f"{up}{block}.resnets.0.conv2.bias") for block in reversed(range(blocks))),
            layers=count(r"backbone\.bupsampler\.up_blocks\.0\.resnets\.(\d+)\.") - 1,
            maps_width=size("backbone.b_maps_projector.6.bias"),
        )
    prior = None
    if any(key.startswith("diffusion_prior.") for key in state):
        prior = dict(
            depth=count(re.escape(TRANSFORMER) + r"layers\.(\d+)\."),
            heads=size(TRANSFORMER + "rel_pos_bias.relative_attention_bias.weight", -1),
            head_width=size(TRANSFORMER + "layers.0.0.null_kv", -1),
            feedforward=max(1, size(TRANSFORMER + "layers.0.1.5.weight", -1) // token_width),
            timesteps=size(SCHEDULE + "betas"),
            rotary_width=2 * size(TRANSFORMER + "layers.0.0.rotary_emb.freqs"),
        )
    record = dict(
        hidden=size("ridge.linears.0.bias"),
        backbone="as_released",
        tokens=max(1, size("backbone.backbone_linear.bias") // token_width),
        token_width=token_width,
        blocks=count(r"backbone\.mixer_blocks1\.(\d+)\."),
        low_level=low_level,
        prior=prior,
    )
    return ModelConfig.read(record, path, "model"), voxels


def _mismatch(path: str | Path, missing: list[str], unexpected: list[str], misshaped: list[str]) -> str:
    def some(kind: str, keys: list[str]) -> list[str]:
        more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
        return [f"{kind} {', '.join(keys[:3])}{more}"] if keys else []

    found = some("missing", missing) + some("unexpected", unexpected) + some("of another shape:", misshaped)
    return (
        f"{path}: not the weights of a MindEye2 checkpoint: {'; '.join(found)}; download a last.pth of MindEye2 again"
    )


def _check_constants(state: dict[str, Tensor], prior: PriorConfig, rotary: list[str], path: str) -> None:
    """Raise UserError when the noise schedule, or the rotation in some layer, is not what our prior computes."""
    betas = cosine_betas(prior.timesteps)
    kept = torch.cumprod(1 - betas, dim=0)
    frequencies = 10000 ** (-torch.arange(0, prior.rotated, 2) / prior.rotated)
    known = {SCHEDULE + "betas": betas, SCHEDULE + "alphas_cumprod": kept} | dict.fromkeys(rotary, frequencies)
    for key, value in known.items():
        if not torch.allclose(state[key].double(), value.double(), rtol=1e-2, atol=1e-4):
            raise UserError(f"{path}: {key} differs from the published model's; a prior trained so is not supported")
