"""Linear decoders: voxels to targets of images, with penalty and calibration from held-out training images.

How a decoder is fitted, to single trials or to the mean of an image's trials:

1. The training images are split into folds at random; all trials of an image are in its fold.
2. Each fold is predicted from the others at every penalty. The input for a held-out image is the mean of its repeats,
   as for a test image.
3. All targets of a group (all of them, those of one token, ...) have the same penalty: the one with the least squared
   error summed over held-out images and targets. The curve is R2 against the mean of the training folds (the prediction
   at infinite penalty).
4. Calibration. Ridge shrinks its predictions towards the mean, and a generator that was trained on true tokens draws
   washed-out images from shrunken ones. Each target is therefore mapped, prediction -> gain x prediction + offset, so
   that mean and standard deviation of the held-out predictions of step 2 become those of the true tokens of the same
   images. Brain-Diffuser (Ozcelik & VanRullen, Sci. Rep. 2023) takes the predictions' statistics from the test set,
   which is transductive: that is the calibration `test_batch`. From training images alone, a test image can be decoded
   by itself.
   A mean of few repeats is noisier than a mean of many, so it spreads wider, and a small budget has fewer repeats of
   an image than the test set. When a test set is decoded, the held-out spread is therefore first corrected to the
   number of repeats of its images, by one factor for all targets, which is computed from the trial-to-trial variance
   of held-out predictions.
5. The decoder is refitted on all trials.

Steps 1 to 3 are left out with a fixed penalty that no calibration needs them for.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from scipy import sparse

from fmri2img.artifacts.atomic import atomic_directory
from fmri2img.artifacts.axes import ALL
from fmri2img.artifacts.embeddings import Embeddings, token_blocks
from fmri2img.artifacts.tables import read_json, write_json
from fmri2img.errors import UserError
from fmri2img.integrity import again
from fmri2img.linear.solver import RidgeSystem
from fmri2img.weights import read_fields

AVERAGED = "averaged"
TRAINING_IMAGES, TEST_BATCH, NONE = "training_images", "test_batch", "none"
CALIBRATIONS = {
    TRAINING_IMAGES: "per target, mean and standard deviation of held-out training images",
    TEST_BATCH: "per target, mean and standard deviation of the test predictions (transductive)",
    NONE: "none",
}


@dataclass(frozen=True)
class LinearDecoder:
    """A fitted decoder. Its weights are `readout @ E`, where E are the tokens of its training images.

    It is stored in that factored form without loss: (voxels, images) is 0.57 GB for 15,724 voxels and 9,000 images,
    while the weights themselves would be 13 GB in float16.

    readouts: float32 (penalties, voxels, images), for each penalty that a group of targets has; choice: int16
    (targets,), which of them a target has; voxel_mean: float64 (voxels,); image_mean: float64 (images,), each image's
    share of the training trials; ids: int64 (images,) ascending image_id; true_mean, true_sd, mean, sd: float64
    (targets,), moments of the true targets (empty without calibration) and of their held-out predictions (empty unless
    training images calibrate); metadata: penalties, cross-validation curve and training data.
    """

    readouts: np.ndarray
    choice: np.ndarray
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
        arrays = read_fields(path / "decoder.safetensors", cls)
        return cls(**arrays, metadata=read_json(path / "metadata.json"))

    def save(self, path: str | Path) -> None:
        arrays = {name: np.ascontiguousarray(a) for name, a in vars(self).items() if isinstance(a, np.ndarray)}
        with atomic_directory(path) as directory:
            save_file(arrays, directory / "decoder.safetensors")
            write_json(directory / "metadata.json", self.metadata)

    @property
    def readout(self) -> np.ndarray:
        """The only readout, float32 (voxels, images). Raises UserError for a decoder with several penalties."""
        if len(self.readouts) > 1:
            raise UserError("a decoder whose targets have several penalties has no single readout; use `per: all`")
        return self.readouts[0]

    def decode(self, betas: np.ndarray, embeddings: Embeddings, test_repeats: float) -> np.ndarray:
        """Decoded targets float16 (rows, ...) of betas float32 (rows, voxels), in the shape that the axes of the
        embeddings say: (rows, tokens, width), (rows, channels, side, side) or (rows, values).

        embeddings: those the decoder was fitted to; test_repeats: number of trials averaged in a row (the harmonic mean
        if rows differ). Raises UserError when the embeddings lack a training image, and for a test batch that is too
        small to calibrate.
        """
        decoded = np.empty((len(betas), embeddings.axes.size), np.float16)
        for columns, block in self.predictions(betas, embeddings, test_repeats):
            decoded[:, columns] = block
        return embeddings.axes.arranged(decoded)

    def predictions(
        self, betas: np.ndarray, embeddings: Embeddings, test_repeats: float
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """The same a block of targets at a time, flat as they are stored: columns, float32 (rows, columns)."""
        if self.metadata["calibration"] == TEST_BATCH and len(betas) < 2:
            raise UserError(
                "calibration: test_batch takes its statistics from the test images, and there is only one; use "
                "training_images"
            )
        rows = embeddings.rows(self.ids)
        centred = (betas - self.voxel_mean).astype(np.float32)
        weights = [(centred @ readout + self.image_mean).astype(np.float32) for readout in self.readouts]
        gain, offset = self.calibration(test_repeats)
        for columns, block in token_blocks(embeddings.tokens, rows):
            predicted = np.empty((len(betas), block.shape[1]), np.float32)
            for penalty in np.unique(self.choice[columns]):
                taken = slice(None) if len(weights) == 1 else self.choice[columns] == penalty
                predicted[:, taken] = weights[penalty] @ block[:, taken]
            if self.metadata["calibration"] == TEST_BATCH:
                mean, sd = mean_and_sd(predicted)
                gain[columns] = np.divide(self.true_sd[columns], sd, out=np.zeros_like(sd), where=_varies(mean, sd))
                offset[columns] = self.true_mean[columns] - gain[columns] * mean
            yield columns, gain[columns] * predicted + offset[columns]

    def calibration(self, test_repeats: float) -> tuple[np.ndarray, np.ndarray]:
        """Gain and offset float32 (targets,) for inputs that are the mean of `test_repeats` trials (step 4).

        One and zero unless training images calibrate. A target that does not vary, or is predicted as constant, gets
        gain 0: its prediction is its mean.
        """
        size = len(self.choice)
        gain, offset = np.ones(size, np.float32), np.zeros(size, np.float32)
        if self.metadata["calibration"] == TRAINING_IMAGES:
            narrowing = self.narrowing(test_repeats)
            varies = _varies(self.mean, self.sd) & (self.true_sd > 0)
            gain[:] = np.divide(self.true_sd, self.sd * narrowing, out=np.zeros_like(self.sd), where=varies)
            offset[:] = self.true_mean - gain * self.mean
        return gain, offset

    def narrowing(self, test_repeats: float) -> float:
        """Spread of predictions from `test_repeats` repeats, as a share of the held-out spread."""
        variances = self.metadata["held_out_variance"]
        noise, signal, spread = (variances[name] for name in ("trial_noise", "signal", "spread"))
        return float(np.sqrt((signal + noise / test_repeats) / spread)) if spread else 1.0


def fit(
    betas: np.ndarray,
    image_ids: np.ndarray,
    embeddings: Embeddings,
    alphas: list[float],
    folds: int,
    seed: int,
    calibration: str = TRAINING_IMAGES,
    trials: str = "single",
    per: str = ALL,
    standardised: bool = False,
    folds_key: str = "folds",
    source: str = "recording",
) -> LinearDecoder:
    """Fit a decoder to the training trials.

    betas: float32 (trials, voxels), z-scored; image_ids: int (trials,) image of each trial; embeddings: the true tokens
    of at least those images; alphas: penalties to choose from, in units of the squared norm of a voxel over the trials;
    folds: of the cross-validation; seed: deals images into folds, and is all that is random here; calibration: what
    brings predictions to the mean and spread of true targets (step 4), one of CALIBRATIONS; trials: "single" fits to
    trials, "averaged" to the mean of each image's trials; per: group of targets that shares a penalty, as `Axes.groups`
    names them; standardised: whether each voxel is divided by its deviation over what is fitted (means of trials spread
    less than z-scored trials); folds_key: the key that sets `folds`; source: what messages call the betas.

    Targets are read a block at a time. Memory beyond `betas` and RidgeSystem's: the system of a fold, three float32
    (images, images) matrices, the same of every penalty for the images of a fold, and of averaged trials their means.
    Raises UserError without a training trial, for betas that are not finite, and when a cross-validation has fewer
    images than folds.
    """
    if not len(betas):
        raise UserError(f"{source}: there is no training trial; use more sessions")
    if not np.isfinite(betas.sum(axis=0, dtype=np.float64)).all():
        bad = int((~np.isfinite(betas)).any(axis=1).sum())
        raise UserError(f"{source}: {bad} of {len(betas)} training trials are not finite; {again(source)}")
    ids, image = np.unique(image_ids, return_inverse=True)
    validated = len(alphas) > 1 or calibration == TRAINING_IMAGES
    if validated and len(ids) < folds:
        raise UserError(f"{folds_key}: {folds} folds need as many training images, but there are {len(ids)}; lower it")
    targets = Targets(embeddings, embeddings.rows(ids))
    group = embeddings.axes.groups(per)
    means = image_means(betas, image) if validated or trials == AVERAGED else betas[:0]
    scale = deviations(means if trials == AVERAGED else betas) if standardised else None
    if scale is not None:
        betas, means = betas / scale, means / scale
    system = RidgeSystem(*((means, np.arange(len(ids))) if trials == AVERAGED else (betas, image)), len(ids))
    best = np.zeros(group.max() + 1, np.int64)
    found: dict = {}
    moments = [np.empty(0)] * 4
    if validated:
        folded = Folds(system, np.random.default_rng(seed).permutation(len(ids)) % folds, means)
        if len(alphas) > 1:
            best, found["cv_r2"] = choose(folded, targets, group, alphas)
        if calibration == TRAINING_IMAGES:
            moments, held_out = validate(folded, targets, best[group], alphas, betas, image)
            found = held_out | found
    if calibration == TEST_BATCH:
        moments[:2] = targets.moments()
    used, choice = np.unique(best, return_inverse=True)
    counts = np.bincount(best, minlength=len(alphas))
    edge = counts[0] + counts[-1] > len(best) / 2 and len(alphas) > 1
    metadata = {
        "alpha": alphas[best[0]] if len(used) == 1 else None,
        "alphas": list(alphas),
        "groups_at": counts.tolist(),
        "cv_r2": None,
        "cv_correlation": None,
        **found,
        "alpha_at_edge": bool(edge),
        "calibration": calibration,
        "trials": trials,
        "per": per,
        "standardised": standardised,
        "targets": len(group),
        "folds": folds if validated else None,
        "fold_seed": seed if validated else None,
        "training_trials": len(betas),
        "training_images": len(ids),
        "encoder": embeddings.metadata,
    }
    readouts = np.empty((len(used), betas.shape[1], len(ids)), np.float32)
    for readout, a in zip(readouts, used, strict=True):
        system.readout(alphas[a], readout)
        if scale is not None:
            readout /= scale[:, None]
    return LinearDecoder(
        readouts,
        choice.astype(np.int16)[group],
        system.voxel_mean if scale is None else system.voxel_mean * scale,
        system.image_mean,
        ids.astype(np.int64),
        *moments,
        metadata,
    )


def deviations(inputs: np.ndarray) -> np.ndarray:
    """Standard deviation (ddof 1) of each voxel over the rows of `inputs`, float32 (voxels,); 1 of a constant one."""
    spread = inputs.std(axis=0, ddof=1, dtype=np.float64) if len(inputs) > 1 else np.zeros(inputs.shape[1])
    return np.where(spread > 1e-6, spread, 1).astype(np.float32)


def image_means(betas: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Mean over the trials of each image, float32 (images, voxels); image: int (trials,), 0 to images - 1."""
    if np.array_equal(image, np.arange(len(betas))):
        return betas
    shown = sparse.csr_matrix((np.ones(len(betas), np.float32), (np.arange(len(betas)), image)))
    return (shown.T @ betas) / np.bincount(image)[:, None].astype(np.float32)


