"""One subject's file -> Recording.

Betas are read twice, a few at a time, because a subject of NSD has 22 GB: once for which vertices are finite and for
mean and deviation over the training trials of the study's split, once to write them. MOSAIC's betas are z-scored
already; doing so again over the training trials of this split changes little, and makes it certain that no test image
of this split is in the mean and deviation.

The files give trials by stimulus, not in the order of the experiment, and say neither session nor run. Trials are
therefore dealt into `mosaic.sessions` sessions in a random order that depends on the subject alone, so that a part of
them, as a budget, is a random one.
"""

import zlib
from pathlib import Path

import numpy as np
import pandas as pd

from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.splits import TRAIN, Split
from fmri2img.artifacts.test_images import TestImages
from fmri2img.datasets.mosaic import layout
from fmri2img.datasets.mosaic.betas import SubjectFile, open_subject
from fmri2img.datasets.mosaic.parcels import Parcels
from fmri2img.datasets.normalise import Moments, all_finite, zscore
from fmri2img.errors import UserError


def write_recording(
    subject: str, path: str | Path, parcels: Parcels, options: dict, stimuli: pd.DataFrame, split: Split,
    sources: dict[str, str], output: str | Path,
) -> TestImages:  # fmt: skip
    """Write the Recording and return the subject's test images.

    options: `vertices` and `sessions` of configuration `mosaic`; stimuli: table of the Stimuli; sources: name of a
    source file -> SHA-256. Raises UserError when the file does not fit the table of stimuli.
    """
    elements, one = parcels.used(options["vertices"]), layout.CONSTITUENTS[layout.constituent_of(subject)]
    with open_subject(path, subject, len(parcels.areas)) as file:
        trials = trials_of(file, stimuli, options["sessions"], split)
        fitted, unlike = (trials["part"] == TRAIN).to_numpy(), unlike_table(trials, stimuli, subject)
        keep, moments, left_out = _fit(file, elements, trials["row"].to_numpy(), fitted)
        voxels = parcels.table(elements[keep])
        ceilings = file.ncsnr(elements[keep])
        voxels.insert(3, "ncsnr", np.zeros(len(voxels), np.float32) if ceilings is None else ceilings[0])
        metadata = {
            "subject": subject,
            **split.identity,
            "betas": options,
            "n_sessions": int(options["sessions"]),
            "trials_unlike_table": unlike,
            "order": "random: the files do not say when a trial was",
            "zscored_before": "by its own trials"
            if one.own_statistics
            else "by training trials; artificial by its own",
            "voxels_left_out": left_out,
            "ncsnr": "none: no stimulus was repeated" if ceilings is None else ceilings[1],
            "sources_sha256": sources,
        }
        with Recording.writer(output) as recording:
            betas = recording.betas(len(trials), len(voxels))
            place = np.empty(len(trials), np.int64)
            place[trials["row"]] = np.arange(len(trials))
            for rows, block in file.blocks(elements[keep]):
                betas[place[rows]] = zscore(block, moments.mean[keep], moments.sd[keep])
            recording.finish(trials.drop(columns="row"), voxels, metadata)
    print(f"{subject}: {len(trials)} trials, {len(voxels)} vertices; left out of them: {left_out}")
    if unlike["missing"] or unlike["more"]:
        print(
            f"{subject}: unlike the table of stimuli, {unlike['missing']} trials are missing, {unlike['more']} are more"
        )
    return TestImages.of(subject, split, trials["image_id"].to_numpy(), trials["session"].to_numpy())


def trials_of(file: SubjectFile, stimuli: pd.DataFrame, sessions: int, split: Split) -> pd.DataFrame:
    """The table of trials in the order of the recording, with `row`, each one's row in `file.trials`.

    stimuli: table of the Stimuli, with columns constituent, filename, test_train. Raises UserError when a trial's
    stimulus is not in it, or is of another part there.
    """
    own = stimuli[stimuli["constituent"] == layout.constituent_of(file.subject)]
    numbers = file.trials["stimulus"].map(_by_name(own))
    if numbers.isna().any():
        first = file.trials.loc[numbers.isna(), "stimulus"].iloc[0]
        raise UserError(
            f"{file.path}: {file.subject} saw {first} ({int(numbers.isna().sum())} such trials), which it did not by "
            f"{layout.table(layout.constituent_of(file.subject))}; replace one of the two files"
        )
    shown = own.set_index("image_id").loc[numbers.astype(np.int64)]
    other = file.trials["phase"].to_numpy() != shown["test_train"].to_numpy()
    if other.any():
        first = file.trials["key"][int(np.flatnonzero(other)[0])]
        raise UserError(
            f"{file.path}: '{first}' is of the other part in {layout.table(layout.constituent_of(file.subject))} "
            f"({int(other.sum())} trials differ); replace one of the two files"
        )
    order = np.random.default_rng(zlib.crc32(file.subject.encode())).permutation(len(numbers))
    trials = pd.DataFrame({"trial": order, "image_id": numbers.to_numpy(np.int64)[order], "row": order})
    trials.insert(1, "session", np.arange(len(trials)) * sessions // len(trials) + 1)
    trials.insert(2, "run", 1)
    # Which presentation it was is known, though not when; where one is missing, the later ones move up.
    shown_before = file.trials["repeat"].to_numpy()[order]
    trials["repeat"] = pd.Series(shown_before).groupby(trials["image_id"]).rank(method="first").astype(int) - 1
    trials["part"] = split.assign(trials["image_id"].to_numpy(), trials["session"].to_numpy())
    return trials


def unlike_table(trials: pd.DataFrame, stimuli: pd.DataFrame, subject: str) -> dict[str, int]:
    """How many trials the table of stimuli has and the file lacks (missing), and the other way round (more).

    The two are counted in different places, so a difference is reported and not refused: MOSAIC's table leaves the
    one-back repeats of NSD-Synthetic out, for example. A file that is not whole shows here.
    """
    found = trials["image_id"].value_counts().reindex(stimuli["image_id"], fill_value=0).to_numpy()
    difference = found - stimuli[subject].to_numpy()
    return {"missing": int(-difference[difference < 0].sum()), "more": int(difference[difference > 0].sum())}


def _by_name(own: pd.DataFrame) -> dict[str, int]:
    """File name -> image_id; also its stem, where no other stimulus has the same one."""
    stems = own["filename"].str.rpartition(".")[0]
    single = ~stems.duplicated(keep=False)
    named = dict(zip(stems[single], own.loc[single, "image_id"], strict=True))
    return named | dict(zip(own["filename"], own["image_id"], strict=True))


def _fit(
    file: SubjectFile, elements: np.ndarray, rows_of_trials: np.ndarray, fitted: np.ndarray
) -> tuple[np.ndarray, Moments, dict[str, int]]:
    """Which elements are used: bool (elements,); their moments over the fitted trials; why the others are left out."""
    is_fitted = np.empty(len(fitted), bool)
    is_fitted[rows_of_trials] = fitted
    filled = file.filled()[elements]
    finite, moments = ~filled, Moments(len(elements))
    with np.errstate(invalid="ignore"):  # of elements that are left out
        for rows, block in file.blocks(elements):
            finite &= all_finite(block)
            moments.add(block[is_fitted[rows]])
    if moments.n < 2:
        raise UserError(
            f"{file.path}: {moments.n} training trials, too few for a standard deviation; use another split"
        )
    constant = finite & moments.constant
    keep = finite & ~constant
    if not keep.any():
        raise UserError(f"{file.path}: every vertex is NaN or constant in some trial; replace the file")
    return keep, moments, {"not_finite": int((~finite).sum()), "constant": int(constant.sum())}
