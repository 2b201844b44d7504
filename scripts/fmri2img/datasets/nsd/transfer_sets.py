"""NSD-Imagery and NSD-Synthetic as test sets of decoders that were fitted to NSD alone (key `nsd.transfer`).

NSD's eight subjects came back for two more sessions, in the same scanner, grid and units. Nothing is fitted to them:
their trials are tested with the voxels and the decoders of NSD.

    vision      a bar, cross or photograph on the screen
    imagery     the same pictures, imagined after a letter that stands for them
    attention   the same pictures, looked for in a rapid stream of pictures
    synthetic   noise, gratings, words, manipulated scenes

The first three are of NSD-Imagery (Kneeland et al., CVPR 2025), the last is NSD-Synthetic (Gifford et al., Nature
Communications 2026).

Pictures. An image belongs to one test set, so each picture of each test set has an image_id of its own above those of
NSD's 73,000 (`image_id`). NSD-Imagery's third set of targets, concepts such as "mammal", has no picture that a decoded
one could be compared with, and captions are compared with sentences, not with single words: its trials are not used.
No one wrote captions of any of these pictures, so metrics of captions are undefined here. Five photographs are shared
images of NSD, which both of its splits hold out.

Betas. NSD-Imagery has 720 volumes for 576 trials, because a trial of attention has two: while the letter is shown
("cue") and while the stream is ("detection"). Both count as responses to the picture that the subject looks for, and
the column `epoch` of a recording's trials says which it is.

Voxels. The mask and the voxels that are left out are those of NSD's own sessions, so that decoders stay as they are. A
voxel without data in one of these two sessions has 0 there, its mean (`voxels_without_data` in the metadata). Noise
ceilings (ncsnr) are those of NSD's sessions: a brain correlation that is divided by one is too low where responses are
weaker, as in imagery.

Normalisation (key `nsd.transfer_normalise`). NSD's sessions are z-scored by their own training trials. These two have
none, so `published` takes their own trials, as the two papers do: those of a run in NSD-Imagery (each run has one task
and one set of targets, so the task's mean response is removed), those of the session in NSD-Synthetic. Neither labels
nor pictures enter, but a trial is scaled by other test trials. `session` takes the session's own trials in both.
`training` takes nothing of the test: mean and deviation of all of NSD's training trials; then what differs between
sessions, gain and offset of the scanner above all, stays in the betas.

This module is light to import, because every reading of the workflow imports it.
"""

from collections.abc import Iterable

from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.layout import IMAGERY, SYNTHETIC

TASKS = {"vis": "vision", "img": "imagery", "att": "attention"}  # beginning of a run's name -> task and test set
EXPERIMENT = {"vision": IMAGERY, "imagery": IMAGERY, "attention": IMAGERY, "synthetic": SYNTHETIC}  # of a test set
TARGETS = [(group, name) for group in layout.PICTURED_SETS for name in layout.IMAGERY_TARGETS[group].values()]
FIRST_ID = {"vision": 101_000, "imagery": 102_000, "attention": 103_000, "synthetic": 110_000}
FIRST_COLOURED, COLOURED_STEP = 120_000, 100  # synthetic images in a subject's colours: 120100 + k for subject 1
PER_RUN, PER_SESSION, BY_TRAINING = "run", "session", "training"


def experiments(test_sets: Iterable[str]) -> list[str]:
    """The experiments that the test sets are from."""
    return list(dict.fromkeys(EXPERIMENT[name] for name in test_sets))


def subject_number(subject: str) -> int:
    """1 for "subj01"."""
    return int(subject.removeprefix("subj"))


def target_id(test_set: str, name: str) -> int:
    """image_id of a target of NSD-Imagery in one of its test sets."""
    return FIRST_ID[test_set] + [known for _, known in TARGETS].index(name)


def synthetic_id(subject: str, number: int) -> int:
    """image_id of a synthetic image. number: its place among the 284, from 0; the last 64 are the subject's own."""
    own = number - layout.SYNTHETIC_SHARED
    if own < 0:
        return FIRST_ID["synthetic"] + number
    return FIRST_COLOURED + COLOURED_STEP * subject_number(subject) + own


def image_ids(test_set: str, subjects: Iterable[str]) -> list[int]:
    """image_id of all images of a test set that any of the subjects saw, ascending."""
    if test_set != "synthetic":
        return [target_id(test_set, name) for _, name in TARGETS]
    numbers = range(layout.SYNTHETIC_SHARED + layout.SYNTHETIC_COLOURED)
    return sorted({synthetic_id(subject, number) for subject in subjects for number in numbers})


def grouping(choice: str, experiment: str) -> str:
    """Which trials a trial is normalised by: PER_RUN, PER_SESSION or BY_TRAINING. choice: `nsd.transfer_normalise`."""
    return {IMAGERY: PER_RUN, SYNTHETIC: PER_SESSION}[experiment] if choice == "published" else choice


def trial_keys(subject: str, test_sets: Iterable[str]) -> list[str]:
    """Keys of the files that say which trial of the test sets is which."""
    keys: list[str] = []
    for experiment in experiments(test_sets):
        if experiment == IMAGERY:
            keys += [layout.IMAGERY_DESIGN, *(layout.imagery_responses(subject, run) for run in layout.IMAGERY_RUNS)]
        else:
            keys += [layout.SYNTHETIC_DESIGN]
    return keys


def picture_keys(subjects: Iterable[str], test_sets: Iterable[str]) -> list[str]:
    """Keys of the files that hold and describe the pictures of the test sets."""
    keys: list[str] = []
    for experiment in experiments(test_sets):
        if experiment == IMAGERY:
            keys += [layout.imagery_picture(group, name) for group, name in TARGETS]
        else:
            keys += [layout.SYNTHETIC_INFO, layout.SYNTHETIC_STIMULI]
            keys += [layout.coloured_stimuli(subject) for subject in subjects]
    return keys
