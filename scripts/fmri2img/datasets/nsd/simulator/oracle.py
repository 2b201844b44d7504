"""How well an observer who knows the whole generative model distinguishes images: a bound for every decoder."""

import numpy as np

from fmri2img.datasets.nsd.simulator.brain import NOISE, SIGNAL_SAMPLES, Brain


def noise_covariance(brain: Brain, chosen: np.ndarray) -> np.ndarray:
    """Covariance of the noise of version b3 over voxels `chosen` (row numbers of brain.voxels), (n, n) float64."""
    smooth = np.ones((len(chosen), len(chosen)))
    for axis, kernel in enumerate(brain.smoothing):
        place = brain.voxels[chosen, axis]
        smooth *= (kernel.astype(float) @ kernel.T)[np.ix_(place, place)]
    shared = brain.shared_noise[:, chosen].astype(float)
    carriers = brain.signal[:SIGNAL_SAMPLES, chosen].astype(float)
    like_signal = carriers.T @ carriers / len(carriers)
    parts = {"white": np.eye(len(chosen)), "smooth": smooth, "shared": shared.T @ shared, "signal": like_signal}
    return sum(NOISE[name] * part for name, part in parts.items())


def identified(measured: np.ndarray, expected: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Which rows of `measured` are nearest, by Mahalanobis distance, to their own row of `expected`.

    measured, expected: (images, voxels). Returns (images,) bool. The nearest row is the most probable, because the
    noise is Gaussian and all images are equally frequent.
    """
    whitener = np.linalg.inv(np.linalg.cholesky(covariance)).T
    a, b = measured @ whitener, expected @ whitener
    distance = -2 * a @ b.T + (b**2).sum(axis=1)
    return distance.argmin(axis=1) == np.arange(len(a))
