"""Image autoencoders: pictures to the latents that a diffusion model works on, and back.

They are diffusers' AutoencoderKL, or VQModel, whose latents are quantised when they are decoded.

The module also holds the loaders that generators.py shares: a checkpoint of Stability's generative-models code ("sgm",
a .ckpt or a .safetensors) contains a UNet and an autoencoder, whose tensors diffusers' own converters rename.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from fmri2img.artifacts.axes import Axes
from fmri2img.backbones.pixels import placement, resize, to_unit
from fmri2img.backbones.registry import Backbone, expect_kind
from fmri2img.errors import UserError
from fmri2img.tensors import read_checkpoint

SGM_PREFIX = "first_stage_model."


class Autoencoder:
    """A frozen AutoencoderKL. Latents are multiplied by its scaling factor (0.13025 for SDXL), as diffusion needs."""

    def __init__(self, vae, device="cpu") -> None:
        self.vae = vae.to(device).eval().requires_grad_(False)
        self.device, self.dtype = torch.device(device), vae.dtype
        self.scaling_factor = vae.config.scaling_factor
        self.reduction = 2 ** (len(vae.config.block_out_channels) - 1)  # pixels per latent, along one side
        self.channels = vae.config.latent_channels

    @torch.inference_mode()
    def encode(self, images: np.ndarray, noise: torch.Tensor | None = None) -> torch.Tensor:
        """Scaled latents, float32 (n, channels, h / reduction, w / reduction) of images (n, h, w, 3).

        noise: standard normal numbers of the latents' shape, to draw latents from the posterior; without it they are
        its mean.
        """
        pixels = to_unit(images, self.device) * 2 - 1
        posterior = self.vae.encode(pixels.to(self.dtype)).latent_dist
        latents = posterior.mode().float()
        if noise is not None:
            latents = latents + posterior.std.float() * noise.to(self.device)
        return latents * self.scaling_factor

    @property
    def facts(self) -> dict:
        """What the metadata of encoded stimuli says besides network and preprocessing."""
        return {"scaling_factor": self.scaling_factor}

    def axes(self, size: int) -> Axes:
        """Axes of the latents of square pictures of `size` pixels."""
        side = size // self.reduction
        return Axes.channel_map(self.channels, side, side)

    def encode_stimuli(self, images: np.ndarray, size: int, noise: Callable | None = None) -> np.ndarray:
        """Mean latents float32 (n, positions, channels), row by row, of images uint8 (n, h, w, 3) resized to `size`.

        noise: not needed for means; backbones/targets.py describes it.
        """
        pixels = resize(to_unit(images), size)
        latents = self.encode(pixels.permute(0, 2, 3, 1).numpy())
        return latents.flatten(2).transpose(1, 2).cpu().numpy()

    @torch.inference_mode()
    def decode(self, latents: torch.Tensor, scale: float = 0.5, offset: float = 0.5) -> torch.Tensor:
        """Pictures float32 (n, 3, h, w) of scaled latents, clamped to 0..1 after `output * scale + offset`.

        An autoencoder's output is in -1..1, hence the defaults of one half; MindEye2's unCLIP checkpoint needs 0.8 and
        0.2.
        """
        pixels = self.vae.decode((latents / self.scaling_factor).to(self.dtype)).sample.float()
        return (pixels * scale + offset).clamp(0, 1)


class QuantisedAutoencoder(Autoencoder):
    """A frozen VQModel. Its latents are those before quantisation, as latent diffusion (VQ-f4) works on them."""

    @torch.inference_mode()
    def encode(self, images: np.ndarray, noise: torch.Tensor | None = None) -> torch.Tensor:
        """As Autoencoder.encode; `noise` has no effect, because the latents of a picture are certain."""
        pixels = to_unit(images, self.device) * 2 - 1
        return self.vae.encode(pixels.to(self.dtype)).latents.float() * self.scaling_factor


def load_autoencoder(backbone: Backbone, device=None) -> Autoencoder:
    """Load an autoencoder from a diffusers folder, or from a registered `checkpoint` of a registered layout.

    `vae` is the layout of an AutoencoderKL, `vq` that of a VQModel. The checkpoint has diffusers' tensor names, or
    those of generative-models with `format: sgm`, as a `vq` always has. Raises UserError for a missing or altered file,
    and for weights of another layout.
    """
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    expect_kind(backbone, "diffusers_vae")
    device, dtype = placement(backbone, device)
    if "vq" in backbone.record:
        tensors = read_sgm(backbone.file(backbone.record["checkpoint"]), SGM_PREFIX, dtype)
        vq = vq_from_sgm(tensors, backbone.record["vq"], f"backbone {backbone.name}")
        return QuantisedAutoencoder(vq, device)
    if backbone.record.get("format") == "sgm":
        tensors = read_sgm(backbone.file(backbone.record["checkpoint"]), SGM_PREFIX, dtype)
        vae = vae_from_sgm(tensors, backbone.record["vae"], f"backbone {backbone.name}")
        return Autoencoder(vae, device)
    if "vae" in backbone.record:
        with torch.device("meta"):
            vae = AutoencoderKL(**backbone.record["vae"])
        tensors = read_checkpoint(backbone.file(backbone.record["checkpoint"]), "fetch it again")
        try:
            vae.load_state_dict(_cast(tensors, dtype), assign=True)
        except RuntimeError as error:
            problem = str(error).splitlines()[1].strip()
            raise UserError(f"backbone {backbone.name}: {problem} Correct `vae` in config/backbones.yaml") from None
        return Autoencoder(vae, device)
    folder = backbone.checked_folder() / backbone.record.get("subfolder", "")
    return Autoencoder(AutoencoderKL.from_pretrained(folder, torch_dtype=dtype), device)


def vq_from_sgm(tensors: dict[str, torch.Tensor], config: dict, what: str) -> torch.nn.Module:
    """Build a VQModel from latent diffusion's tensors (names begin with `first_stage_model.`).

    config: the constructor's arguments. Raises UserError as `from_sgm`.
    """
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
    from diffusers.models.autoencoders.vq_model import VQModel

    def convert(found: dict[str, torch.Tensor], layout) -> dict[str, torch.Tensor]:
        codes = "quantize.embedding.weight"
        return convert_ldm_vae_checkpoint(found, layout) | {codes: found[SGM_PREFIX + codes]}

    with torch.device("meta"):
        vq = VQModel(**config)
    return from_sgm(vq, convert, _flattened(tensors), what, "vq")


def _flattened(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The attention's linear maps are stored as 1 x 1 convolutions."""
    return {
        name: tensor.flatten(1) if ".attn_1." in name and tensor.ndim > 2 else tensor
        for name, tensor in tensors.items()
    }


