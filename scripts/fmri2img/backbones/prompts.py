"""Prompt encoders: sentences to the condition of a text-to-image network.

SDXL is conditioned on the concatenated states of two text towers (OpenAI's CLIP ViT-L/14 and OpenCLIP's ViT-bigG-14,
both at the last layer but one, 768 + 1280 wide) and on a vector, bigG's joint text embedding. Stable Diffusion 1 is
conditioned on the last states of CLIP ViT-L/14 alone, and the demo's network on the token states of the demo's own
encoder.
"""

from dataclasses import dataclass

import numpy as np
import torch

from fmri2img.backbones.encoders import load_encoder
from fmri2img.backbones.pixels import placement
from fmri2img.backbones.registry import Backbone, expect_kind
from fmri2img.errors import UserError

BATCH = 64  # sentences that a tower encodes at a time


@dataclass(frozen=True)
class Prompt:
    """A text condition: states (n, context, width) for cross-attention; pooled vectors (n, dimensions), or None."""

    states: np.ndarray
    pooled: np.ndarray | None = None

    def rows(self, rows: slice) -> "Prompt":
        return Prompt(self.states[rows], None if self.pooled is None else self.pooled[rows])


class EncoderPrompts:
    """States of every text position of an image-text encoder (encoders.py)."""

    def __init__(self, encoder) -> None:
        self.encoder = encoder

    def encode(self, texts: list[str]) -> Prompt:
        return Prompt(self.encoder.text_tokens(texts))


class SdxlPrompts:
    """SDXL's two frozen text towers (transformers' classes), each with its tokenizer.

    The tokenizers pad differently, as both were trained: CLIP-L's with its end-of-text token, bigG's with token 0.
    """

    def __init__(self, towers: list, tokenizers: list, device="cpu") -> None:
        self.towers = [tower.to(device).eval().requires_grad_(False) for tower in towers]
        self.tokenizers, self.device = tokenizers, torch.device(device)

    @torch.inference_mode()
    def encode(self, texts: list[str]) -> Prompt:
        """States float32 (n, context, sum of both widths) and pooled float32 (n, dimensions) of sentences."""
        states, pooled = [], []
        for start in range(0, len(texts), BATCH):
            first, second = (
                tower(token_ids(tokenizer, texts[start : start + BATCH], self.device), output_hidden_states=True)
                for tower, tokenizer in zip(self.towers, self.tokenizers, strict=True)
            )
            both = [output.hidden_states[-2].float() for output in (first, second)]
            states.append(torch.cat(both, dim=-1).cpu())
            pooled.append(second.text_embeds.float().cpu())
        return Prompt(torch.cat(states).numpy(), torch.cat(pooled).numpy())


class ClipPrompts:
    """The text tower of Stable Diffusion 1 (transformers' CLIPTextModel): its states after the last layer norm."""

    def __init__(self, tower, tokenizer, device="cpu") -> None:
        self.tower = tower.to(device).eval().requires_grad_(False)
        self.tokenizer, self.device = tokenizer, torch.device(device)

    @torch.inference_mode()
    def encode(self, texts: list[str]) -> Prompt:
        """States float32 (n, context, width) of sentences, padded with the end-of-text token; no pooled vector."""
        states = [
            self.tower(token_ids(self.tokenizer, texts[start : start + BATCH], self.device)).last_hidden_state
            for start in range(0, len(texts), BATCH)
        ]
        return Prompt(torch.cat(states).float().cpu().numpy())


def token_ids(tokenizer, texts: list[str], device) -> torch.Tensor:
    """Token numbers (n, context) of sentences, padded and cut to the tokenizer's context."""
    length = tokenizer.model_max_length
    read = tokenizer(list(texts), padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return read.input_ids.to(device)


def load_prompts(backbone: Backbone, device=None) -> EncoderPrompts | ClipPrompts | SdxlPrompts:
    """Load a prompt encoder: an image-text encoder, or text towers of SDXL or Stable Diffusion 1 in diffusers' layout.

    Raises UserError for a missing or altered file, and for an entry of another kind.
    """
    expect_kind(backbone, "open_clip", "clip_projected", "clip_text", "sdxl_text")
    if backbone.kind in ("open_clip", "clip_projected"):
        return EncoderPrompts(load_encoder(backbone, device))

    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    device, dtype = placement(backbone, device)
    folder = backbone.checked_folder()
    if backbone.kind == "clip_text":
        tower = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=dtype, local_files_only=True)
        return ClipPrompts(tower, CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True), device)
    towers = [
        kind.from_pretrained(folder / name, dtype=dtype, local_files_only=True)
        for kind, name in ((CLIPTextModel, "text_encoder"), (CLIPTextModelWithProjection, "text_encoder_2"))
    ]
    tokenizers = [
        CLIPTokenizer.from_pretrained(folder / name, local_files_only=True) for name in ("tokenizer", "tokenizer_2")
    ]
    return SdxlPrompts(towers, tokenizers, device)


def prompts_of(captions: list[str], negative: str, backbone: Backbone, generator) -> tuple[Prompt, Prompt]:
    """The condition of `generator` for each caption, and one row for the unconditional branch of guidance.

    An empty `negative` gives zeros if the generator was trained with zeros. Raises UserError when the width of the
    states is not the one that the generator takes.
    """
    encoder = load_prompts(backbone)
    prompt = encoder.encode(captions)
    check_width(prompt, generator, f"prompt encoder {backbone.name}")
    return prompt, unconditional(prompt, negative, encoder, generator)


def check_width(prompt: Prompt, generator, what: str) -> None:
    """Raise UserError when the states, which `what` gives, do not have the width that the generator takes."""
    width = generator.unet.config.cross_attention_dim
    if prompt.states.shape[2] != width:
        raise UserError(
            f"{what} gives states of width {prompt.states.shape[2]}, but generator {generator.name} takes {width}; "
            "name a pair that was trained together"
        )


def unconditional(prompt: Prompt, negative: str, encoder, generator) -> Prompt:
    """One row for the unconditional branch of guidance: the text `negative`, which `encoder` reads.

    An empty one gives zeros of the shape of `prompt`, if the generator was trained with zeros.
    """
    if negative or generator.unconditional != "zeros":
        found: Prompt = encoder.encode([negative])
        return found
    pooled = None if prompt.pooled is None else np.zeros_like(prompt.pooled[:1])
    return Prompt(np.zeros_like(prompt.states[:1]), pooled)
