"""Denoising networks guided by image tokens and text states at once, as Versatile Diffusion (Xu et al. 2023).

Versatile Diffusion has one flow that denoises images and one that denoises text. Each has its own residual blocks, and
transformers for its own kind of context, at the same places and of the same widths. To denoise an image under both, the
image flow keeps its residual blocks, and each of its transformers is joined by the one of the text flow at that place:
what the two add to the state is mixed. So only the transformers of diffusers' `text_unet` are used here; its flat
residual blocks, which denoise text, are not.
"""

import copy

import torch
from diffusers.models.transformers.dual_transformer_2d import DualTransformer2DModel
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from fmri2img.backbones.generators import Generator, generator_of
from fmri2img.backbones.pixels import placement
from fmri2img.backbones.registry import Backbone, expect_kind
from fmri2img.errors import UserError
from fmri2img.tensors import read_checkpoint

IMAGE, TEXT = 0, 1  # positions of the two transformers, as diffusers stores them
ATTENTION = ".attentions."  # in the names of a transformer's tensors


class DualAttention(DualTransformer2DModel):
    """An image transformer and a text transformer on the same state, whose contributions are mixed.

    The context is the text states followed by the image tokens (`condition_lengths` of each). The state becomes
    state + share * (text(state) - state) + (1 - share) * (image(state) - state), where share is `mix_ratio`. diffusers'
    own `forward` does not accept all arguments that its UNet passes nowadays, and runs both transformers even where the
    share of one is zero.
    """

    @classmethod
    def of(cls, image: Transformer2DModel, text: dict[str, Tensor]) -> "DualAttention":
        """From the image transformer, which it keeps, and the tensors of the text transformer."""
        kept = ("num_attention_heads", "attention_head_dim", "in_channels", "num_layers", "norm_num_groups",
                "cross_attention_dim", "attention_bias", "activation_fn")  # fmt: skip
        with torch.device("meta"):
            dual = cls(**{key: image.config[key] for key in kept})
        dual.transformers[IMAGE], dual.transformers[TEXT] = image, copy.deepcopy(image)
        dual.transformers[TEXT].load_state_dict(text, strict=True)
        dual.transformer_index_for_condition = [TEXT, IMAGE]
        return dual

    def forward(
        self,
        hidden_states,
        encoder_hidden_states,
        timestep=None,
        attention_mask=None,
        cross_attention_kwargs=None,
        encoder_attention_mask=None,
        return_dict=True,
    ):
        shares = (self.mix_ratio, 1 - self.mix_ratio)
        conditions = encoder_hidden_states.split(self.condition_lengths, dim=1)
        output = hidden_states
        for condition, index, share in zip(conditions, self.transformer_index_for_condition, shares, strict=True):
            if share:
                state = self.transformers[index](
                    hidden_states,
                    encoder_hidden_states=condition,
                    timestep=timestep,
                    cross_attention_kwargs=cross_attention_kwargs,
                    return_dict=False,
                )[0]
                output = output + share * (state - hidden_states)
        return (output,)


def dual_unet(unet: UNet2DConditionModel, tensors: dict[str, Tensor], what: str) -> UNet2DConditionModel:
    """Give every transformer of `unet`, changed in place, the text transformer of the same name.

    tensors: of a text flow, by name; those outside its transformers are ignored. Raises UserError naming `what` and a
    tensor of a transformer that is missing, unexpected or of another shape.
    """
    given = {name: tensor for name, tensor in tensors.items() if ATTENTION in f".{name}"}
    places = [name for name, module in unet.named_modules() if isinstance(module, Transformer2DModel)]
    expected = {
        f"{place}.{name}": tensor.shape
        for place in places
        for name, tensor in unet.get_submodule(place).state_dict().items()
    }
    for name in sorted(set(expected) ^ set(given)):
        state = "missing" if name in expected else "unexpected"
        raise UserError(f"{what}: {state} tensor {name} among the text transformers; fetch the checkpoint again")
    for name, shape in expected.items():
        if given[name].shape != shape:
            raise UserError(
                f"{what}: tensor {name} of the text transformers has shape {tuple(given[name].shape)}, but that of the "
                f"image transformers {tuple(shape)}; fetch the checkpoint again"
            )
    for place in places:
        parent, _, index = place.rpartition(".")
        text = {name.removeprefix(f"{place}."): given[name] for name in expected if name.startswith(f"{place}.")}
        siblings = unet.get_submodule(parent)
        siblings[int(index)] = DualAttention.of(siblings[int(index)], text)
    unet.register_to_config(dual_cross_attention=True)
    return unet


def set_mixing(unet: UNet2DConditionModel, text_share: float, text_length: int, image_length: int) -> None:
    """Set how much of every mixture is the text transformer's, and the lengths of both contexts."""
    for module in unet.modules():
        if isinstance(module, DualAttention):
            module.mix_ratio = text_share
            module.condition_lengths = [text_length, image_length]


def load_dual_generator(backbone: Backbone, device=None) -> Generator:
    """Load the image flow from diffusers' folder layout, the transformers of the text flow, and the scheduler.

    record: `subfolder` of the image flow, `text_transformers` the file of the text flow. Raises UserError for a missing
    or altered file, and for a text transformer with a missing or unexpected tensor.
    """
    expect_kind(backbone, "dual_unet")
    device, dtype = placement(backbone, device)
    folder = backbone.checked_folder()
    unet = UNet2DConditionModel.from_pretrained(folder / backbone.record["subfolder"], torch_dtype=dtype)
    tensors = read_checkpoint(folder / backbone.record["text_transformers"], "fetch it again")
    unet = dual_unet(unet, tensors, f"backbone {backbone.name}")
    return generator_of(backbone, unet.to(device).eval().requires_grad_(False), folder)
