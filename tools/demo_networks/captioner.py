"""Recipe of the demo's captioner: the decoder of transformers' GitForCausalLM on the encoder's image tokens.

GIT's own vision tower is left without layers and bypassed: `TokenPassthrough` takes its place and hands the tokens on.
"""

import math
from pathlib import Path

import numpy as np
import open_clip
import torch
from torch import nn
from transformers import GitConfig, GitForCausalLM
from transformers.modeling_outputs import BaseModelOutput

from demo_networks.bank import training_bank, unseen_scenes
from demo_networks.clip import GRID, embed, to_ids, tokens_of, vision_digest
from demo_networks.stages import RecipeTask, load_stage, settings_of, train_stage, working_device
from demo_networks.vocabulary import BOS, EOS, PAD, build_tokenizer
from fmri2img.datasets.scenes import named_in
from fmri2img.training.configuration import TrainingConfig


class TokenPassthrough(nn.Module):
    """Stands in for GIT's vision tower: what comes in, (n, 1, tokens, width), is what comes out."""

    def forward(self, pixel_values, **_):
        return BaseModelOutput(last_hidden_state=pixel_values[:, 0])


def build(recipe: dict, tokens: int, width: int, vocabulary: int) -> GitForCausalLM:
    # GIT counts int((image_size / patch_size)**2 + 1) image tokens, one of them a class token, which this encoder's
    # tokens lack: sides with a ratio a little above the root of `tokens` - 1 give the count that there is.
    vision = {
        "hidden_size": width,
        "num_hidden_layers": 0,
        "num_attention_heads": 1,
        "intermediate_size": 1,
        "image_size": math.ceil(16 * math.sqrt(tokens - 1)),
        "patch_size": 16,
    }
    config = GitConfig(
        vision_config=vision,
        vocab_size=vocabulary,
        hidden_size=recipe["width"],
        num_hidden_layers=recipe["layers"],
        num_attention_heads=recipe["heads"],
        intermediate_size=4 * recipe["width"],
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=64,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
    )
    model = GitForCausalLM(config)
    counted = model.git.encoder.layer[0].attention.self.image_patch_tokens
    if counted != tokens:
        raise ValueError(f"GIT counts {counted} image tokens for {tokens}")
    return model


def bypassed(model: GitForCausalLM) -> GitForCausalLM:
    """The model with its vision tower replaced: pass tokens (n, 1, tokens, width) as `pixel_values`."""
    model.git.image_encoder = TokenPassthrough()
    return model


def losses(model, tokens: torch.Tensor, text_ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """Next-word cross-entropy of captions (n, length) given tokens (n, tokens, width)."""
    length = int((text_ids != PAD).sum(1).max())
    ids = text_ids[:, :length]
    real = ids != PAD
    labels = ids.masked_fill(~real, -100)
    out = model(input_ids=ids, attention_mask=real.long(), pixel_values=tokens[:, None], labels=labels)
    return {"words": out.loss}


@torch.no_grad()
def caption(model, tokenizer, tokens: np.ndarray, device, batch: int = 100) -> list[str]:
    """The likeliest caption, word by word, for tokens (n, tokens, width)."""
    sentences = []
    for start in range(0, len(tokens), batch):
        x = torch.from_numpy(tokens[start : start + batch]).float().to(device)
        begin = torch.full((len(x), 1), BOS, device=device)
        ids = model.generate(
            input_ids=begin, attention_mask=torch.ones_like(begin), pixel_values=x[:, None], max_new_tokens=42,
            do_sample=False, num_beams=1,
        )  # fmt: skip
        sentences += tokenizer.batch_decode(ids, skip_special_tokens=True)
    return sentences


def measure(folder: Path, siblings: Path, stream: int, device, count=500) -> dict:
    """Shares of unseen scenes whose caption names the right background and objects."""
    clip = encoder(siblings, device)
    model = bypassed(GitForCausalLM.from_pretrained(folder).float()).to(device).eval()
    scenes, images, _ = unseen_scenes(count, stream)
    written = caption(model, build_tokenizer(), embed(clip, images, device)[1], device)
    place, thing, both, recall = [], [], [], []
    for scene, sentence in zip(scenes, written, strict=True):
        backgrounds, categories = named_in(sentence)
        there = {item.category for item in scene.objects}
        place.append(backgrounds == {scene.background})
        thing.append(bool(categories & there))
        both.append(place[-1] and thing[-1])
        recall.append(len(categories & there) / len(there))
    return {
        "right_background_and_an_object": float(np.mean(both)),
        "right_background": float(np.mean(place)),
        "a_right_object": float(np.mean(thing)),
        "objects_named": float(np.mean(recall)),
    }


class CaptionerTask(RecipeTask):
    """settings: also `siblings`, the folder that holds the encoder `clip`."""

    def __init__(self, settings: dict, training: TrainingConfig) -> None:
        work, device = Path(settings["work"]), working_device()
        clip = encoder(Path(settings["siblings"]), device)
        self.bank = training_bank(work, **settings["bank"]).thinned(settings["every"])
        self.tokens, self.digest = tokens_of(clip, self.bank, work, device), vision_digest(clip)
        super().__init__(settings, training, bypassed(first_weights(settings, self.tokens.shape[2], training.seed)))

    def sources(self):
        return {"image tokens": self.digest}

    def draw(self, rng, noise, batch, rows, device):
        chosen = np.sort(rng.choice(self.bank.whole, batch, replace=False))
        ids = self.bank.text_ids[chosen, rng.choice(self.settings["wordings"], size=batch)]
        tokens = torch.from_numpy(self.tokens[chosen[rows]].astype(np.float32)).to(device)
        return {"tokens": tokens, "text_ids": to_ids(ids[rows], device)}

    def losses(self, network, tokens, text_ids):
        return losses(network, tokens, text_ids)


def encoder(siblings: Path, device):
    return open_clip.create_model(f"local-dir:{siblings / 'clip'}").to(device).eval().requires_grad_(False)


def first_weights(recipe: dict, width: int, seed: int) -> GitForCausalLM:
    """The untrained captioner of tokens of `width`."""
    torch.manual_seed(seed)
    return build(recipe, GRID * GRID, width, len(build_tokenizer()))


def train(recipe: dict, bank: dict, work: Path, siblings: Path) -> float:
    """Train the network; returns the seconds it took."""
    settings = settings_of(recipe, bank=bank, work=str(work), siblings=str(siblings))
    return train_stage("demo_networks.captioner:CaptionerTask", settings, recipe["training"], work / "captioner")


def package(recipe: dict, work: Path, siblings: Path, folder: Path) -> dict:
    """Write the network's files into `folder`; returns what the card says of it."""
    width = encoder(siblings, "cpu").visual.ln_post.weight.shape[0]
    model = first_weights(recipe, width, recipe["training"].get("seed", 0))
    vision = model.git.image_encoder
    load_stage(bypassed(model), work / "captioner")
    parameters = sum(p.numel() for p in model.parameters())
    model.git.image_encoder = vision
    model.half().save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return {
        "parameters": parameters,
        "notes": [
            "model.git.image_encoder is bypassed: what replaces it returns the 64 tokens as last_hidden_state",
            "generation starts from [BOS] and ends with [EOS]; a caption takes up to 42 words; the tokenizer is here",
        ],
    }
