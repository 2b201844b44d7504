"""Recipe of the demo's image-text model: a small open_clip CLIP whose patch tokens are the project's image tokens.

The contrastive loss is CLIP's (Radford et al. 2021). Three linear heads on each patch token, dropped afterwards, ask
for the patch's own pixels, the pixels around it and its place: without them the tokens of so small a network keep
too little of the picture for a generator to draw it again.
"""

import json
import math
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from safetensors.torch import save_file, save_model
from torch import nn

from demo_networks.bank import Bank, precomputed, training_bank, unseen_scenes
from demo_networks.fidelity import retrieval_top1
from demo_networks.stages import (
    WEIGHTS,
    RecipeTask,
    load_stage,
    settings_of,
    train_stage,
    weights_digest,
    working_device,
)
from demo_networks.vocabulary import EOS, PAD, build_tokenizer, encode
from fmri2img.training.configuration import TrainingConfig
from fmri2img.training.distributed import gather

GRID = 8


def configuration(recipe: dict, vocabulary: int) -> dict:
    """open_clip_config.json of the model."""
    return {
        "model_cfg": {
            "embed_dim": recipe["embed_dim"],
            "vision_cfg": {**recipe["vision"], "image_size": 64, "patch_size": 64 // GRID, "output_tokens": True,
                           "pool_type": "avg"},
            "text_cfg": {**recipe["text"], "vocab_size": vocabulary, "pool_type": "eos", "eos_id": EOS, "pad_id": PAD,
                         "hf_tokenizer_name": "local"},
        },
        "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"},
    }  # fmt: skip


class Trainee(nn.Module):
    """The CLIP model with the auxiliary heads of its patch tokens."""

    def __init__(self, config: dict):
        super().__init__()
        cfg = {k: dict(v) if isinstance(v, dict) else v for k, v in config["model_cfg"].items()}
        self.clip = open_clip.model.CLIP(**cfg, output_dict=False)
        width = cfg["vision_cfg"]["width"]
        self.heads = nn.ModuleDict(
            {"patch": nn.Linear(width, 48), "around": nn.Linear(width, 108), "place": nn.Linear(width, 12)}
        )


def local_targets(images: torch.Tensor) -> dict[str, torch.Tensor]:
    """What the heads must say of each patch: (batch, 64, values) for images (batch, 3, 64, 64) in -1 to 1.

    patch: its 4 x 4 averaged pixels; around: the 6 x 6 averaged pixels of its 3 x 3 neighbourhood; place: sines and
    cosines of its row and column.
    """
    patch = F.unfold(F.avg_pool2d(images, 2), 4, stride=4).transpose(1, 2)
    wide = F.pad(F.avg_pool2d(images, 4), (2, 2, 2, 2), mode="replicate")
    around = F.unfold(wide, 6, stride=2).transpose(1, 2)
    position = (torch.arange(GRID, device=images.device) + 0.5) / GRID
    waves = torch.cat([f(math.pi * k * position)[:, None] for k in (0.5, 1, 2) for f in (torch.sin, torch.cos)], 1)
    rows, columns = waves[:, None].expand(-1, GRID, -1), waves[None].expand(GRID, -1, -1)
    place = torch.cat([rows, columns], -1).reshape(1, GRID * GRID, -1).expand(len(images), -1, -1)
    return {"patch": patch, "around": around, "place": place}


def to_network(images: np.ndarray, device) -> torch.Tensor:
    """(n, 64, 64, 3) uint8 to (n, 3, 64, 64) float32 in -1 to 1, the preprocessing in open_clip_config.json."""
    return torch.tensor(images, device=device).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_ids(text_ids: np.ndarray, device) -> torch.Tensor:
    """Token ids as the text tower wants them, int64."""
    return torch.from_numpy(text_ids.astype(np.int64)).to(device)


def encode_text(clip, text_ids: torch.Tensor) -> torch.Tensor:
    """What `clip.encode_text(text_ids, normalize=True)` gives, without the work on columns that hold padding only.

    The text tower is causal, so nothing before the padding depends on it.
    """
    length = int((text_ids != PAD).sum(1).max())
    x = clip.token_embedding(text_ids[:, :length]) + clip.positional_embedding[:length]
    x = clip.ln_final(clip.transformer(x, attn_mask=clip.attn_mask[:length, :length]))
    end = (text_ids[:, :length] == EOS).int().argmax(1)
    return F.normalize(x[torch.arange(len(x), device=x.device), end] @ clip.text_projection, dim=-1)


