"""The generative model of one simulated subject's betas.

A beta, in percent signal change, of voxel v on a trial of session k that shows image i:

    beta = baseline_v + offset_kv + scale_v * gain_k * (ncsnr_v * signal_kv(i) + noise + oldnew_v * is_old)

with sd(signal) = 1 over the stimuli and sd(noise) = 1 over trials, so that ncsnr_v is the true noise ceiling
signal-to-noise ratio. Beta version b2 has further independent noise, which lowers every ncsnr by the same factor.

Signal. Early voxels (labels of prf-visualrois) weight the pixel features inside their own receptive field. All others
weight the latents z(i) of the scene's meaning that all subjects share: signal = z R_s D C_sv. R_s is a rotation of the
latent space by a moderate angle, particular to the subject; D makes the variance fall as a power of the latent's
number, as for responses in visual cortex (Stringer et al. 2019); C_sv are random loadings, smooth over the cortex. A
share PRIVATE of the variance of every voxel comes from features that no other subject has. A linear map per subject
into one common space, as in MindEye2's pretraining, can therefore recover what is shared and nothing more. The signal
drifts: over all planned sessions its weights turn by DRIFT towards other, uncorrelated weights.

Noise. Four parts with the variances of NOISE: independent, spatially smooth, a few components shared by the whole
brain, and noise with the covariance of the signal itself, which no decoder can average away over voxels (the model
of GSN).
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import expm
from scipy.special import ndtr

from fmri2img.datasets import scene_features as features
from fmri2img.datasets.nsd.simulator.parameters import Simulation
from fmri2img.datasets.nsd.simulator.volumes import Anatomy
from fmri2img.datasets.scene_features import COLOUR_CHANNELS, ENERGIES, ORIENTATIONS, WAVELENGTHS
from fmri2img.datasets.scenes import Scene

PRIVATE = 0.15
PRIVATE_FEATURES = 32
ROTATION = 0.5  # radians, typical turn of a latent axis
SPECTRUM = 1.0  # variance of latent k falls as k ** -SPECTRUM
PREFERENCE = 0.35  # share of a selective region's tuning that all its voxels have in common
DRIFT = 0.5  # radians from the first planned session to the last
NCSNR_SPREAD = 0.25  # spread of the voxels of nsdgeneral around the subject's median
NCSNR_ELSEWHERE = 0.11  # mean ncsnr in the rest of the cortex
NOISE = {"white": 0.3, "smooth": 0.25, "shared": 0.1, "signal": 0.35}
SHARED_COMPONENTS = 6
SIGNAL_SAMPLES = 400  # images whose responses span the noise with the signal's covariance
TUNING_MAPS = 3 + COLOUR_CHANNELS  # preferred scale, orientation (sine and cosine), colours
SMOOTHNESS = 0.8  # standard deviation in voxels
B2_FACTOR = 0.85  # ncsnr of version b2 relative to b3
OLD_NEW = 0.1  # standard deviation over voxels
OFFSET, GAIN = 0.5, 0.1  # standard deviations over sessions, percent signal change and relative


@dataclass(frozen=True)
class Brain:
    """One subject. V is the number of voxels of the brain mask, in C order over (X, Y, Z), and N the number of stimuli.

    voxels: (V, 3) int64 x, y, z. early: (V,) bool. ncsnr: (V,) float32, version b3.
    signal, drifted: (N, V) float32, standardised and uncorrelated with each other.
    shared_noise: (SHARED_COMPONENTS, V), unit columns. smoothing: per axis (n, n), unit rows.
    pixel_weights: (features, early voxels); loadings: (latents, other voxels), of the common part of the signal at the
    middle of the experiment; latents: (N, latents).
    """

    dims: tuple[int, int, int]
    voxels: np.ndarray
    early: np.ndarray
    ncsnr: np.ndarray
    signal: np.ndarray
    drifted: np.ndarray
    shared_noise: np.ndarray
    smoothing: tuple[np.ndarray, np.ndarray, np.ndarray]
    baseline: np.ndarray
    scale: np.ndarray
    old_new: np.ndarray
    pixel_weights: np.ndarray
    loadings: np.ndarray
    latents: np.ndarray

    def response(self, ids: np.ndarray, turn: float | np.ndarray) -> np.ndarray:
        """Noise-free signal (len(ids), V) float32 for images `ids` (image_id), its tuning turned by `turn` radians."""
        turn = np.asarray(turn, np.float32)
        return np.cos(turn) * self.signal[ids] + np.sin(turn) * self.drifted[ids]

    def smooth_noise(self, trials: int, rng: np.random.Generator) -> np.ndarray:
        """Unit-variance noise, correlated between neighbours, (trials, V) float32."""
        return _smooth_maps(trials, self.smoothing, rng)[(slice(None), *self.voxels.T)]

    def noise(self, trials: int, rng: np.random.Generator) -> np.ndarray:
        """Noise of version b3, (trials, V) float32."""
        smooth = self.smooth_noise(trials, rng)
        shared = rng.standard_normal((trials, SHARED_COMPONENTS), np.float32) @ self.shared_noise
        carriers = self.signal[:SIGNAL_SAMPLES]
        like_signal = rng.standard_normal((trials, len(carriers)), np.float32) @ carriers / np.sqrt(len(carriers))
        white = rng.standard_normal(smooth.shape, np.float32)
        parts = {"white": white, "smooth": smooth, "shared": shared, "signal": like_signal.astype(np.float32)}
        return sum(np.float32(np.sqrt(NOISE[name])) * part for name, part in parts.items())


def session_turn(simulation: Simulation, session: int) -> float:
    """Angle (radians) by which the tuning is turned in a 1-based session."""
    return DRIFT * ((session - 1) / max(simulation.planned_sessions - 1, 1) - 0.5)


def build(
    simulation: Simulation,
    subject: str,
    anatomy: Anatomy,
    images: np.ndarray,
    scenes: list[Scene | None],
    known: int | None = None,
) -> Brain:
    """Draw a subject's brain. images: uint8 (N, height, width, 3); scenes: their descriptions, None without meaning.

    known: number of the leading images that the brain is drawn from, by default all; the others have responses of the
    same brain, which are not standardised.
    """
    rng = simulation.stream(subject, "brain")
    voxels = np.argwhere(anatomy.brain)
    at = tuple(voxels.T)
    early = anatomy.rois["prf-visualrois"][at] > 0
    smoothing = tuple(_smoothing(n, SMOOTHNESS) for n in anatomy.brain.shape)

    pixels = features.pixel_features(images, known)
    latents = features.semantic_latents(scenes, known)
    private = _private_features(np.concatenate([latents, features.components(pixels, known)], axis=1), rng, known)
    preferred = {
        name: np.linalg.lstsq(latents[:known], column, rcond=None)[0]
        for name, column in features.preferences(scenes[:known]).items()
    }
    spectrum = np.arange(1, latents.shape[1] + 1) ** (-SPECTRUM / 2)
    basis = _rotation(latents.shape[1], rng) * spectrum

    def tuned():
        """One set of tunings: the signal (N, V) and the weights of early and of other voxels."""
        maps = _smooth_maps(TUNING_MAPS + latents.shape[1], smoothing, rng)[(slice(None), *at)]
        weights = _pixel_weights(pixels[:known], anatomy.fields[at][early], maps[:TUNING_MAPS, early].T)
        loadings = _loadings(basis @ maps[TUNING_MAPS:], latents[:known], preferred, anatomy, at)[:, ~early]
        common = np.empty((len(images), len(voxels)), np.float32)
        common[:, early], common[:, ~early] = pixels @ weights, latents @ loadings
        own = private @ _smooth_maps(PRIVATE_FEATURES, smoothing, rng)[(slice(None), *at)]
        shares = (1 - PRIVATE, common), (PRIVATE, own)
        mixed = sum(np.sqrt(share) * features.standardised(part, known) for share, part in shares)
        return features.standardised(mixed, known), weights, loadings

    signal, pixel_weights, loadings = tuned()
    drifted = tuned()[0]
    drifted = features.standardised(drifted - signal * (signal * drifted)[:known].mean(axis=0), known)

    ncsnr = _ncsnr(simulation.subjects[subject].ncsnr, anatomy, at, rng)
    shared_noise = rng.standard_normal((SHARED_COMPONENTS, len(voxels)), np.float32)
    return Brain(
        dims=anatomy.brain.shape,
        voxels=voxels,
        early=early,
        ncsnr=ncsnr,
        signal=signal,
        drifted=drifted,
        shared_noise=shared_noise / np.linalg.norm(shared_noise, axis=0),
        smoothing=smoothing,
        baseline=rng.normal(1, 0.5, len(voxels)).astype(np.float32),
        # The standard deviation of a voxel's betas is between 1 and 3 percent.
        scale=(rng.uniform(1, 3, len(voxels)) / np.sqrt(1 + ncsnr**2)).astype(np.float32),
        old_new=rng.normal(0, OLD_NEW, len(voxels)).astype(np.float32),
        pixel_weights=pixel_weights.astype(np.float32),
        loadings=loadings.astype(np.float32),
        latents=latents,
    )


def _smoothing(n, width):
    """Gaussian kernel as an (n, n) matrix with unit rows, so that white noise keeps its variance at the borders too."""
    kernel = np.exp(-((np.arange(n)[:, None] - np.arange(n)) ** 2) / (2 * width**2))
    return (kernel / np.linalg.norm(kernel, axis=1, keepdims=True)).astype(np.float32)


def _smooth_maps(count, smoothing, rng):
    """Unit-variance maps that are smooth over the cortex, (count, X, Y, Z) float32."""
    maps = rng.standard_normal((count, *(len(kernel) for kernel in smoothing)), np.float32)
    for axis, kernel in enumerate(smoothing, start=1):
        maps = np.moveaxis(np.tensordot(maps, kernel, axes=(axis, 1)), -1, axis)
    return maps


def _private_features(common, rng, known):
    """Nonlinear mixtures of the shared features, drawn separately for each subject, (N, PRIVATE_FEATURES) float32."""
    mixing = rng.normal(0, 1.5 / np.sqrt(common.shape[1]), (common.shape[1], PRIVATE_FEATURES))
    return features.standardised(np.tanh(features.standardised(common, known) @ mixing), known)


def _pixel_weights(pixels, fields, maps):
    """Weights (features, voxels): a receptive field times a tuning for scale, orientation and colour.

    maps: (voxels, TUNING_MAPS) normal numbers that fix the tuning.
    """
    n = len(fields)
    place = features.receptive_fields(fields)
    preferred_scale = ndtr(maps[:, :1]) * (len(WAVELENGTHS) - 1)
    preferred_angle = np.arctan2(maps[:, 1], maps[:, 2])[:, None]
    scale = np.exp(-((np.arange(len(WAVELENGTHS)) - preferred_scale) ** 2))
    angles = np.arange(ORIENTATIONS) * np.pi / ORIENTATIONS
    orientation = np.exp(np.cos(2 * angles - preferred_angle))
    energy = (scale[:, :, None] * orientation[:, None, :]).reshape(n, ENERGIES)
    colour = maps[:, 3:] * (1.5, 1, 1)
    # Energies and colours each give about half of a voxel's variance.
    energy *= np.linalg.norm(colour, axis=1, keepdims=True) / np.linalg.norm(energy, axis=1, keepdims=True)
    tuning = np.concatenate([energy, colour], axis=1)
    weights = (place[:, :, None] * tuning[:, None, :]).reshape(n, -1).T
    return weights / (pixels @ weights).std(axis=0)


def _rotation(n, rng):
    skew = np.triu(rng.standard_normal((n, n)), 1)
    return expm(ROTATION / np.sqrt(n) * (skew - skew.T))


def _loadings(loadings, latents, preferred, anatomy, at):
    """Loadings (latents, V) for unit variance; selective regions lean towards their preferences."""
    loadings = loadings / (latents @ loadings).std(axis=0)
    for name, direction in preferred.items():
        selective = anatomy.rois[name][at] > 0
        unit = direction / (latents @ direction).std()
        loadings[:, selective] *= np.sqrt(1 - PREFERENCE)
        loadings[:, selective] += np.sqrt(PREFERENCE) * unit[:, None]
    return loadings


def _ncsnr(median, anatomy, at, rng):
    n = len(at[0])
    general, cortex = anatomy.rois["nsdgeneral"][at] == 1, anatomy.hemisphere[at] > 0
    elsewhere = rng.gamma(2, NCSNR_ELSEWHERE / 2, n) * np.where(cortex, 1, 0.2)
    return np.where(general, np.maximum(rng.normal(median, NCSNR_SPREAD, n), 0), elsewhere).astype(np.float32)
