"""Caption converters: from the image tokens that a decoder predicts to those that a captioner was trained with.

MindEye2's converter is linear: one map over tokens, then one over features (256 tokens of ViT-bigG-14, 1664 wide, to
the 257 of GIT's image encoder, 1024 wide; 1,771,009 parameters). It was released as bigG_to_L_epoch8.pth;
converter_fit.py trains others.
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from fmri2img.artifacts.atomic import atomic_directory
from fmri2img.artifacts.tables import read_json, write_json
from fmri2img.backbones.registry import Backbone, expect_kind
from fmri2img.errors import UserError
from fmri2img.tensors import read_checkpoint, read_tensors

WEIGHTS, RECORD = "converter.safetensors", "converter.json"
RELEASED_NAMES = {"linear1.": "over_tokens.", "linear2.": "over_features."}


class CaptionConverter(nn.Module):
    """Tokens (n, tokens, width) to (n, new tokens, new width): a Linear over tokens, then one over features."""

    def __init__(self, tokens: int, width: int, new_tokens: int, new_width: int) -> None:
        super().__init__()
        self.over_tokens = nn.Linear(tokens, new_tokens)
        self.over_features = nn.Linear(width, new_width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.over_features(self.over_tokens(tokens.mT).mT)

    @torch.inference_mode()
    def convert(self, tokens: np.ndarray, batch: int = 64) -> np.ndarray:
        """Converted tokens float32 (n, new tokens, new width) of tokens of any float type.

        Raises UserError when the number or width of the tokens is not what the converter takes.
        """
        expected = (self.over_tokens.in_features, self.over_features.in_features)
        if tokens.shape[1:] != expected:
            raise UserError(
                f"configuration: key 'caption_converter': it takes {expected[0]} tokens of width {expected[1]}, got "
                f"{tokens.shape[1]} of {tokens.shape[2]}; use 'trained', or a converter for this encoder"
            )
        device = self.over_tokens.weight.device
        blocks = (
            self(torch.from_numpy(np.asarray(tokens[start : start + batch], np.float32)).to(device)).cpu().numpy()
            for start in range(0, len(tokens), batch)
        )
        return np.concatenate(list(blocks))


def _from_state(state: dict[str, torch.Tensor], what: str) -> CaptionConverter:
    """A converter with exactly these tensors. Raises UserError naming `what` and a tensor that does not fit."""
    names = {"over_tokens.weight", "over_tokens.bias", "over_features.weight", "over_features.bias"}
    for name in sorted(names ^ set(state)):
        kind = "missing" if name in names else "unexpected"
        raise UserError(f"{what}: {kind} tensor {name}; fetch or train the converter again")
    (new_tokens, tokens), (new_width, width) = (state[f"over_{over}.weight"].shape for over in ("tokens", "features"))
    with torch.device("meta"):
        converter = CaptionConverter(tokens, width, new_tokens, new_width)
    try:
        converter.load_state_dict({name: tensor.float() for name, tensor in state.items()}, assign=True)
    except RuntimeError as error:
        raise UserError(f"{what}: {str(error).splitlines()[-1].strip()}; fetch or train the converter again") from None
    return converter.eval().requires_grad_(False)


def load_released_converter(backbone: Backbone) -> CaptionConverter:
    """MindEye2's converter from its checkpoint; nothing but tensors is unpickled.

    Raises UserError for a missing, altered or damaged file, and for a missing or unexpected tensor.
    """
    expect_kind(backbone, "caption_converter")
    (name,) = backbone.record["files"]
    path = backbone.file(name)
    checkpoint = read_checkpoint(path, "fetch it again")
    state = checkpoint.get("model_state_dict", checkpoint)
    renamed = {}
    for key, tensor in state.items():
        prefix = key[: key.find(".") + 1]
        renamed[RELEASED_NAMES.get(prefix, prefix) + key[len(prefix) :]] = tensor
    return _from_state(renamed, f"backbone {backbone.name}")


def save_converter(path: str | Path, converter: CaptionConverter, record: dict) -> None:
    """Write weights and their record into a directory."""
    with atomic_directory(path) as directory:
        save_file(
            {name: t.detach().cpu().contiguous() for name, t in converter.state_dict().items()}, directory / WEIGHTS
        )
        write_json(directory / RECORD, record)


def load_converter(path: str | Path) -> tuple[CaptionConverter, dict]:
    """A trained converter and its record. Raises UserError for a missing file or tensor."""
    path = Path(path)
    record = read_json(path / RECORD)
    return _from_state(read_tensors(path / WEIGHTS), str(path)), record
