"""Linear decoders: voxels to targets of images, with penalty and calibration from held-out training images.

How a decoder is fitted:

1. The training images are split into folds at random; all trials of an image are in its fold.
2. Each fold is predicted from the others at every penalty. The input for a held-out image is the mean of its repeats,
   as for a test image.
3. All targets have the same penalty: the one with the least squared error summed over held-out images and targets.
   The curve is R2 against the mean of the training folds (the prediction at infinite penalty).
4. Calibration. Ridge shrinks its predictions towards the mean, and a generator that was trained on true tokens draws
   washed-out images from shrunken ones. Each target is therefore mapped, prediction -> gain x prediction + offset, so
   that mean and standard deviation of the held-out predictions of step 2 become those of the true tokens of the same
   images. Brain-Diffuser (Ozcelik & VanRullen, Sci. Rep. 2023) takes the predictions' statistics from the test set,
   which is transductive; here they come from training images alone, and a test image can be decoded by itself.
   A mean of few repeats is noisier than a mean of many, so it spreads wider, and a small budget has fewer repeats of
   an image than the test set. When a test set is decoded, the held-out spread is therefore first corrected to the
   number of repeats of its images, by one factor for all targets, which is computed from the trial-to-trial variance
   of held-out predictions.
5. The decoder is refitted on all trials.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save
from scipy import sparse

from fmri2img.artifacts.atomic import atomic_directory
from fmri2img.artifacts.embeddings import Embeddings, token_blocks
from fmri2img.artifacts.tables import read_json, write_json
from fmri2img.errors import UserError
from fmri2img.linear.solver import RidgeSystem


@dataclass(frozen=True)
class LinearDecoder:
    """A fitted decoder. Its weights are `readout @ E`, where E are the tokens of its training images.

    It is stored in that factored form without loss: (voxels, images) is 0.57 GB for 15,724 voxels and 9,000 images,
    while the weights themselves would be 13 GB in float16.

    readout: float32 (voxels, images); voxel_mean: float32 (voxels,); image_mean: float32 (images,), each image's share
    of the training trials; ids: int64 (images,) ascending image_id; true_mean, true_sd, mean, sd: float64 (targets,),
    moments of the true targets and of their held-out predictions, empty without calibration; metadata: penalty,
    cross-validation curve and training data.
    """

    readout: np.ndarray
    voxel_mean: np.ndarray
    image_mean: np.ndarray
    ids: np.ndarray
    true_mean: np.ndarray
    true_sd: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    metadata: dict

    @classmethod
    def open(cls, path: str | Path) -> "LinearDecoder":
        path = Path(path)
        return cls(**load_file(path / "decoder.safetensors"), metadata=read_json(path / "metadata.json"))

    def save(self, path: str | Path) -> None:
        arrays = {name: np.ascontiguousarray(a) for name, a in vars(self).items() if isinstance(a, np.ndarray)}
        with atomic_directory(path) as directory:
            (directory / "decoder.safetensors").write_bytes(save(arrays))
            write_json(directory / "metadata.json", self.metadata)

    def decode(self, betas: np.ndarray, embeddings: Embeddings, test_repeats: float) -> np.ndarray:
        """Decoded targets float16 (rows, tokens, width) of betas float32 (rows, voxels).

        embeddings: those the decoder was fitted to; test_repeats: number of trials averaged in a row (the harmonic mean
        if rows differ). Raises UserError when the embeddings lack a training image.
        """
        rows = embeddings.rows(self.ids)
        weights = (betas - self.voxel_mean) @ self.readout + self.image_mean
        gain, offset = self.calibration(test_repeats)
        decoded = np.empty((len(betas), gain.size), np.float16)
        for columns, block in token_blocks(embeddings.tokens, rows):
            decoded[:, columns] = gain[columns] * (weights @ block) + offset[columns]
        return decoded.reshape(len(betas), *embeddings.tokens.shape[1:])

    def calibration(self, test_repeats: float) -> tuple[np.ndarray, np.ndarray]:
        """Gain and offset float32 (targets,) for inputs that are the mean of `test_repeats` trials (step 4).

        A target that does not vary, or is predicted as constant, gets gain 0: its prediction is its mean.
        """
        if not self.metadata["calibrated"]:
            size = self.metadata["targets"]
            return np.ones(size, np.float32), np.zeros(size, np.float32)
        narrowing = self.narrowing(test_repeats)
        gain, offset = np.zeros(len(self.sd), np.float32), np.zeros(len(self.sd), np.float32)
        # A spread below float32's resolution of the mean is rounding, not signal.
        varies = (self.sd > 1e-5 * (np.abs(self.mean) + 1e-30)) & (self.true_sd > 0)
        gain[:] = np.divide(self.true_sd, self.sd * narrowing, out=np.zeros_like(self.sd), where=varies)
        offset[:] = self.true_mean - gain * self.mean
        return gain, offset

    def narrowing(self, test_repeats: float) -> float:
        """Spread of predictions from `test_repeats` repeats, as a share of the held-out spread."""
        variances = self.metadata["held_out_variance"]
        noise, signal, spread = (variances[name] for name in ("trial_noise", "signal", "spread"))
        return float(np.sqrt((signal + noise / test_repeats) / spread))


def fit(
    betas: np.ndarray,
    image_ids: np.ndarray,
    embeddings: Embeddings,
    alphas: list[float],
    folds: int,
    seed: int,
    calibrated: bool = True,
    folds_key: str = "folds",
) -> LinearDecoder:
    """Fit a decoder to single training trials.

    betas: float32 (trials, voxels), z-scored; image_ids: int (trials,) image of each trial; embeddings: the true tokens
    of at least those images; alphas: penalties to choose from, in units of the squared norm of a voxel over the trials;
    folds: of the cross-validation; seed: deals images into folds, and is all that is random here; calibrated: whether
    predictions are brought to the mean and spread of true targets (step 4); folds_key: the key that sets `folds`.

    Memory beyond `betas` and RidgeSystem's: one float32 (images, images) matrix per penalty, 2.3 GB for 9,000 images
    and seven penalties, and four more. Raises UserError when there are fewer images than folds.
    """
    ids, image = np.unique(image_ids, return_inverse=True)
    if len(ids) < folds:
        raise UserError(f"{folds_key}: {folds} folds need as many training images, but there are {len(ids)}; lower it")
    rows = embeddings.rows(ids)
    shown = sparse.csr_matrix((np.ones(len(betas), np.float32), (np.arange(len(betas)), image)))
    means = (shown.T @ betas) / np.bincount(image)[:, None].astype(np.float32)
    fold = np.random.default_rng(seed).permutation(len(ids)) % folds

    def systems() -> Iterator[tuple[np.ndarray, RidgeSystem]]:
        for k in range(folds):
            training = fold[image] != k
            yield fold == k, RidgeSystem(betas[training], image[training], len(ids))

    # Step 2; `means` are the inputs of held-out images.
    held_out = np.zeros((len(alphas), len(ids), len(ids)), np.float32)
    baseline = np.zeros((len(ids), len(ids)), np.float32)
    for inside, system in systems():
        for a, alpha in enumerate(alphas):
            held_out[a, inside] = system.weights(means[inside], alpha)
        baseline[inside] = system.image_mean

    # Step 3
    gram = token_gram(embeddings.tokens, rows)
    unit = np.eye(len(ids), dtype=np.float32)
    errors = np.array([_energy(weights - unit, gram) for weights in (*held_out, baseline)])
    curve = 1 - errors[:-1] / errors[-1]
    best = int(np.argmax(curve))
    held_out = held_out[best].copy()

    # Step 4: `noise` is the variance of one trial's prediction about its image's mean, summed over targets.
    noise, repeats = 0.0, np.bincount(image)
    if repeats.max() > 1:
        for inside, system in systems():
            trials = np.flatnonzero(inside[image] & (repeats[image] > 1))
            noise += _energy(system.weights(betas[trials], alphas[best]) - held_out[image[trials]], gram)
        noise /= (repeats - 1).sum()
    spread = _energy(held_out - held_out.mean(axis=0), gram) / len(ids)
    signal = max(spread - noise * (1 / repeats).mean(), 0)
    moments, correlation = _moments(held_out, embeddings.tokens, rows)
    del held_out, baseline

    # Step 5
    system = RidgeSystem(betas, image, len(ids))
    metadata = {
        "alpha": alphas[best],
        "alphas": list(alphas),
        "cv_r2": [float(r2) for r2 in curve],
        "cv_correlation": correlation,
        "alpha_at_edge": best in (0, len(alphas) - 1),
        "calibrated": calibrated,
        "calibration": "per target, mean and standard deviation of held-out training images" if calibrated else "none",
        "held_out_variance": {"trial_noise": float(noise), "signal": float(signal), "spread": float(spread)},
        "targets": moments[0].size,
        "folds": folds,
        "fold_seed": seed,
        "training_trials": len(betas),
        "training_images": len(ids),
        "encoder": embeddings.metadata,
    }
    image_mean = system.image_mean.astype(np.float32)
    readout = system.readout(alphas[best])
    kept = moments if calibrated else [np.empty(0)] * 4
    return LinearDecoder(readout, system.voxel_mean, image_mean, ids.astype(np.int64), *kept, metadata)


def token_gram(tokens: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Inner products of the images' centred targets, float32 (images, images).

    With it, the sum of squares of any combination of images' targets needs only (images, images) matrices, and the
    targets are read once for all penalties.
    """
    gram = np.zeros((len(rows), len(rows)))
    for _, block in token_blocks(tokens, rows):
        block -= block.mean(axis=0)
        gram += block @ block.T
    return gram.astype(np.float32)


