"""Image-text encoders (open_clip): image tokens, joint image-text vectors, and token states of sentences.

Image tokens are the patch tokens of the vision tower after its last layer norm, without class token, projection or
normalisation: the target of MindEye2 (256 tokens of width 1664 for ViT-bigG-14). open_clip returned them before that
norm up to version 2.22.
"""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F

from fmri2img.backbones.pixels import Preprocessing, placement
from fmri2img.backbones.projected_clip import ProjectedClip, load_projected_clip
from fmri2img.backbones.registry import Backbone, expect_kind
from fmri2img.errors import UserError


class ImageTextEncoder:
    """A frozen open_clip model with its tokenizer and explicit preprocessing."""

    def __init__(self, model, tokenizer, preprocessing: Preprocessing, device="cpu", batch: int = 64) -> None:
        self.model = model.to(device).eval().requires_grad_(False)
        self.model.visual.output_tokens = True
        self.tokenizer, self.preprocessing = tokenizer, preprocessing
        self.device, self.batch = torch.device(device), batch
        self.dtype = self.model.visual.conv1.weight.dtype

    @torch.inference_mode()
    def encode_images(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Encode images (n, h, w, 3), uint8 or float in 0..1.

        Returns tokens float32 (n, tokens, width) and joint vectors float32 (n, dimensions), l2-normalised.
        """
        tokens, pooled = zip(*self._blocks(images), strict=True)
        return np.concatenate(tokens), np.concatenate(pooled)

    def _blocks(self, images: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(images), self.batch):
            pixels = self.preprocessing(images[start : start + self.batch], self.device).to(self.dtype)
            pooled, tokens = self.model.visual(pixels)
            yield tokens.float().cpu().numpy(), F.normalize(pooled.float(), dim=-1).cpu().numpy()

    @torch.inference_mode()
    def encode_texts(self, texts: list[str]) -> np.ndarray:
        """Joint vectors of sentences, float32 (n, dimensions), l2-normalised."""
        parts = [self.model.encode_text(ids).float() for ids in self._token_ids(texts)]
        return F.normalize(torch.cat(parts), dim=-1).cpu().numpy()

    @torch.inference_mode()
    def text_tokens(self, texts: list[str]) -> np.ndarray:
        """States of each text token after the last layer norm, float32 (n, context, width)."""
        parts = [
            self.model.forward_intermediates(
                text=ids, text_indices=[-1], normalize_intermediates=True, intermediates_only=True
            )["text_intermediates"][-1].float()
            for ids in self._token_ids(texts)
        ]
        return torch.cat(parts).cpu().numpy()

    def _token_ids(self, texts: list[str]) -> Iterator[torch.Tensor]:
        for start in range(0, len(texts), self.batch):
            yield self.tokenizer(list(texts[start : start + self.batch])).to(self.device)


def load_encoder(backbone: Backbone, device=None, batch: int = 64) -> ImageTextEncoder | ProjectedClip:
    """Load an encoder from open_clip's hub folder layout, or CLIP's two towers as Versatile Diffusion uses them.

    Raises UserError for a missing or altered file, and when its tokens are not of the registered number and width.
    """
    expect_kind(backbone, "open_clip", "clip_projected")
    if backbone.kind == "clip_projected":
        return load_projected_clip(backbone, device, batch)

    import open_clip

    folder = backbone.checked_folder()
    device, dtype = placement(backbone, device)
    model = open_clip.create_model(f"local-dir:{folder}", require_pretrained=True).to(dtype)
    visual = model.visual
    found = (visual.grid_size[0] * visual.grid_size[1], visual.conv1.out_channels)
    registered = (backbone.record["tokens"], backbone.record["token_width"])
    if found != registered:
        raise UserError(
            f"backbone {backbone.name}: {folder} gives {found[0]} tokens of width {found[1]}, but "
            f"{registered[0]} of width {registered[1]} are registered; correct tokens and token_width in "
            "config/backbones.yaml"
        )
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    return ImageTextEncoder(model, tokenizer, Preprocessing.of(backbone), device, batch)
