"""Captioners (GIT and BLIP): a sentence for each image, from image tokens instead of pixels.

The image encoder inside a captioner is bypassed. GIT's tokens go straight to its visual projection, as in MindEye2, and
BLIP's are what its text decoder attends to, as in Takagi & Nishimoto's technical report. GIT large needs
tokens in the space of its own encoder (257 of width 1024); caption converters are trained to predict that encoder's
outputs for true images. The demo's captioner was trained on the tokens of the demo's encoder.
"""

import numpy as np
import torch
from torch import nn

from fmri2img.backbones.pixels import Preprocessing, placement
from fmri2img.backbones.registry import Backbone, expect_kind
from fmri2img.errors import UserError


class _GivenTokens(nn.Module):
    """Replaces GIT's image encoder and returns its input, (n, 1, tokens, width), unchanged."""

    def forward(self, pixel_values: torch.Tensor, **kwargs):
        from transformers.modeling_outputs import BaseModelOutput

        return BaseModelOutput(last_hidden_state=pixel_values[:, 0])


class Captioner:
    """A frozen GitForCausalLM fed by image tokens, with its tokenizer."""

    def __init__(self, model, tokenizer, device="cpu") -> None:
        model.git.image_encoder = _GivenTokens()
        self.model = model.to(device).eval().requires_grad_(False)
        self.tokenizer, self.device = tokenizer, torch.device(device)

    @torch.inference_mode()
    def caption(self, tokens: np.ndarray, max_length: int = 20, batch: int = 64) -> list[str]:
        """Greedy captions of image tokens (n, tokens, width); `max_length` counts text tokens including the first.

        Raises UserError when the number of tokens is not the one that GIT's attention mask expects.
        """
        expected = self.model.git.encoder.layer[0].attention.self.image_patch_tokens
        if tokens.shape[1] != expected:
            raise UserError(
                f"captioner: takes {expected} image tokens, got {tokens.shape[1]}; use the encoder it was trained with"
            )
        captions = []
        for start in range(0, len(tokens), batch):
            block = torch.from_numpy(np.asarray(tokens[start : start + batch], np.float32))
            begin = torch.full((len(block), 1), self.tokenizer.cls_token_id, device=self.device)
            ids = self.model.generate(
                input_ids=begin,
                attention_mask=torch.ones_like(begin),
                pixel_values=block[:, None].to(self.device, self.model.dtype),
                max_length=max_length,
                do_sample=False,
                num_beams=1,
                pad_token_id=self.tokenizer.pad_token_id,
                eos_token_id=self.tokenizer.sep_token_id,
            )
            captions += [text.strip() for text in self.tokenizer.batch_decode(ids, skip_special_tokens=True)]
        return captions


class BlipCaptioner:
    """A frozen text decoder of a BlipForConditionalGeneration, fed by image tokens, with its tokenizer.

    beams, min_length, repetition_penalty: of its beam search; prompt: words that every sentence begins with, which the
    network was trained with and which are cut off.
    """

    def __init__(
        self, model, tokenizer, beams: int, min_length: int, repetition_penalty: float, prompt: str, device="cpu"
    ) -> None:
        self.decoder = model.text_decoder.to(device).eval().requires_grad_(False)
        self.width = model.config.vision_config.hidden_size
        self.tokenizer, self.device, self.prompt = tokenizer, torch.device(device), prompt
        self.search = {"num_beams": beams, "min_length": min_length, "repetition_penalty": repetition_penalty}

    @torch.inference_mode()
    def caption(self, tokens: np.ndarray, max_length: int = 20, batch: int = 64) -> list[str]:
        """Captions of image tokens (n, tokens, width); the lengths count text tokens, the prompt's included.

        Raises UserError when the tokens do not have the width that the decoder attends to.
        """
        if tokens.shape[2] != self.width:
            raise UserError(
                f"captioner: takes image tokens of width {self.width}, got {tokens.shape[2]}; use the encoder it was "
                "trained with"
            )
        begin = torch.tensor(self.tokenizer(self.prompt).input_ids[:-1], device=self.device)
        begin[0] = self.tokenizer.bos_token_id
        captions = []
        for start in range(0, len(tokens), batch):
            block = torch.from_numpy(np.asarray(tokens[start : start + batch], np.float32))
            block = block.to(self.device, self.decoder.dtype)
            begins = begin.repeat(len(block), 1)
            ids = self.decoder.generate(
                input_ids=begins,
                attention_mask=torch.ones_like(begins),
                encoder_hidden_states=block,
                encoder_attention_mask=torch.ones(block.shape[:2], dtype=torch.long, device=self.device),
                max_length=max_length,
                do_sample=False,
                pad_token_id=self.tokenizer.pad_token_id,
                eos_token_id=self.tokenizer.sep_token_id,
                **self.search,
            )
            texts = self.tokenizer.batch_decode(ids[:, len(begin) :], skip_special_tokens=True)
            captions += [text.strip() for text in texts]
        return captions


