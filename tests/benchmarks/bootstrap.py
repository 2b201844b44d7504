"""Time of the statistics of a large study: `PYTHONPATH=scripts python tests/benchmarks/bootstrap.py`.

10 methods x 20 metrics x 4 subjects x 2 seeds x 1,000 images: intervals from 10,000 resamples, and all pairs of methods
tested with 10,000 flips. The straightforward loop draws one resample after the other; it is run for 100 of them and
its time multiplied, and its intervals are compared with ours from the same draws.
"""

import time

import numpy as np
import pandas as pd
from benchmark_table import against, fastest, growth

from fmri2img.stats.bootstrap import bootstrap_groups, bootstrap_means, draw_counts, image_values, summarise
from fmri2img.stats.permutation import compare_methods

METHODS, METRICS, SUBJECTS, SEEDS, IMAGES = 10, 20, 4, 2, 1000
RESAMPLES, LOOPED = 10_000, 100


def planted_scores() -> pd.DataFrame:
    shape = METHODS, METRICS, SUBJECTS, SEEDS, IMAGES
    codes = np.indices(shape).reshape(5, -1)
    columns = {
        "method": np.array([f"method{m}" for m in range(METHODS)])[codes[0]],
        "metric": np.array([f"metric{m}" for m in range(METRICS)])[codes[1]],
        "subject": np.array([f"subj{s:02d}" for s in range(SUBJECTS)])[codes[2]],
    }
    value = np.random.default_rng(0).random(len(codes[0])) + 0.01 * codes[0]
    return pd.DataFrame(columns | {"seed": codes[3], "image_id": codes[4], "value": value})


def loop_bootstrap(values: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Means of each column over the images of each draw, one draw after the other."""
    return np.array([values[drawn].mean(axis=0) for drawn in draws])


def loop_sign_flips(differences: np.ndarray, flips: int, rng) -> np.ndarray:
    observed = np.abs(differences.mean(axis=0))
    extreme = np.zeros(differences.shape[1])
    for _ in range(flips):
        signs = rng.choice([-1, 1], len(differences))[:, None]
        extreme += np.abs((signs * differences).mean(axis=0)) >= observed
    return (1 + extreme) / (1 + flips)


def main() -> None:
    scores = planted_scores()
    start = time.perf_counter()
    table = image_values(scores, ["metric", "method"])
    print(
        f"{len(scores):,} scores to {table.shape[1]} columns of images: {time.perf_counter() - start:.2f} s", flush=True
    )

    values = table.to_numpy()
    start = time.perf_counter()
    means = bootstrap_means(values, RESAMPLES, 0)
    seconds = time.perf_counter() - start
    counts = draw_counts(IMAGES, 1024, np.random.default_rng(0))[:LOOPED].astype(int)
    draws = np.array([np.repeat(np.arange(IMAGES), row) for row in counts])
    start = time.perf_counter()
    looped = loop_bootstrap(values, draws)
    loop = (time.perf_counter() - start) * RESAMPLES / LOOPED
    what = f"bootstrap, {RESAMPLES:,} resamples of {IMAGES:,} images in {values.shape[1]} columns"
    against(what, seconds, "loop (extrapolated)", loop)
    print(f"    largest difference from the loop on the same draws: {np.abs(means[:LOOPED] - looped).max():.1e}")

    start = time.perf_counter()
    bootstrap_groups(table, ["metric", "method"], RESAMPLES, 0)
    print(f"the same by metric and method: {time.perf_counter() - start:.2f} s")
    start = time.perf_counter()
    summarise(scores, ["metric", "method"], RESAMPLES)
    print(f"scores to intervals, all in: {time.perf_counter() - start:.2f} s", flush=True)

    start = time.perf_counter()
    found = compare_methods(table, ["metric"], RESAMPLES)
    seconds = time.perf_counter() - start
    differences = np.random.default_rng(0).standard_normal((IMAGES, len(found)))
    start = time.perf_counter()
    loop_sign_flips(differences, LOOPED, np.random.default_rng(0))
    loop = (time.perf_counter() - start) * RESAMPLES / LOOPED
    what = f"{RESAMPLES:,} sign flips of {len(found)} pairs of methods, with Holm's correction"
    against(what, seconds, "loop (extrapolated)", loop)
    sizes = [250, 500, 1000, 2000]
    wide = np.random.default_rng(0).random((sizes[-1], 200))
    times = [fastest(3, time.perf_counter, lambda n=n: bootstrap_means(wide[:n], 1000, 0))[0][0] for n in sizes]
    growth("bootstrap, 1,000 resamples of 200 columns", "images", sizes, times)


if __name__ == "__main__":
    main()
