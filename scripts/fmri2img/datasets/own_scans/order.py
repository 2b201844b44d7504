"""Do betas and events belong together? Responses to one picture are more alike than responses to different ones.

Nothing else shows that a row was lost at the start, or that runs are in another order: the numbers still agree. The
statistic is the mean correlation of responses to the same picture, over pairs of trials of different runs (of one run
where there is only one, but not of neighbours, whose responses overlap). It is given in standard deviations of its null
distribution, which permutes the pictures within each run.
"""

import numpy as np

PERMUTATIONS = 200
LARGEST = 2000  # trials that are compared, the first ones
SHIFTS = (-2, -1, 1, 2)  # trials by which the pictures may be too early or too late
NEIGHBOURS = 2  # trials whose responses overlap
FITS = 3.0  # standard deviations from which responses to one picture are alike
MISPLACED = 5.0  # the same, after a shift, from which that shift is what is wrong


def fit_of_order(betas: np.ndarray, pictures: np.ndarray, runs: np.ndarray, seed: int = 0) -> dict[int, float]:
    """Shift of the pictures (0: as they are) -> how much more alike responses to one picture are than to others, in
    standard deviations of chance.

    betas: float (trials, voxels), finite, each voxel z-scored within its session; pictures, runs: (trials,), any
    labels, runs distinct over sessions. A shift at which no two trials can be compared is left out.
    """
    labels, runs = (
        np.unique(pictures[:LARGEST], return_inverse=True)[1],
        np.unique(runs, return_inverse=True)[1][:LARGEST],
    )
    similarity = _correlations(np.asarray(betas[:LARGEST], np.float64))
    rng = np.random.default_rng(seed)
    shuffled = [_within_runs(runs, rng) for _ in range(PERMUTATIONS)]
    found = {}
    for shift in (0, *SHIFTS):
        first, second = _pairs(np.roll(labels, shift), runs)
        if len(first):
            null = [similarity[order[first], order[second]].mean() for order in shuffled]
            found[shift] = float((similarity[first, second].mean() - np.mean(null)) / (np.std(null) or np.inf))
    return found


def _correlations(betas: np.ndarray) -> np.ndarray:
    """Correlations of the response patterns of trials: (trials, trials), of betas (trials, voxels)."""
    patterns = betas - betas.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(patterns, axis=1, keepdims=True)
    patterns = np.divide(patterns, lengths, out=np.zeros_like(patterns), where=lengths > 0)
    return patterns @ patterns.T


def _within_runs(runs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A permutation of trials that leaves each in its run."""
    order = np.empty(len(runs), np.int64)
    order[np.argsort(runs, kind="stable")] = np.lexsort((rng.random(len(runs)), runs))
    return order


def _pairs(labels: np.ndarray, runs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of trials with one label that are compared, as two arrays of their numbers."""
    order = np.argsort(labels, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    pairs = [np.stack(np.triu_indices(len(own), 1)) for own in groups]
    first, second = (np.concatenate([own[pair[k]] for own, pair in zip(groups, pairs, strict=True)]) for k in (0, 1))
    apart = runs[first] != runs[second] if runs.any() else second - first > NEIGHBOURS
    return first[apart], second[apart]
