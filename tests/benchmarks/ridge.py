"""Time and memory of fitting and decoding with ridge: `PYTHONPATH=scripts python tests/benchmarks/ridge.py [--large]`.

Printed beside the direct way, himalaya's RidgeCV, which holds every trial's targets in memory and scores per target.
"""

import argparse
import resource
import tempfile
import time

import numpy as np

from fmri2img.artifacts.embeddings import Embeddings, save_embeddings
from fmri2img.linear.decoder import fit

ALPHAS = [1.0, 10.0, 100.0, 1000.0, 10000.0, 100000.0]
SIZES = {"demo": (1728, 400, 900, 64, 96), "large": (12000, 4000, 4000, 257, 768)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="12,000 trials, 4,000 voxels, 197,376 targets")
    n_trials, n_voxels, n_images, n_tokens, width = SIZES["large" if parser.parse_args().large else "demo"]
    rng = np.random.default_rng(0)
    image = np.sort(rng.integers(0, n_images, n_trials))
    latents = rng.standard_normal((n_images, 50), np.float32)
    betas = latents[image] @ rng.standard_normal((50, n_voxels), np.float32)
    betas += 10 * rng.standard_normal(betas.shape, np.float32)
    with tempfile.TemporaryDirectory() as folder:
        reading = rng.standard_normal((50, n_tokens * width), np.float32)
        blocks = ((latents[i : i + 100] @ reading).reshape(-1, n_tokens, width) for i in range(0, n_images, 100))
        save_embeddings(f"{folder}/e", np.arange(n_images), ((block, None) for block in blocks), {})
        embeddings = Embeddings.open(f"{folder}/e")
        start = time.perf_counter()
        fitted = fit(betas, image, embeddings, ALPHAS, 5, 0)
        middle = time.perf_counter()
        fitted.decode(betas[:1000], embeddings, test_repeats=3)
        end = time.perf_counter()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{n_trials} trials x {n_voxels} voxels -> {n_tokens * width} targets, {len(ALPHAS)} penalties, 5 folds")
        print(f"fit {middle - start:.2f} s, decode 1,000 rows {end - middle:.2f} s, peak {peak:.2f} GB")
        print(f"penalty {fitted.metadata['alpha']:g}, R2 {max(fitted.metadata['cv_r2']):.3f}")
        if n_images * n_tokens * width < 1e8:
            from himalaya.ridge import RidgeCV

            targets = np.asarray(embeddings.tokens, np.float32).reshape(n_images, -1)[image]
            start = time.perf_counter()
            RidgeCV(alphas=ALPHAS, cv=5).fit(betas, targets)
            print(f"himalaya RidgeCV, folds not grouped by image: {time.perf_counter() - start:.2f} s")


if __name__ == "__main__":
    main()
