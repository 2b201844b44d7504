"""Time and memory of ridge decoding beside scikit-learn and himalaya; run with PYTHONPATH=scripts from the repository.

Random betas of one trial for each image are mapped to random image tokens at a fixed penalty, and test trials decoded.
Our solver fits and decodes all tokens, in a process of its own whose peak memory is printed. The direct way is one
scikit-learn Ridge for each token, which is timed on a few tokens and extrapolated to all. himalaya's KernelRidge, which
solves many targets at once but holds them in memory, is timed on one batch of tokens and extrapolated to all. --full is
the size of subject 1 of NSD with the 257 tokens of CLIP ViT-L/14.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from benchmark_table import against
from threadpoolctl import threadpool_limits

from fmri2img.artifacts.arrays import new_array, read_array
from fmri2img.artifacts.embeddings import Embeddings, save_embeddings
from fmri2img.linear.decoder import CALIBRATIONS, NONE, fit

ALPHA = 60_000.0
SIZES = {  # training images, voxels, test images, tokens, width
    "reduced": (900, 1600, 100, 48, 96),
    "half": (4400, 7800, 982, 257, 768),
    "full": (8859, 15724, 982, 257, 768),
}
BLOCK = 100  # images whose tokens are made at a time


def make(folder: Path, n_images: int, n_voxels: int, n_test: int, n_tokens: int, width: int) -> None:
    """Betas of training and test trials, and tokens that depend on them, written block by block."""
    rng = np.random.default_rng(0)
    latents = rng.standard_normal((n_images + n_test, 50), np.float32)
    mixing, reading = (rng.standard_normal((50, size), np.float32) for size in (n_voxels, n_tokens * width))
    betas = new_array(folder / "betas.npy", np.float32, (n_images + n_test, n_voxels))
    for start in range(0, len(betas), BLOCK):
        block = latents[start : start + BLOCK]
        betas[start : start + BLOCK] = block @ mixing + 10 * rng.standard_normal((len(block), n_voxels), np.float32)
    blocks = (latents[i : min(i + BLOCK, n_images)] @ reading for i in range(0, n_images, BLOCK))
    tokens = ((block.reshape(-1, n_tokens, width), None) for block in blocks)
    save_embeddings(folder / "tokens", np.arange(n_images), tokens, {"encoder": "random"})


def ours(folder: Path, n_images: int, calibration: str) -> None:
    """Fit and decode, and print seconds, those of all processors' work, and peak memory in bytes as JSON."""
    embeddings = Embeddings.open(folder / "tokens")
    betas = np.array(read_array(folder / "betas.npy"))
    began, before = time.perf_counter(), time.process_time()
    decoder = fit(betas[:n_images], np.arange(n_images), embeddings, [ALPHA], 5, 0, calibration)
    fitted = time.perf_counter()
    np.save(folder / "decoded.npy", decoder.decode(betas[n_images:], embeddings, 1))
    ended = time.perf_counter()
    # Not ru_maxrss, which includes the memory of the process that started this one.
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    peak = 1024 * int(line.split()[1])
    work = time.process_time() - before
    print(json.dumps({"fit": fitted - began, "decode": ended - fitted, "work": work, "peak": peak}))


def timed(model, betas: np.ndarray, targets: np.ndarray, n_images: int) -> tuple[np.ndarray, np.ndarray]:
    """(seconds, processors' seconds) that a model needs to fit to the first images and predict the rest, and its
    predictions."""
    began = np.array([time.perf_counter(), time.process_time()])
    predicted = model.fit(betas[:n_images], targets).predict(betas[n_images:])
    return np.array([time.perf_counter(), time.process_time()]) - began, np.asarray(predicted)


def told(what: str, name: str, took: np.ndarray, n_targets: str, all_of_them: np.ndarray, own: np.ndarray) -> None:
    """Report and print (seconds, processors' seconds) of one fit, extrapolated, and the ratios to ours."""
    wall, work = all_of_them
    against(what, own[0], f"{name} (extrapolated)", wall)
    print(
        f"{name}: {took[0]:.2f} s ({took[1]:.2f} s of work) for {n_targets}, {wall:.0f} s ({work:.0f} s) for all: "
        f"{wall / own[0]:.1f} x ours ({work / own[1]:.1f} x)",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="reduced", choices=SIZES, help="full: 8,859 images, 15,724 voxels")
    parser.add_argument("--alone", action="store_true", help="our solver only")
    parser.add_argument("--calibration", default=NONE, choices=CALIBRATIONS, help="of our solver")
    parser.add_argument("--tokens", type=int, default=2, help="on which scikit-learn is timed")
    parser.add_argument("--batch", type=int, default=16, help="tokens that himalaya solves at once")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ours", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    n_images, n_voxels, n_test, n_tokens, width = sizes = SIZES[options.size]
    threadpool_limits(options.threads)
    if options.ours:
        ours(options.ours, n_images, options.calibration)
        return

    from himalaya.kernel_ridge import KernelRidge
    from sklearn.linear_model import Ridge

    print(f"{n_images} images x {n_voxels} voxels -> {n_tokens} x {width} targets, {n_test} test images", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, *sizes)
        command = [sys.executable, __file__, "--ours", name, "--calibration", options.calibration]
        command += ["--threads", str(options.threads), "--size", options.size]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        own = np.array([found["fit"] + found["decode"], found["work"]])
        print(
            f"ours: fit {found['fit']:.1f} s, decode {found['decode']:.1f} s ({found['work']:.1f} s of work), "
            f"peak {found['peak'] / 1e9:.2f} GB",
            flush=True,
        )

        if options.alone:
            return
        what = f"ridge, {n_images:,} images x {n_voxels:,} voxels to {n_tokens} x {width} targets"
        betas, stored = np.array(read_array(folder / "betas.npy")), Embeddings.open(folder / "tokens").tokens
        decoded = read_array(folder / "decoded.npy")
        some = [np.array(stored[:, token], np.float32) for token in range(options.tokens)]
        runs = [timed(Ridge(alpha=ALPHA), betas, targets, n_images) for targets in some]
        each = sum(run[0] for run in runs) / len(runs)
        told(what, "scikit-learn", each, "a token", each * n_tokens, own)
        if options.calibration == NONE:
            worst = max(np.abs(decoded[:, token] - run[1]).max() for token, run in enumerate(runs))
            print(f"largest difference from scikit-learn, of which float16 explains 0.02: {worst:.4f}", flush=True)
        batch = np.concatenate([np.array(stored[:, token], np.float32) for token in range(options.batch)], axis=1)
        model = KernelRidge(alpha=ALPHA, kernel="linear", fit_intercept=True, solver="eigenvalues")
        took = timed(model, betas, batch, n_images)[0]
        told(what, "himalaya", took, f"{options.batch} tokens", took * n_tokens / options.batch, own)


if __name__ == "__main__":
    main()