def contrastive(clip, pooled: torch.Tensor, text_ids: torch.Tensor) -> torch.Tensor:
    """CLIP's symmetric cross-entropy between pictures' pooled embeddings and their captions."""
    images, texts = gather(F.normalize(pooled, dim=-1)), gather(encode_text(clip, text_ids))
    logits = clip.logit_scale.exp() * (images @ texts.T).float()
    same = torch.arange(len(images), device=images.device)
    return (F.cross_entropy(logits, same) + F.cross_entropy(logits.T, same)) / 2


def losses(trainee: Trainee, images: torch.Tensor, text_ids: torch.Tensor) -> dict[str, torch.Tensor]:
    pooled, tokens = trainee.clip.visual(images)
    result = {"contrastive": contrastive(trainee.clip, pooled, text_ids)}
    for name, target in local_targets(images).items():
        result[name] = F.mse_loss(trainee.heads[name](tokens).float(), target)
    return result


@torch.no_grad()
def embed(clip, images: np.ndarray, device, batch: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """Pooled embeddings (n, embed_dim) float32 and patch tokens (n, 64, width) float16."""
    pooled, tokens = [], []
    for start in range(0, len(images), batch):
        p, t = clip.visual(to_network(images[start : start + batch], device))
        pooled.append(p.float().cpu().numpy())
        tokens.append(t.half().cpu().numpy())
    return np.concatenate(pooled), np.concatenate(tokens)


@torch.no_grad()
def embed_text(clip, text_ids: np.ndarray, device) -> np.ndarray:
    """Text embeddings (n, embed_dim) float32."""
    return clip.encode_text(to_ids(text_ids, device)).float().cpu().numpy()


def vision_digest(clip) -> str:
    """Names the tokens of a model: changes with its vision tower, not with the projection behind the tokens."""
    return weights_digest(w for name, w in clip.visual.named_parameters() if name != "proj")


def tokens_of(clip, bank: Bank, work: Path, device) -> np.ndarray:
    """Image tokens (scenes, 64, width) float16 of a bank, computed once and memory-mapped."""
    shape = (GRID * GRID, clip.visual.ln_post.weight.shape[0])
    return precomputed(work, "tokens", vision_digest(clip), bank.images, shape, lambda x: embed(clip, x, device)[1])


def measure(folder: Path, siblings: Path, stream: int, device) -> dict:
    """Retrieval on 1,000 unseen scenes: top-1 of 100, mean over ten pools, one random caption a scene."""
    clip = open_clip.create_model(f"local-dir:{folder}").to(device).eval()
    context = len(clip.positional_embedding)
    _, images, sentences = unseen_scenes(1000, stream)
    rng = np.random.default_rng(0)
    chosen = [five[rng.integers(5)] for five in sentences]
    image, _ = embed(clip, images, device)
    text = embed_text(clip, encode(build_tokenizer(), chosen, context), device)
    pools = np.split(np.arange(1000), 10)
    return {
        "text_to_image_top1_of_100": float(np.mean([retrieval_top1(text[p], image[p]) for p in pools])),
        "image_to_text_top1_of_100": float(np.mean([retrieval_top1(image[p], text[p]) for p in pools])),
    }


@torch.no_grad()
def unit_variance(clip, tokens: np.ndarray) -> None:
    """Scale each token channel to unit variance without changing any pooled embedding.

    `tokens` (n, 64, width) are of training scenes. The scale goes into the gain and shift of ln_post, and its inverse
    into the projection, so that the tokens need no separate statistics.
    """
    std = torch.from_numpy(tokens.astype(np.float32).std((0, 1))).to(clip.visual.proj.device)
    clip.visual.ln_post.weight /= std
    clip.visual.ln_post.bias /= std
    clip.visual.proj *= std[:, None]


def save(clip, config: dict, folder: Path) -> None:
    """open_clip's hub folder: `open_clip.create_model("local-dir:<folder>")` loads it, and get_tokenizer too."""
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=1) + "\n")
    weights = {k: v.detach().cpu().half().contiguous() for k, v in clip.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    build_tokenizer().save_pretrained(folder)


class ClipTask(RecipeTask):
    """First stage: both towers together. It ends with tokens of unit variance, at the precision that is stored."""

    def __init__(self, settings: dict, training: TrainingConfig) -> None:
        self.bank = training_bank(Path(settings["work"]), **settings["bank"])
        torch.manual_seed(training.seed)
        super().__init__(settings, training, Trainee(configuration(settings, len(build_tokenizer()))))

    def draw(self, rng, noise, batch, rows, device):
        chosen = np.sort(rng.choice(self.bank.whole, batch, replace=False))
        ids = self.bank.text_ids[chosen, rng.integers(5, size=batch)]
        return {"images": to_network(self.bank.images[chosen[rows]], device), "text_ids": to_ids(ids[rows], device)}

    def losses(self, network, images, text_ids):
        return losses(network, images, text_ids)

    def save(self, directory, metadata):
        clip = self.network.clip.eval()
        unit_variance(clip, embed(clip, self.bank.images[:2000], clip.visual.proj.device)[1])
        # Rounded to the precision that is stored, so that nothing after this step changes the tokens.
        save_model(clip.half().float(), str(directory / WEIGHTS))


class TextTask(RecipeTask):
    """Second stage: what lies behind the tokens alone (projection, text tower and temperature), in large batches.

    The tokens stay as they are (locked-image tuning, Zhai et al. 2022), so that whatever was built on them still fits.
    settings: also `start`, the folder of the first stage.
    """

    def __init__(self, settings: dict, training: TrainingConfig) -> None:
        device = working_device()
        clip = trained(settings, Path(settings["start"])).to(device).requires_grad_(False)
        self.bank = training_bank(Path(settings["work"]), **settings["bank"]).thinned(settings["every"])
        tokens = tokens_of(clip, self.bank, Path(settings["work"]), device)
        blocks = range(0, self.bank.whole, 1024)
        self.means = np.concatenate(
            [tokens[b : min(b + 1024, self.bank.whole)].astype(np.float32).mean(1) for b in blocks]
        )
        self.tokens = vision_digest(clip)
        behind = [clip.visual.proj, clip.logit_scale, clip.text_projection, clip.positional_embedding]
        behind += [*clip.token_embedding.parameters(), *clip.transformer.parameters(), *clip.ln_final.parameters()]
        for parameter in behind:
            parameter.requires_grad_(True)
        super().__init__(settings, training, clip)

    def sources(self):
        return {"image tokens": self.tokens}

    def draw(self, rng, noise, batch, rows, device):
        chosen = rng.choice(self.bank.whole, batch, replace=False)
        ids = self.bank.text_ids[chosen, rng.integers(5, size=batch)]
        return {"means": torch.from_numpy(self.means[chosen[rows]]).to(device), "text_ids": to_ids(ids[rows], device)}

    def losses(self, network, means, text_ids):
        return {"contrastive": contrastive(network, means @ network.visual.proj, text_ids)}


def trained(settings: dict, folder: Path):
    """The CLIP model of a stage's folder."""
    return load_stage(Trainee(configuration(settings, len(build_tokenizer()))).clip, folder)


def train(recipe: dict, bank: dict, work: Path, siblings: Path) -> float:
    """Train both stages; returns the seconds they took."""
    settings = settings_of(recipe, bank=bank, work=str(work))
    first = train_stage("demo_networks.clip:ClipTask", settings, recipe["training"], work / "clip")
    settings["start"] = str(work / "clip")
    return first + train_stage("demo_networks.clip:TextTask", settings, recipe["text_training"], work / "clip-text")


def package(recipe: dict, work: Path, siblings: Path, folder: Path) -> dict:
    """Write the network's files into `folder`; returns what the card says of it."""
    clip = trained(recipe, work / "clip-text")
    save(clip.eval(), configuration(recipe, len(build_tokenizer())), folder)
    return {"parameters": sum(p.numel() for p in clip.parameters())}
