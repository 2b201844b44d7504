"""CLIP as Versatile Diffusion uses it (transformers' classes): states of all positions in the joint space.

Each state of the last layer goes through the tower's last layer norm and its projection, which CLIP itself applies to
the pooled state alone, and is divided by the length of the projected pooled state: the class token of a picture, the
end-of-text token of a sentence. Brain-Diffuser and MindEye1 decode such states, 257 of a picture and 77 of a sentence.
"""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fmri2img.backbones.pixels import Preprocessing, placement
from fmri2img.backbones.registry import Backbone, expect_kind
from fmri2img.errors import UserError


class ProjectedClip:
    """A frozen pair of towers with projections (CLIPVisionModelWithProjection, CLIPTextModelWithProjection)."""

    def __init__(self, vision, text, tokenizer, preprocessing: Preprocessing, device="cpu", batch: int = 64) -> None:
        self.vision, self.text = (tower.to(device).eval().requires_grad_(False) for tower in (vision, text))
        self.tokenizer, self.preprocessing = tokenizer, preprocessing
        self.device, self.batch = torch.device(device), batch

    @torch.inference_mode()
    def encode_images(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Encode images (n, h, w, 3), uint8 or float in 0..1.

        Returns tokens float32 (n, tokens, width), the class token first, and joint vectors float32 (n, width),
        l2-normalised.
        """
        parts = []
        for start in range(0, len(images), self.batch):
            pixels = self.preprocessing(images[start : start + self.batch], self.device).to(self.vision.dtype)
            states = self.vision.vision_model(pixel_values=pixels).last_hidden_state
            states = self.vision.visual_projection(self.vision.vision_model.post_layernorm(states)).float()
            parts.append((states / states[:, :1].norm(dim=-1, keepdim=True)).cpu().numpy())
        tokens = np.concatenate(parts)
        return tokens, tokens[:, 0].copy()

    @torch.inference_mode()
    def encode_texts(self, texts: list[str]) -> np.ndarray:
        """Joint vectors of sentences, float32 (n, width), l2-normalised."""
        parts = [F.normalize(pooled, dim=-1) for _, pooled in self._texts(texts)]
        return torch.cat(parts).cpu().numpy()

    @torch.inference_mode()
    def text_tokens(self, texts: list[str]) -> np.ndarray:
        """States of each text position, padding included, float32 (n, context, width)."""
        parts = [states / pooled.norm(dim=-1)[:, None, None] for states, pooled in self._texts(texts)]
        return torch.cat(parts).cpu().numpy()

    def _texts(self, texts: list[str]) -> Iterator[tuple[Tensor, Tensor]]:
        """Projected states (n, context, width) and the projected pooled state (n, width) of batches of sentences."""
        length = self.tokenizer.model_max_length
        for start in range(0, len(texts), self.batch):
            read = self.tokenizer(
                list(texts[start : start + self.batch]),
                padding="max_length", max_length=length, truncation=True, return_tensors="pt",
            )  # fmt: skip
            # Padding is not masked, as Versatile Diffusion was trained.
            output = self.text(input_ids=read.input_ids.to(self.device))
            yield self.text.text_projection(output.last_hidden_state).float(), output.text_embeds.float()


def load_projected_clip(backbone: Backbone, device=None, batch: int = 64) -> ProjectedClip:
    """Load both towers from diffusers' folder layout (image_encoder, text_encoder, tokenizer).

    Raises UserError for a missing or altered file, and when the tokens are not of the registered number and width.
    """
    from transformers import CLIPTextModelWithProjection, CLIPTokenizer, CLIPVisionModelWithProjection

    expect_kind(backbone, "clip_projected")
    device, dtype = placement(backbone, device)
    folder = backbone.checked_folder()
    vision, text = (
        tower.from_pretrained(folder / name, dtype=dtype, local_files_only=True)
        for tower, name in (
            (CLIPVisionModelWithProjection, "image_encoder"),
            (CLIPTextModelWithProjection, "text_encoder"),
        )
    )
    found = ((vision.config.image_size // vision.config.patch_size) ** 2 + 1, vision.config.projection_dim)
    registered = (backbone.record["tokens"], backbone.record["token_width"])
    if found != registered:
        raise UserError(
            f"backbone {backbone.name}: {folder} gives {found[0]} tokens of width {found[1]}, but {registered[0]} of "
            f"width {registered[1]} are registered; correct tokens and token_width in config/backbones.yaml"
        )
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    return ProjectedClip(vision, text, tokenizer, Preprocessing.of(backbone), device, batch)