@dataclass(frozen=True)
class Folds:
    """Folds of the training images; all trials of an image are in one.

    system: of all trials; fold: int (images,); means: float32 (images, voxels), inputs of held-out images.
    """

    system: RidgeSystem
    fold: np.ndarray
    means: np.ndarray

    def __iter__(self) -> Iterator[tuple[np.ndarray, RidgeSystem]]:
        """Which images are held out, bool (images,), and the system of the trials of the others."""
        for k in range(self.fold.max() + 1):
            yield self.fold == k, self.system.part(self.fold[self.system.image] != k)


@dataclass(frozen=True)
class Targets:
    """True targets of the training images, read a block of targets at a time. rows: those of the embeddings."""

    embeddings: Embeddings
    rows: np.ndarray

    def blocks(self, taken: np.ndarray | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Columns and their targets, float32 (images, columns); taken: bool (targets,), those that are wanted.

        Raises UserError for a target that is not finite.
        """
        for columns, block in token_blocks(self.embeddings.tokens, self.rows):
            if not np.isfinite(block).all():
                raise UserError(
                    f"{self.embeddings.path}: holds values that are not finite; {again(self.embeddings.path)}"
                )
            chosen = np.arange(columns.start, columns.stop)
            if taken is not None and not taken[columns].all():
                chosen, block = chosen[taken[columns]], block[:, taken[columns]]
            if len(chosen):
                yield chosen, block

    def moments(self) -> list[np.ndarray]:
        """Mean and standard deviation of each target over images, float64 (targets,)."""
        found = [mean_and_sd(block) for _, block in self.blocks()]
        return [np.concatenate(values) for values in zip(*found, strict=True)]

    def gram(self, taken: np.ndarray | None = None) -> np.ndarray:
        return token_gram(block for _, block in self.blocks(taken))


def choose(folds: Folds, targets: Targets, group: np.ndarray, alphas: list[float]) -> tuple[np.ndarray, list[float]]:
    """Penalty of each group of targets that predicts held-out images best, and the curve over all targets (steps 2, 3).

    group: int (targets,). Returns int (groups,), the index into `alphas`, and R2 at each penalty. If all targets are
    one group, its error is computed from their inner products; otherwise from the targets, which are read per fold.
    """
    errors, baseline = np.zeros((len(alphas), group.max() + 1)), np.zeros(group.max() + 1)
    gram = targets.gram() if len(baseline) == 1 else None
    for inside, system in folds:
        held_out = [*system.weights_at(folds.means[inside], alphas), _mean_weights(system, inside)]
        if gram is not None:
            found = np.array([[_energy(_residual(weights, inside), gram)] for weights in held_out])
        else:
            found = np.zeros((len(held_out), len(baseline)))
            for columns, block in targets.blocks():
                for sums, weights in zip(found, held_out, strict=True):
                    squares = ((weights @ block - block[inside]) ** 2).sum(axis=0, dtype=np.float64)
                    sums += np.bincount(group[columns], squares, minlength=len(sums))
        errors += found[:-1]
        baseline += found[-1]
    return errors.argmin(axis=0), [float(r2) for r2 in _r2(errors.sum(axis=1), baseline.sum())]


def validate(
    folds: Folds,
    targets: Targets,
    best: np.ndarray,
    alphas: list[float],
    betas: np.ndarray,
    image: np.ndarray,
) -> tuple[list[np.ndarray], dict]:
    """What calibration needs of held-out predictions at the chosen penalties (step 4).

    best: int (targets,), index into `alphas`; betas, image: single trials. Returns the moments of true targets and of
    their predictions, float64 (targets,) each; and cv_r2 (at one fixed penalty), cv_correlation, held_out_variance:
    trial_noise, the variance of one trial's prediction about that of its image's mean, signal, what is left of the
    spread without it, and spread, of predictions over images; all summed over targets.
    """
    size, repeats = len(best), np.bincount(image)
    moments = [np.zeros(size) for _ in range(4)]
    correlation = np.zeros(size, np.float32)
    noise, spread, errors, baseline = 0.0, 0.0, 0.0, 0.0
    weights = np.empty((len(repeats), len(repeats)), np.float32)
    for penalty in np.unique(best):
        taken = best == penalty
        gram = targets.gram(taken)
        for inside, system in folds:
            weights[inside] = system.weights(folds.means[inside], alphas[penalty])
            errors += _energy(_residual(weights[inside], inside), gram)
            baseline += _energy(_residual(_mean_weights(system, inside), inside), gram)
            trials = np.flatnonzero(inside[image] & (repeats[image] > 1))
            if len(trials):
                noise += _energy(system.weights(betas[trials], alphas[penalty]) - weights[image[trials]], gram)
        spread += _energy(weights - weights.mean(axis=0), gram) / len(weights)
        for columns, block in targets.blocks(taken):
            predicted = weights @ block
            (true_mean, true_sd), (mean, sd) = mean_and_sd(block), mean_and_sd(predicted)
            covariance = np.einsum("ij,ij->j", block - true_mean, predicted - mean) / len(block)
            varies = _varies(mean, sd) & (true_sd > 0)
            correlation[columns] = np.divide(covariance, true_sd * sd, out=np.zeros_like(sd), where=varies)
            for values, of_block in zip(moments, (true_mean, true_sd, mean, sd), strict=True):
                values[columns] = of_block
    noise /= max((repeats - 1).sum(), 1)
    signal = max(spread - noise * (1 / repeats).mean(), 0)
    return moments, {
        "cv_r2": [float(_r2(errors, baseline))],
        "cv_correlation": float(correlation.mean()),
        "held_out_variance": {"trial_noise": float(noise), "signal": float(signal), "spread": float(spread)},
    }


def token_gram(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Inner products of the images' centred targets, float32 (images, images); blocks: float32 (images, columns).

    With it, the sum of squares of any combination of images' targets needs only (images, images) matrices, and the
    targets are read once for all penalties.
    """
    gram: np.ndarray | None = None
    for block in blocks:
        block -= block.mean(axis=0)
        gram = np.zeros((len(block), len(block))) if gram is None else gram
        gram += block @ block.T
    return gram.astype(np.float32)


def mean_and_sd(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Over rows, float64 (columns,) each."""
    return values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)


def _varies(mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """Whether a spread is signal: below float32's resolution of the mean it is rounding."""
    return sd > 1e-5 * (np.abs(mean) + 1e-30)


def _r2(errors: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """1 - errors / baseline, and 0 of targets that do not vary."""
    return 1 - errors / baseline if baseline > 0 else np.zeros_like(errors)


def _mean_weights(system: RidgeSystem, inside: np.ndarray) -> np.ndarray:
    """Weights of the prediction at infinite penalty, the mean of the training trials, for each held-out image."""
    return np.broadcast_to(system.image_mean.astype(np.float32), (inside.sum(), len(inside)))


def _residual(weights: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Weights (held-out images, images) of predictions less the true targets of these images."""
    residual = weights.copy()
    residual[np.arange(len(weights)), np.flatnonzero(inside)] -= 1
    return residual


def _energy(weights: np.ndarray, gram: np.ndarray) -> float:
    """Sum of squares of `weights @ E` over rows and targets, trace(w E E' w').

    Rows of `weights` must add up to zero, so that centring E changes nothing.
    """
    return float(np.einsum("ij,ij->", weights @ gram, weights, dtype=np.float64))