def vae_from_sgm(tensors: dict[str, torch.Tensor], config: dict, what: str) -> torch.nn.Module:
    """Build an AutoencoderKL from sgm tensors (names begin with `first_stage_model.`).

    config: the constructor's arguments. Raises UserError as `from_sgm`.
    """
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    with torch.device("meta"):
        vae = AutoencoderKL(**config)
    return from_sgm(vae, convert_ldm_vae_checkpoint, _flattened(tensors), what, "vae")


def read_sgm(path: Path, prefix: str, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Tensors of an sgm checkpoint whose names begin with `prefix`, by full name.

    Tensors stored as `dtype` are memory-mapped, and other fractional ones are cast: here, because diffusers warns
    whenever a network of its own is. The file is a safetensors file or a pickle that holds only tensors. Raises
    UserError when it is damaged or contains any other object.
    """
    checkpoint = read_checkpoint(path, "fetch it again")
    tensors = checkpoint.get("state_dict", checkpoint).items()
    return _cast({name: tensor for name, tensor in tensors if name.startswith(prefix)}, dtype)


def _cast(tensors: dict[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def from_sgm(
    module: torch.nn.Module, convert: Callable[..., dict], tensors: dict[str, torch.Tensor], what: str, key: str
) -> torch.nn.Module:
    """Load sgm's `tensors`, renamed by diffusers' `convert`, into `module`, a diffusers network on the meta device.

    Raises UserError naming `what`, a tensor that is missing, unexpected or of the wrong shape, and the registry's `key`
    that describes the layout.
    """
    try:
        converted = convert(tensors, module.config)
    except KeyError as error:
        raise UserError(f"{what}: the checkpoint lacks tensor {error.args[0]}; fetch it again") from None
    used = {id(tensor) for tensor in converted.values()}
    expected = module.state_dict()
    problems = [f"unexpected tensor {name}" for name, tensor in tensors.items() if id(tensor) not in used]
    problems += [f"missing tensor {name}" for name in expected if converted.get(name) is None]
    problems += [f"unexpected tensor {name}" for name in converted if name not in expected]
    problems += [
        f"tensor {name} of shape {tuple(converted[name].shape)}, expected {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if converted.get(name) is not None and converted[name].shape != tensor.shape
    ]
    if problems:
        raise UserError(
            f"{what}: the checkpoint does not fit the registered layout: {problems[0]} ({len(problems)} in all); "
            f"correct `{key}` in config/backbones.yaml or fetch the checkpoint again"
        )
    module.load_state_dict(converted, strict=True, assign=True)
    return module
