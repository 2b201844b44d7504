"""The simulated NSD-Imagery and NSD-Synthetic: a session each of the simulated subjects, in the files of the real ones.

A beta is that of brain.py, with the response to the picture multiplied by STRENGTH and the noise by NOISE of the task:
imagined pictures evoke weaker and more variable responses. While a stream of pictures is searched, the set's other
pictures evoke the rest. Pictures unlike any of NSD's evoke at most LIMIT deviations. Trials of concepts (NSD-Imagery's
set C) evoke nothing. The truth is next to that of the sessions, `ground_truth/<subject>_transfer.npz`.

Of NSD-Imagery, the pictures as they were on the screen and the design matrices of single runs are not written.
"""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.layout import IMAGERY, IMAGERY_TARGETS, IMAGERY_TRIALS, SYNTHETIC
from fmri2img.datasets.nsd.simulator import behaviour, brain, design, stimuli, transfer_pictures, volumes, writers
from fmri2img.datasets.nsd.simulator.parameters import Simulation, subject_number
from fmri2img.datasets.nsd.simulator.sessions import INT16, invalid_voxels
from fmri2img.datasets.nsd.transfer_pictures import AS_PHOTOGRAPH
from fmri2img.datasets.nsd.transfer_sets import TARGETS
from fmri2img.datasets.nsd.transfer_trials import EPOCHS, imagery_volumes
from fmri2img.datasets.pictures import square

STRENGTH = {"vision": 1.0, "attention": 0.6, "imagery": 0.4, "synthetic": 1.0}
NOISE = {"vision": 1.0, "attention": 1.1, "imagery": 1.2, "synthetic": 1.0}
LIMIT = 3.0
RUN_SECONDS = {"vision": 240, "imagery": 240, "attention": 480}
TRIAL_SECONDS, FIRST_TRIAL = {"vision": 4, "imagery": 4, "attention": 8}, {"vision": 12, "imagery": 12, "attention": 16}
DETECTION_SECONDS = 4  # after the cue
BLANKS = 5  # trials without a picture in the middle of a run
RUNS, REGULAR, ONE_BACK, SLOTS = 8, 83, 10, 107  # of NSD-Synthetic: runs; of each: trials, repeats, slots of 4 s
CONDITIONS = 36  # columns of NSD-Imagery's design: 6 seen, 6 cued, 6 searched for, and 6 imagined of each set


def simulate_transfer_stimuli(root: str | Path, simulation: Simulation, experiment: str) -> None:
    """Write an experiment's files that are common to all subjects, and the synthetic images of each, below `root`."""
    root = Path(root)
    if experiment == IMAGERY:
        drawn = transfer_pictures.targets(simulation, design.plan(simulation))
        for (group, name), (picture, _) in zip(TARGETS, drawn, strict=True):
            writers.write_picture(root / layout.imagery_picture(group, name), picture)
        for group, of in IMAGERY_TARGETS.items():
            file = "" if group not in layout.PICTURED_SETS else ".png"
            pairs = [(number, f"{name}{file}", letter) for number, (letter, name) in enumerate(of.items(), start=1)]
            path = root / f"nsddata/experiments/{IMAGERY}/{group}_pair_list.mat"
            writers.write_matlab(path, {"pair_list": np.array(pairs, object)})
        designs = np.empty((1, len(layout.IMAGERY_RUNS)), object)
        for run, name in enumerate(layout.IMAGERY_RUNS):
            designs[0, run] = _design_matrix(name, *_imagery_order(simulation, name))
        writers.write_matlab(root / layout.IMAGERY_DESIGN, {"stimulus": designs})
        return
    made = transfer_pictures.synthetic(simulation)
    writers.write_images(root / layout.SYNTHETIC_STIMULI, made.shown)
    for subject, pictures in made.coloured.items():
        writers.write_images(root / layout.coloured_stimuli(subject), pictures)
    writers.write_csv(root / layout.SYNTHETIC_INFO, made.information, index=False)
    order, pattern = _synthetic_order(simulation)
    content = {"masterordering": order[None].astype(float) + 1, "stimpattern": pattern[None].astype(np.uint8)}
    writers.write_matlab(root / layout.SYNTHETIC_DESIGN, content)


