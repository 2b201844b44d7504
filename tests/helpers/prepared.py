"""Runs the preparation on a tree of nsd_tree.py, as the rules do."""

from pathlib import Path

from nsd_tree import BETA_FOLDER, SESSIONS, Tree

from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.datasets.checksums import by_key
from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.design import read_design
from fmri2img.datasets.nsd.scripts.make_splits import shared1000
from fmri2img.datasets.nsd.scripts.mask_session import mask_session
from fmri2img.datasets.nsd.scripts.prepare_recording import prepare_recording
from fmri2img.datasets.nsd.scripts.prepare_stimuli import prepare_stimuli

DESIGN = "nsddata/experiments/nsd/nsd_expdesign.mat"
STIMULUS_INFO = "nsddata/experiments/nsd/nsd_stim_info_merged.csv"


def responses(subject: str) -> str:
    return f"nsddata/ppdata/{subject}/behav/responses.tsv"


def record(
    tree: Tree, results: Path, subject: str = "subj01", split=None, sessions: int | None = None, transfer=None,
    further=(), **betas,
) -> Recording:  # fmt: skip
    """Recording of the first `sessions` sessions (all) with `betas` over the default options; split: shared1000.

    transfer: of prepare_recording, with the files `further`.
    """
    options = {"version": "b3", "mask": "nsdgeneral", "labels": [], "normalise": "session", "statistics": "train"}
    options |= betas
    region_file, labels = layout.mask_of(options["mask"])
    labels = options["labels"] or labels
    numbers = list(range(1, (sessions or SESSIONS[subject]) + 1))
    masked = [str(results / "masked" / subject / f"session{number:02d}.npy") for number in numbers]
    for number, path in zip(numbers, masked, strict=True):
        source = tree.betas_file(subject, number)
        mask_session(source, tree.roi(subject, region_file), tree.root / responses(subject), number, path, labels)
    split_file = results / "split.json"
    (split or shared1000(read_design(tree.root / DESIGN))).save(split_file)
    files = [tree.root / key for key in (responses(subject), DESIGN, STIMULUS_INFO)]
    files += [tree.roi(subject, name) for name in tree.labels[subject]]
    files += [tree.func(subject, f"valid_session{number:02d}.nii.gz") for number in numbers]
    files += [tree.betas_file(subject, 1, BETA_FOLDER[options["version"]]).with_name("ncsnr.nii.gz")]
    output = results / "recordings" / subject
    files = by_key(tree.root, [*files, *further])
    prepare_recording(subject, numbers, masked, split_file, files, options, output, transfer)
    return Recording.open(output)


def stimuli(tree: Tree, results: Path, subjects: tuple[str, ...] = ("subj01", "subj02"), transfer=None) -> Stimuli:
    coco = {
        what: {split: tree.root / f"annotations/{what}_{split}.json" for split in ("train2017", "val2017")}
        for what in ("captions", "instances")
    }
    prepare_stimuli(
        {subject: tree.root / responses(subject) for subject in subjects},
        {subject: SESSIONS[subject] for subject in subjects},
        tree.root / DESIGN,
        tree.root / STIMULUS_INFO,
        tree.root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5",
        **coco,
        output=results / "stimuli",
        transfer=transfer,
    )
    return Stimuli.open(results / "stimuli")
