"""Training of a caption converter by alternating least squares over the map of features and the map of tokens.

With one of the two maps fixed, the other is a linear regression, whose solution is computed exactly from sums over the
images. Alternation lowers the mean squared error at every turn and needs neither a learning rate nor a seed. MindEye2
trained its converter by gradient descent on the same error.
"""

import numpy as np
import torch

from fmri2img.backbones.converters import CaptionConverter

# Added to the normal equations, as a share of their mean diagonal: weights along directions without variance stay zero.
PENALTY = 1e-5


def initial_converter(tokens: int, width: int, new_tokens: int, new_width: int) -> CaptionConverter:
    """A converter that copies tokens, aligned at the last one; additional new tokens (class tokens) are the mean."""
    converter = CaptionConverter(tokens, width, new_tokens, new_width)
    over_tokens = torch.full((new_tokens, tokens), 1 / tokens)
    matched = min(tokens, new_tokens)
    over_tokens[new_tokens - matched :] = torch.eye(tokens)[tokens - matched :]
    with torch.no_grad():
        converter.over_tokens.weight.copy_(over_tokens)
        converter.over_tokens.bias.zero_()
        converter.over_features.weight.zero_()
        converter.over_features.bias.zero_()
    return converter


def solve(squares: torch.Tensor, products: torch.Tensor) -> torch.Tensor:
    """Least-squares weights (inputs, outputs). squares: sums (inputs, inputs); products: sums (inputs, outputs)."""
    damped = squares + PENALTY * squares.diagonal().mean() * torch.eye(len(squares), dtype=squares.dtype)
    return torch.linalg.solve(damped, products)


def blocks(pairs, rows: np.ndarray, batch: int, device):
    """(source, target) float32 tensors of `rows`, `batch` images at a time."""
    for start in range(0, len(rows), batch):
        chosen = rows[start : start + batch]
        yield tuple(
            torch.from_numpy(np.asarray(array[at], np.float32)).to(device)
            for array, at in zip(pairs, chosen.T, strict=True)
        )


@torch.no_grad()
def fit_converter(
    source: np.ndarray,
    target: np.ndarray,
    rows: np.ndarray,
    held_out: np.ndarray,
    sweeps: int = 6,
    batch: int = 64,
    device: str | torch.device = "cpu",
) -> tuple[CaptionConverter, list[float]]:
    """Fit a converter on pairs of tokens.

    source (n, tokens, width), target (m, new tokens, new width): float, may be memory maps. rows, held_out: int (pairs,
    2), the row in `source` and the row in `target` of each image for training and for evaluation. Returns the converter
    and, for each sweep, the share of the held-out targets' variance that it then explains.
    """
    converter = initial_converter(*source.shape[1:], *target.shape[1:]).to(device)
    explained = []
    for _ in range(sweeps):
        _fit_features(converter, blocks((source, target), rows, batch, device))
        _fit_tokens(converter, blocks((source, target), rows, batch, device))
        explained.append(explained_variance(converter, source, target, held_out, batch, device))
        print(f"sweep {len(explained)}: explains {explained[-1]:.4f} of held-out variance", flush=True)
    return converter, explained


def _fit_features(converter: CaptionConverter, pairs) -> None:
    """The best map of features (and its bias) for the map of tokens as it is."""
    squares = products = 0
    for source, target in pairs:
        mixed = converter.over_tokens(source.mT).mT
        inputs = torch.cat([mixed, torch.ones_like(mixed[..., :1])], -1).flatten(0, 1)
        squares = squares + (inputs.T @ inputs).double().cpu()
        products = products + (inputs.T @ target.flatten(0, 1)).double().cpu()
    weights = solve(squares, products).float()
    converter.over_features.weight.copy_(weights[:-1].T)
    converter.over_features.bias.copy_(weights[-1])


def _fit_tokens(converter: CaptionConverter, pairs) -> None:
    """The best map of tokens (and its bias) for the map of features as it is."""
    features = converter.over_features
    reach = features.weight.sum(1)  # change of each new feature for a unit of the tokens' bias
    squares = products = 0
    for source, target in pairs:
        seen = (source @ features.weight.T).mT  # (n, new width, tokens)
        inputs = torch.cat([seen, reach[None, :, None].expand(len(seen), -1, 1)], -1).flatten(0, 1)
        wanted = (target - features.bias).mT.flatten(0, 1)
        squares = squares + (inputs.T @ inputs).double().cpu()
        products = products + (inputs.T @ wanted).double().cpu()
    weights = solve(squares, products).float()
    converter.over_tokens.weight.copy_(weights[:-1].T)
    converter.over_tokens.bias.copy_(weights[-1])


def explained_variance(converter, source, target, rows, batch=64, device="cpu") -> float:
    """1 - squared error / squared distance from the targets' mean over images, at each token and feature."""
    error = total = total_squares = 0
    for inputs, wanted in blocks((source, target), rows, batch, device):
        error += float((converter(inputs) - wanted).double().square().sum())
        total = total + wanted.double().sum(0)
        total_squares += float(wanted.double().square().sum())
    return 1 - error / (total_squares - float(total.square().sum()) / len(rows))
