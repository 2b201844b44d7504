"""Recipe of the demo's image-text model: a small open_clip CLIP whose patch tokens are the project's image tokens.

The contrastive loss is CLIP's (Radford et al. 2021). Three linear heads on each patch token, dropped afterwards, ask
for the patch's own pixels, the pixels around it and its place: without them the tokens of so small a network keep
too little of the picture for a generator to draw it again.
"""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from fmri2img.backbones.training.bank import precomputed, unseen_scenes
from fmri2img.backbones.training.fidelity import retrieval_top1
from fmri2img.backbones.training.fitting import Schedule
from fmri2img.backbones.training.vocabulary import EOS, PAD, build_tokenizer, encode

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
    logits = clip.logit_scale.exp() * (F.normalize(pooled, dim=-1) @ encode_text(clip, text_ids).T).float()
    same = torch.arange(len(pooled), device=pooled.device)
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
    return clip.encode_text(torch.from_numpy(text_ids.astype(np.int64)).to(device)).float().cpu().numpy()


def vision_digest(clip) -> str:
    """Names the tokens of a model: changes with its vision tower, not with the projection behind the tokens."""
    named = (w for name, w in clip.visual.named_parameters() if name != "proj")
    weights = (w.detach().cpu().half().numpy().tobytes() for w in named)
    return hashlib.sha256(b"".join(weights)).hexdigest()[:12]


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
    into the projection, so that the tokens need no statistics beside them.
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


def refine_text(clip, bank, work: Path, device, fit, schedule) -> float:
    """Train what lies behind the tokens alone: projection, text tower and temperature, in large batches.

    The tokens stay as they are (locked-image tuning, Zhai et al. 2022), so that whatever was built on them still fits.
    """
    width = clip.visual.ln_post.weight.shape[0]
    tokens = precomputed(
        work.parent, "tokens", vision_digest(clip), bank.images, (GRID**2, width), lambda x: embed(clip, x, device)[1]
    )
    blocks = range(0, bank.whole, 1024)
    means = np.concatenate([tokens[b : min(b + 1024, bank.whole)].astype(np.float32).mean(1) for b in blocks])
    behind = [clip.visual.proj, clip.logit_scale, clip.text_projection, clip.positional_embedding]
    behind += [*clip.token_embedding.parameters(), *clip.transformer.parameters(), *clip.ln_final.parameters()]
    for parameter in behind:
        parameter.requires_grad_(True)

    def loss_of(module, rng):
        chosen = rng.choice(bank.whole, schedule.batch, replace=False)
        ids = torch.from_numpy(bank.text_ids[chosen, rng.integers(5, size=schedule.batch)].astype(np.int64)).to(device)
        pooled = torch.from_numpy(means[chosen]).to(device) @ module.visual.proj
        return {"contrastive": contrastive(module, pooled, ids)}

    fitted = fit(clip, loss_of, schedule, work / "text", device)
    clip.load_state_dict(fitted.module.state_dict())
    return fitted.seconds


def train(recipe: dict, bank, work: Path, folder: Path, device, fit, schedule, siblings) -> dict:
    """Train, save into `folder`, and return what the card says: parameters and seconds.

    First both towers together, then, with the image tokens settled, what lies behind them.
    """
    config = configuration(recipe, len(build_tokenizer()))
    torch.manual_seed(schedule.seed)
    trainee = Trainee(config)

    def loss_of(module, rng):
        chosen = np.sort(rng.choice(bank.whole, schedule.batch, replace=False))
        ids = bank.text_ids[chosen, rng.integers(5, size=schedule.batch)]
        return losses(
            module, to_network(bank.images[chosen], device), torch.from_numpy(ids.astype(np.int64)).to(device)
        )

    fitted = fit(trainee, loss_of, schedule, work, device)
    clip = fitted.module.clip
    unit_variance(clip, embed(clip, bank.images[:2000], device)[1])
    # Rounded to the precision that is stored, so that nothing after this step changes the tokens.
    clip.half().float()
    seconds = fitted.seconds + refine_text(
        clip, bank.thinned(recipe["every"]), work, device, fit, Schedule(**recipe["text_schedule"])
    )
    save(clip.eval(), config, folder)
    return {"parameters": sum(p.numel() for p in clip.parameters()), "seconds": seconds}
