"""The doubly conditioned latent diffusion model (DC-LDM): a frozen generator that voxel patterns condition twice.

    tokens   = encoder(betas)                                 (patches, width)
    context  = Linear(Conv1d(Conv1d(tokens)))                 (77, context width): patches -> patches / 2 -> 77
    time     = time embedding + Linear(Conv1d(Conv1d(context)))      77 -> 38 -> 1
    noise    = UNet(noisy latents, time, cross-attention to context)

The encoder, the maps of both conditions and, of the UNet, cross-attention and the norms before it are trained; the rest
is frozen. Convolutions have width 1 and no non-linearity between them, so both maps are linear. Weights are named as in
the released checkpoints, those of the UNet as in diffusers.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fmri2img.artifacts.atomic import atomic_directory
from fmri2img.artifacts.tables import read_json, write_json
from fmri2img.backbones.generators import Generator, load_generator
from fmri2img.backbones.registry import Backbone
from fmri2img.errors import UserError
from fmri2img.integrity import again
from fmri2img.methods.mindvis.masked import BrainEncoder, MaskedAutoencoder, resized_positions
from fmri2img.methods.mindvis.settings import CONTEXT, EncoderConfig, ModelConfig
from fmri2img.tensors import read_tensors

PATTERNS = 64  # of which the context is computed at a time
TRAINED = (".attn2.", ".norm2.")  # of the UNet's transformer blocks


class Conditioner(nn.Module):
    """Betas (samples, 1, voxels) -> context (samples, 77, context width)."""

    def __init__(self, config: EncoderConfig, patches: int, context_width: int) -> None:
        super().__init__()
        self.mae = BrainEncoder(config, patches)
        self.channel_mapper = nn.Sequential(nn.Conv1d(patches, patches // 2, 1), nn.Conv1d(patches // 2, CONTEXT, 1))
        self.dim_mapper = nn.Linear(config.width, context_width)

    def forward(self, betas: Tensor) -> Tensor:
        return self.dim_mapper(self.channel_mapper(self.mae(betas)))


class DoublyConditioned(nn.Module):
    """The whole model. `generator.unet` becomes a part of it and is changed in place.

    The second condition enters where a class-conditional UNet of diffusers adds its class embedding to the time's.
    """

    def __init__(self, config: EncoderConfig, patches: int, generator: Generator, time_condition: bool = True) -> None:
        super().__init__()
        unet = generator.unet
        context_width = unet.config.cross_attention_dim
        self.config, self.patches, self.generator = config, patches, generator
        self.cond_stage_model = Conditioner(config, patches, context_width)
        self.time_embed_condtion = None  # spelt as in the released checkpoints
        if time_condition:
            width = unet.time_embedding.linear_2.out_features
            self.time_embed_condtion = nn.Sequential(
                nn.Conv1d(CONTEXT, CONTEXT // 2, 1), nn.Conv1d(CONTEXT // 2, 1, 1), nn.Linear(context_width, width)
            )
            unet.class_embedding = nn.Identity()
        self.unet = unet.requires_grad_(False)
        for name, parameter in unet.named_parameters():
            parameter.requires_grad_(trained_in_unet(name))

    def condition(self, betas: Tensor) -> tuple[Tensor, Tensor | None]:
        """Context (samples, 77, context width), and what is added to the time embedding (samples, time width)."""
        context = self.cond_stage_model(betas)
        return context, None if self.time_embed_condtion is None else self.time_embed_condtion(context).squeeze(1)

    def denoise(self, latents: Tensor, times: Tensor, context: Tensor, time: Tensor | None) -> Tensor:
        """The UNet's output for noisy latents (samples, channels, side, side) at `times`."""
        added = self.generator.added_conditions(len(latents))
        return self.unet(
            latents, times, encoder_hidden_states=context, class_labels=time, added_cond_kwargs=added
        ).sample

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """The loss, {"noise": mean squared error}.

        inputs: betas (samples, 1, voxels); latents and noise (samples, channels, side, side); times int64 (samples,).
        """
        noisy, target = noised(self.generator.scheduler, inputs["latents"], inputs["noise"], inputs["times"])
        output = self.denoise(noisy, inputs["times"], *self.condition(inputs["betas"]))
        return {"noise": nn.functional.mse_loss(output.float(), target)}

    def trained(self) -> dict[str, Tensor]:
        """Names and values of everything but the generator's frozen weights."""
        return {
            name: tensor
            for name, tensor in self.state_dict().items()
            if not name.startswith("unet.") or trained_in_unet(name.removeprefix("unet."))
        }


def trained_in_unet(name: str) -> bool:
    """Whether the UNet's weight of this name is trained: cross-attention and the norm before it.

    Residual blocks of diffusers have a `norm2` too, which the released code has under another name and does not train.
    """
    return ".transformer_blocks." in name and any(part in f".{name}" for part in TRAINED)