def _imagery_order(simulation: Simulation, run: str) -> tuple[np.ndarray, np.ndarray]:
    """Target (0 to 5) and onset (seconds) of each trial of a run: all targets equally often, blanks in between."""
    rng, task = simulation.stream(IMAGERY, run), _task(run)
    order = rng.permutation(np.repeat(np.arange(6), IMAGERY_TRIALS // 6))
    slots = np.sort(rng.permutation(np.arange(1, IMAGERY_TRIALS + BLANKS))[: IMAGERY_TRIALS - 1])
    slots = np.concatenate([[0], slots])
    return order, FIRST_TRIAL[task] + TRIAL_SECONDS[task] * slots


def _task(run: str) -> str:
    return {"vis": "vision", "att": "attention", "img": "imagery"}[run[:3]]


def _design_matrix(run: str, order: np.ndarray, onsets: np.ndarray) -> np.ndarray:
    """Events of a run: (seconds, CONDITIONS), 1 where an event of a condition begins."""
    task, matrix = _task(run), np.zeros((RUN_SECONDS[_task(run)], CONDITIONS))
    first = {"vision": 0, "attention": 6, "imagery": 18 + 6 * "ABC".index(run[3])}[task]
    matrix[onsets, first + order] = 1
    if task == "attention":
        matrix[onsets + DETECTION_SECONDS, first + 6 + order] = 1
    return matrix


def _synthetic_order(simulation: Simulation) -> tuple[np.ndarray, np.ndarray]:
    """Image of each trial (from 0), the same for all subjects, and slots of each run, bool (RUNS, SLOTS).

    Every image is shown at least twice; in every run some are shown twice in a row.
    """
    rng, images = simulation.stream(SYNTHETIC, "order"), layout.SYNTHETIC_SHARED + layout.SYNTHETIC_COLOURED
    shown = np.concatenate([rng.permutation(images) for _ in range(3)])[: RUNS * REGULAR]
    parts, pattern = [], np.zeros((RUNS, SLOTS), bool)
    for run, own in enumerate(shown.reshape(RUNS, REGULAR)):
        twice = np.isin(np.arange(REGULAR), rng.permutation(REGULAR)[:ONE_BACK])
        parts.append(np.repeat(own, 1 + twice))
        pattern[run, 3 + np.sort(rng.permutation(SLOTS - 7)[: len(parts[-1])])] = True
    return np.concatenate(parts), pattern


def simulate_transfer(root: str | Path, simulation: Simulation, subject: str, experiments: list[str]) -> None:
    """Write a subject's files of the experiments below `root`, where `simulate_stimuli` must have run before."""
    root = Path(root)
    plan = design.plan(simulation)
    drawn: list = list(stimuli.scenes(simulation))
    with h5py.File(root / layout.STIMULI) as file:
        images = file["imgBrick"][:]
    known = len(images)
    made = transfer_pictures.synthetic(simulation)
    seen = [picture for picture, _ in transfer_pictures.targets(simulation, plan)]
    seen += [square(AS_PHOTOGRAPH[shown], simulation.image_size) for shown in [*made.shown, *made.coloured[subject]]]
    drawn += [scene for _, scene in transfer_pictures.targets(simulation, plan)] + made.scenes
    anatomy = volumes.build(simulation.subjects[subject].dims, simulation.stream(subject, "anatomy"))
    one = brain.build(simulation, subject, anatomy, np.concatenate([images, np.stack(seen)]), drawn, known)
    # After the last session, with the tuning that it has drifted to.
    turn = brain.session_turn(simulation, simulation.subjects[subject].sessions)
    evoked = LIMIT * np.tanh(one.response(np.arange(known, len(drawn)), turn) / LIMIT)
    general = anatomy.rois["nsdgeneral"][tuple(one.voxels.T)] == 1
    truth = {"signal": evoked[:, general], "ncsnr": one.ncsnr[general], "scale": one.scale[general]}
    for experiment in experiments:
        write = _write_imagery if experiment == IMAGERY else _write_synthetic
        write(root, simulation, subject, anatomy, one, evoked)
    writers.write_arrays(root / f"ground_truth/{subject}_transfer.npz", truth)


def _write_imagery(root, simulation, subject, anatomy, one, evoked):
    """Betas, and what the subject saw and answered in each run."""
    rng = simulation.stream(subject, IMAGERY)
    responses, noise = [], []
    for run, volumes_of in imagery_volumes().groupby("run"):
        name = layout.IMAGERY_RUNS[run - 1]
        task, group = _task(name), name[3]
        order, onsets = _imagery_order(simulation, name)
        table = _answers(simulation, subject, name, order, onsets, rng)
        writers.write_run(root / layout.imagery_responses(subject, name), table)
        pictured = group in layout.PICTURED_SETS
        of_set = evoked[6 * "AB".index(group) :][:6] if pictured else np.zeros((6, evoked.shape[1]), np.float32)
        for epoch in EPOCHS[task]:
            # Before the search begins, what to look for is in mind as in imagery.
            strength = STRENGTH["imagery" if epoch == "cue" else task]
            here = (volumes_of["epoch"] == epoch).to_numpy()
            rows = np.zeros((len(volumes_of), evoked.shape[1]), np.float32)
            rest = (1 - strength) * of_set.mean(axis=0) if epoch == "detection" else 0
            rows[here] = strength * of_set[order] + rest
            responses.append((volumes_of.index, rows, here))
        noise.append(np.full(len(volumes_of), NOISE[task], np.float32))
    signal = np.zeros((len(imagery_volumes()), evoked.shape[1]), np.float32)
    for index, rows, here in responses:
        signal[index[here]] = rows[here]
    _write_betas(root, simulation, subject, IMAGERY, anatomy, one, signal, np.concatenate(noise))


def _answers(simulation, subject, run, order, onsets, rng):
    """The columns of nsdimagery_subjXX_<run>.tsv; NaN where there is none."""
    task, group = _task(run), run[3]
    letters, names = np.array([*IMAGERY_TARGETS[group]]), np.array([*IMAGERY_TARGETS[group].values()])
    # On half of the vision trials the letter on the screen is another one than that of the picture.
    wrong = rng.permutation(np.arange(IMAGERY_TRIALS) % 2 == 1) if task == "vision" else np.zeros(IMAGERY_TRIALS, bool)
    cues = letters[np.where(wrong, (order + rng.integers(1, 6, IMAGERY_TRIALS)) % 6, order)]
    present = rng.permutation(np.arange(IMAGERY_TRIALS) % 2 == 0) & (task == "attention")
    blank = "blank00000_00000000"
    frames = [
        f"{name if task == 'vision' else blank}_cue{cue}.png" for name, cue in zip(names[order], cues, strict=True)
    ]
    found = [f"{name}_cueX.png" if shown else "NaN" for name, shown in zip(names[order], present, strict=True)]
    truth = {"vision": ~wrong, "attention": present, "imagery": np.full(IMAGERY_TRIALS, np.nan)}[task].astype(float)
    silent = rng.random(IMAGERY_TRIALS) < behaviour.NO_RESPONSE
    correct = np.where(silent | np.isnan(truth), np.nan, rng.random(IMAGERY_TRIALS) < 0.9)
    vivid = np.where(rng.random(IMAGERY_TRIALS) < 0.9, 1.0, 2.0)
    button = np.where(silent, np.nan, vivid if task == "imagery" else 2 - truth)
    after = np.where(silent, np.nan, np.round(rng.gamma(9, 95, IMAGERY_TRIALS) + 250, 3))
    searched = onsets + DETECTION_SECONDS
    return pd.DataFrame(
        {
            "SUBJECT": subject_number(subject), "SESSION": 1, "RUN": layout.IMAGERY_RUNS.index(run) + 1,
            "TRIAL": np.arange(1, IMAGERY_TRIALS + 1), "CONDITION": letters[order], "CUE": cues, "FRAMEFILE": frames,
            "IMAGEFILE": found, "GROUNDTRUTH": truth, "ISCORRECT": correct, "CHANGEMIND": np.where(silent, np.nan, 0),
            "TOTAL1": (button == 1).astype(int), "TOTAL2": (button == 2).astype(int), "BUTTON": button,
            "TRIALONSET": onsets, "TRIALEND": onsets + TRIAL_SECONDS[task],
            "IMAGEONSET": np.where(present, searched, np.nan),
            "IMAGESERIESENDS": searched + 2 if task == "attention" else np.nan,
            "FINALDECISIONTIME": onsets + after / 1000, "RT": after,
        }
    )  # fmt: skip


def _write_synthetic(root, simulation, subject, anatomy, one, evoked):
    order, _ = _synthetic_order(simulation)
    signal = STRENGTH["synthetic"] * evoked[len(TARGETS) + order]
    _write_betas(root, simulation, subject, SYNTHETIC, anatomy, one, signal, NOISE["synthetic"])


def _write_betas(root, simulation, subject, experiment, anatomy, one, signal, noise):
    """Betas of both versions and the map of voxels with data. noise: its deviation, of each volume or of all."""
    rng, at = simulation.stream(subject, experiment, "betas"), tuple(one.voxels.T)
    offset = rng.normal(0, brain.OFFSET, len(one.voxels)).astype(np.float32)
    gain = one.scale * np.float32(rng.normal(1, brain.GAIN))
    spread = np.broadcast_to(np.float32(noise), len(signal))[:, None]
    evoked = one.ncsnr * signal + spread * one.noise(len(signal), rng)
    further = np.float32(np.sqrt(brain.B2_FACTOR**-2 - 1)) * one.smooth_noise(len(signal), rng)
    # In one subject the head moved, so that a few voxels left the scanned volume.
    moved = subject == list(simulation.subjects)[1 % len(simulation.subjects)]
    lost = invalid_voxels(one) & moved
    for version, values in {"b2": evoked + further, "b3": evoked}.items():
        percent = one.baseline + offset + gain * values
        counts = np.clip(np.rint(percent * layout.INT16_PER_PERCENT), INT16.min, INT16.max).astype(np.int16)
        counts[:, lost] = 0
        volume = np.zeros((*one.dims, len(signal)), np.int16)
        volume[at] = counts.T
        writers.write_betas(root / layout.experiment_betas(subject, version, experiment), volume)
    valid = np.ones(one.dims, np.int16)
    valid[at] = ~lost
    writers.write_nifti(root / layout.experiment_valid(subject, experiment), valid)
