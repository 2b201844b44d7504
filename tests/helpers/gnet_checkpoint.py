"""A tiny checkpoint in the form of gnet_multisubject.pt. Its weights follow from a seed, so that none are stored."""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch

SHAPE = (5, 4, 3)  # of the functional volume
PLACES = {1: [3, 7, 8, 20, 33, 41, 59], 2: [0, 10, 11]}  # of the voxels, numbers in C order
READ, PASSED = 4, 4  # channels that voxels read, and those that are only passed on


def shared_weights(rng: np.random.Generator) -> OrderedDict:
    """Of the network all subjects share, by the published names. The published widths but for the trunk's."""
    wide = READ + PASSED
    convolutions = {
        "pre.conv1.0": (64, 3, 11), "pre.conv2.0": (192, 64, 5), "enc.conv3": (128, 192, 3),
        "enc.conv4a.conv1": (wide, 128, 3), "enc.conv5a.conv1": (wide, wide, 3), "enc.conv6a.conv1": (wide, wide, 3),
        "enc.conv4b.conv1": (wide, wide, 3), "enc.conv5b.conv1": (wide, wide, 3), "enc.conv6b.conv1": (READ, wide, 3),
    }  # fmt: skip
    norms = {"enc.bn1": 192, "enc.conv4a.bn1": 128}
    norms |= {f"enc.conv{block}.bn1": wide for block in ("5a", "6a", "4b", "5b", "6b")}
    weights = OrderedDict(mu=rng.uniform(0.3, 0.6, (3, 227, 227)))
    for name, (out, channels, side) in convolutions.items():
        weights[f"{name}.weight"] = rng.standard_normal((out, channels, side, side)) * np.sqrt(2 / channels) / side
        weights[f"{name}.bias"] = 0.1 * rng.standard_normal(out)
    for name, channels in norms.items():
        weights[f"{name}.weight"] = rng.uniform(0.5, 1.5, channels)
        weights[f"{name}.bias"] = 0.1 * rng.standard_normal(channels)
        weights[f"{name}.running_mean"] = 0.1 * rng.standard_normal(channels)
        weights[f"{name}.running_var"] = rng.uniform(0.5, 1.5, channels)
        weights[f"{name}.num_batches_tracked"] = np.array(7)
    return _tensors(weights)


def readout_weights(rng: np.random.Generator, voxels: int) -> OrderedDict:
    weights = {"rf0": (25, 25), "rf1": (13, 13), "w": (128 + 6 * READ,), "b": ()}
    return _tensors({name: rng.standard_normal((voxels, *shape)) for name, shape in weights.items()})


def _tensors(weights: dict) -> OrderedDict:
    dtypes = {name: torch.int64 if name.endswith("tracked") else torch.float32 for name in weights}
    return OrderedDict((name, torch.as_tensor(value).to(dtypes[name])) for name, value in weights.items())


def checkpoint() -> dict:
    rng = np.random.default_rng(5)
    parameters = {"enc": shared_weights(rng), "fwrfs": {s: readout_weights(rng, len(p)) for s, p in PLACES.items()}}
    of_voxels = {subject: np.arange(len(places), dtype=np.float32) for subject, places in PLACES.items()}
    return {
        "num_epochs": 50, "batch_size": 100, "holdout_frac": 0.1, "best_params": parameters, "final_params": parameters,
        "trn_loss_history": [np.float64(0.9), 0.8], "hold_loss_history": [np.float32(0.9)],
        "hold_cc_history": {subject: [values] for subject, values in of_voxels.items()}, "best_epoch": 1,
        "best_joint_cc_score": np.float64(0.2), "val_cc": of_voxels, "input_mean": np.zeros((3, 227, 227)),
        "brain_nii_shape": {subject: SHAPE for subject in PLACES},
        "voxel_index": {subject: np.array(places) for subject, places in PLACES.items()},
        "voxel_roi": of_voxels, "voxel_mask": {s: np.isin(np.arange(60), p) for s, p in PLACES.items()},
    }  # fmt: skip


def write_checkpoint(path: Path, record: dict | None = None) -> Path:
    torch.save(checkpoint() if record is None else record, path)
    return path


def pictures(n: int = 2, side: int = 256) -> np.ndarray:
    """Smooth coloured pictures, uint8 (n, side, side, 3)."""
    rng = np.random.default_rng(9)
    coarse = rng.uniform(0, 255, (n, 8, 8, 3))
    fine = np.repeat(np.repeat(coarse, side // 8, axis=1), side // 8, axis=2)
    return (fine + rng.uniform(-20, 20, fine.shape)).clip(0, 255).astype(np.uint8)