def load_captioner(backbone: Backbone, device=None) -> Captioner | BlipCaptioner:
    """Load a captioner from a transformers folder. Raises UserError for a missing or altered file."""
    from transformers import AutoTokenizer, BlipForConditionalGeneration, GitForCausalLM

    expect_kind(backbone, "git", "blip")
    device, dtype = placement(backbone, device)
    folder = backbone.checked_folder()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if backbone.kind == "git":
        return Captioner(GitForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True), tokenizer, device)
    # The vocabulary of BERT with two more words, of which the decoder's sentences begin with the first.
    tokenizer.add_special_tokens({"bos_token": "[DEC]"})
    model = BlipForConditionalGeneration.from_pretrained(folder, dtype=dtype, local_files_only=True)
    return BlipCaptioner(model, tokenizer, **backbone.record["search"], device=device)


class CaptionerImageEncoder:
    """The image encoder that a captioner was trained with, to encode true images."""

    def __init__(self, vision, preprocessing: Preprocessing, device="cpu", batch: int = 64) -> None:
        """vision: takes pixels of the size of the preprocessing, whatever size it was trained with."""
        self.vision = vision.to(device).eval().requires_grad_(False)
        self.preprocessing, self.device, self.batch = preprocessing, torch.device(device), batch

    @torch.inference_mode()
    def encode_images(self, images: np.ndarray) -> tuple[np.ndarray, None]:
        """Tokens float32 (n, tokens, width) of images (n, h, w, 3), uint8 or float in 0..1; no joint vector."""
        tokens = []
        for start in range(0, len(images), self.batch):
            pixels = self.preprocessing(images[start : start + self.batch], self.device).to(self.vision.dtype)
            states = self.vision(pixels, interpolate_pos_encoding=True).last_hidden_state
            tokens.append(states.float().cpu().numpy())
        return np.concatenate(tokens), None


def load_captioner_encoder(backbone: Backbone, device=None) -> CaptionerImageEncoder:
    """Load a captioner's own image encoder from a transformers folder.

    Raises UserError for a missing or altered file, and for a captioner that was trained on another encoder's tokens.
    """
    from transformers import BlipForConditionalGeneration, GitForCausalLM

    expect_kind(backbone, "git", "blip")
    if "features" in backbone.record:
        raise UserError(
            f"backbone {backbone.name}: has no image encoder of its own; embed with {backbone.record['features']}"
        )
    device, dtype = placement(backbone, device)
    network = GitForCausalLM if backbone.kind == "git" else BlipForConditionalGeneration
    model = network.from_pretrained(backbone.checked_folder(), dtype=dtype, local_files_only=True)
    vision = model.git.image_encoder if backbone.kind == "git" else model.vision_model
    return CaptionerImageEncoder(vision, Preprocessing.of(backbone), device)