def _energy(weights: np.ndarray, gram: np.ndarray) -> float:
    """Sum of squares of `weights @ E` over rows and targets, trace(w E E' w').

    Rows of `weights` must add up to zero, so that centring E changes nothing.
    """
    return float(np.einsum("ij,ij->", weights @ gram, weights, dtype=np.float64))


def _moments(weights: np.ndarray, tokens: np.ndarray, rows: np.ndarray) -> tuple[list[np.ndarray], float]:
    """Mean and standard deviation of each true target and of its held-out prediction, float64 (targets,) each, and the
    mean over targets of the held-out correlation."""
    size = tokens.shape[1] * tokens.shape[2]
    true_means, true_sds, means, sds = (np.zeros(size) for _ in range(4))
    correlation = np.zeros(size, np.float32)
    for columns, block in token_blocks(tokens, rows):
        predicted = weights @ block
        true_mean, true_sd = block.mean(axis=0, dtype=np.float64), block.std(axis=0, dtype=np.float64)
        mean, sd = predicted.mean(axis=0, dtype=np.float64), predicted.std(axis=0, dtype=np.float64)
        varies = (sd > 1e-5 * (np.abs(mean) + 1e-30)) & (true_sd > 0)
        covariance = np.einsum("ij,ij->j", block - true_mean, predicted - mean) / len(rows)
        correlation[columns] = np.divide(covariance, true_sd * sd, out=np.zeros_like(sd), where=varies)
        for values, found in ((true_means, true_mean), (true_sds, true_sd), (means, mean), (sds, sd)):
            values[columns] = found
    return [true_means, true_sds, means, sds], float(correlation.mean())