def noised(scheduler: Any, latents: Tensor, noise: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """Noisy latents at `times`, and what the generator has to predict from them: the noise, or the velocity.

    Ho et al., Denoising Diffusion Probabilistic Models, equation 4; Salimans & Ho, Progressive Distillation, app. D.
    """
    kept = scheduler.alphas_cumprod.to(latents.device)[times][:, None, None, None]
    signal, spread = kept.sqrt(), (1 - kept).sqrt()
    noisy = signal * latents + spread * noise
    velocity = scheduler.config.prediction_type == "v_prediction"
    return noisy, signal * noise - spread * latents if velocity else noise


@torch.no_grad()
def spread_context(conditioner: Conditioner, betas: Tensor, spread: float) -> None:
    """Rescale the map to the context's width, in place, so that the contexts of `betas` differ by `spread`.

    betas: (samples, 1, voxels). spread: standard deviation over samples, mean over the context's values. The mean of
    each channel becomes 0. Raises UserError where contexts do not differ, or are not finite.
    """
    context = torch.cat([conditioner(part) for part in betas.split(PATTERNS)])
    found = context.std(dim=0, correction=0).mean()
    if not (torch.isfinite(found) and found > 0):
        raise UserError(
            f"mindvis.context_spread: the context of {len(betas)} training trials has a spread of {found:g}, which "
            "cannot be rescaled; give more trials, or null"
        )
    mapper, factor = conditioner.dim_mapper, spread / found
    mapper.bias.sub_(context.mean(dim=(0, 1))).mul_(factor)
    mapper.weight.mul_(factor)


def start_from(encoder: BrainEncoder, state: dict[str, Tensor], resizing: str) -> None:
    """Give an encoder the weights of a masked autoencoder, whose positions are resized to the encoder's patches."""
    patches = encoder.pos_embed.shape[1] - 1
    own = {name: tensor for name, tensor in state.items() if name in encoder.state_dict() and name != "mask_token"}
    own["pos_embed"] = resized_positions(state["pos_embed"], patches, resizing)
    encoder.load_state_dict(own, strict=False)


def save_weights(path: str | Path, state: dict[str, Tensor], record: dict[str, Any]) -> None:
    """Write a directory with model.safetensors and config.json (`record`)."""
    with atomic_directory(path) as directory:
        save_file(
            {name: tensor.detach().contiguous() for name, tensor in state.items()}, directory / "model.safetensors"
        )
        write_json(directory / "config.json", record)


def read_weights(path: str | Path, *keys: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_weights` wrote. Raises UserError naming the file, and a key of config.json that is missing."""
    path = Path(path)
    record = read_json(path / "config.json")
    for key in keys:
        if key not in record:
            raise UserError(f"{path / 'config.json'}: key '{key}' is missing; {again(path)}")
    return read_tensors(path / "model.safetensors"), record


def load_masked(path: str | Path) -> tuple[MaskedAutoencoder, dict[str, Any]]:
    """A trained masked autoencoder and its metadata. Raises UserError as `read_weights`, and for other weights."""
    state, record = read_weights(path, "model", "patches", "metadata")
    config = ModelConfig.read(record["model"], str(Path(path) / "config.json"), "model")
    model = MaskedAutoencoder(config, record["patches"])
    check_names(state, model.state_dict(), f"{path}/model.safetensors")
    model.load_state_dict(state)
    return model, record["metadata"]


def load_trained(model: DoublyConditioned, state: dict[str, Tensor], source: str) -> None:
    """Give a model what `trained` returned. Raises UserError for a weight that is missing, unknown or misshapen."""
    check_names(state, model.trained(), source)
    model.load_state_dict(state, strict=False)


def check_names(found: dict[str, Tensor], expected: dict[str, Tensor], source: str) -> None:
    """Raise UserError naming the first weight that is missing, unexpected or of another shape."""
    problems = [f"lacks weight {name}" for name in expected if name not in found]
    problems += [f"has an unknown weight {name}" for name in found if name not in expected]
    problems += [
        f"weight {name} has shape {tuple(found[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in found and found[name].shape != tensor.shape
    ]
    if problems:
        raise UserError(
            f"{source}: {problems[0]} ({len(problems)} problems in all); it is not a file of this model, make it or "
            "download it again"
        )


def load_model(path: str | Path, device: torch.device | str) -> tuple[DoublyConditioned, dict[str, Any]]:
    """A trained model in evaluation mode, its generator included, and config.json.

    Raises UserError as `read_weights` and `load_trained`, and for a generator whose files are missing or altered.
    """
    state, record = read_weights(path, "model", "patches", "voxels", "time_condition", "generator", "metadata")
    config = ModelConfig.read(record["model"], str(Path(path) / "config.json"), "model").encoder
    generator = load_generator(Backbone(*record["generator"]), "cpu")
    model = DoublyConditioned(config, record["patches"], generator, record["time_condition"])
    load_trained(model, state, str(Path(path) / "model.safetensors"))
    return model.to(device).eval().requires_grad_(False), record
