"""Sentence encoders, with which caption metrics compare sentences, and WordNet, where METEOR finds synonyms."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from fmri2img.archives import unpack
from fmri2img.backbones.pixels import placement
from fmri2img.backbones.registry import Backbone, expect_kind
from fmri2img.errors import UserError


def load_text_encoder(backbone: Backbone, device=None) -> Callable[[list[str]], np.ndarray]:
    """Load the function that maps a list of sentences to float32 (sentences, dimensions), l2-normalised.

    `open_clip`: the text tower's joint vector. `sentence_transformer`: the mean of a transformer's last states over the
    words of a sentence. Raises UserError for another kind, and for a missing or altered file.
    """
    expect_kind(backbone, "open_clip", "sentence_transformer")
    if backbone.kind == "open_clip":
        from fmri2img.backbones.encoders import load_encoder

        return load_encoder(backbone, device).encode_texts
    from transformers import AutoModel, AutoTokenizer

    chosen, dtype = placement(backbone, device)
    folder = backbone.checked_folder()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, dtype=dtype, local_files_only=True).to(chosen).eval()

    @torch.inference_mode()
    def encode(sentences: list[str], batch: int = 64) -> np.ndarray:
        parts = []
        for start in range(0, len(sentences), batch):
            words = tokenizer(
                sentences[start : start + batch],
                padding=True,
                truncation=True,
                max_length=backbone.record["context"],
                return_tensors="pt",
            ).to(chosen)
            mask = words["attention_mask"][..., None].float()
            states = model(**words).last_hidden_state.float()
            parts.append(F.normalize((states * mask).sum(1) / mask.sum(1).clamp(min=1), dim=-1).cpu().numpy())
        return np.concatenate(parts)

    return encode


def wordnet_folder(backbone: Backbone, into: Path) -> str:
    """Unpack the registered archive of WordNet below the directory `into`; returns the directory of its files.

    Raises UserError for a missing or altered archive, and for one without WordNet's files.
    """
    expect_kind(backbone, "wordnet")
    (file,) = backbone.record["files"]
    unpack(backbone.file(file), into, "fetch it again")
    found = sorted(Path(into).rglob("data.noun"))
    if not found:
        raise UserError(f"backbone {backbone.name}: no data.noun in {file}; it is not an archive of WordNet 3.0")
    return str(found[0].parent)
