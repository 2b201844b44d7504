"""A simulated Natural Scenes Dataset, written as NSD's own files.

The files have the names, axes, units, number types and traps of the real ones (1-based ids, int16 percent signal change
x 300, zeros for missing data, planned trials that were never run), so that everything after the acquisition treats both
alike. The folder `ground_truth/` is next to them; only tests may read it.

Differences from NSD: the anatomy is an ellipsoid, and the atlases (HCP_MMP1, Kastner2015, the sulci) have the number
of labels of the real ones but invented borders. Beta version b1, spaces other than func1pt8mm and the maps of single
sessions, apart from `valid` and `meanbeta`, are not written.
"""

from pathlib import Path

import h5py
import numpy as np

from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.simulator import behaviour, brain, design, stimuli, volumes, writers
from fmri2img.datasets.nsd.simulator.parameters import Simulation
from fmri2img.datasets.nsd.simulator.sessions import Sessions
from fmri2img.datasets.nsd.simulator.transfer import simulate_transfer, simulate_transfer_stimuli

__all__ = ["Simulation", "simulate_stimuli", "simulate_subject", "simulate_transfer", "simulate_transfer_stimuli"]


def simulate_stimuli(root: str | Path, simulation: Simulation) -> None:
    """Write the files that are common to all subjects below `root`.

    These are the experimental design, the stimulus table, the images, COCO's captions and instances, and the label
    names.
    """
    root = Path(root)
    plan = design.plan(simulation)
    drawn = stimuli.scenes(simulation)
    table = stimuli.information(simulation, plan)
    writers.write_matlab(root / layout.EXPERIMENT_DESIGN, _matlab_design(simulation, plan))
    writers.write_csv(root / layout.STIMULUS_INFO, table)
    writers.write_images(root / layout.STIMULI, stimuli.images(simulation, drawn))
    for split in layout.COCO_CAPTIONS:
        captions, instances = stimuli.annotations(simulation, drawn, table, split)
        writers.write_json(root / layout.COCO_CAPTIONS[split], captions)
        writers.write_json(root / layout.COCO_INSTANCES[split], instances)
    for name, labels in volumes.LABELS.items():
        writers.write_labels(root / f"nsddata/freesurfer/fsaverage/label/{name}.mgz.ctab", labels)


def _matlab_design(simulation, plan):
    """The variables of nsd_expdesign.mat, all 1-based and with at least two dimensions."""
    by_session = plan.order.reshape(simulation.planned_sessions, -1)
    counts = [np.unique(np.unique(row, return_counts=True)[1], return_counts=True) for row in by_session]
    basic = np.zeros((3, simulation.planned_sessions))
    for session, (times, images) in enumerate(counts):
        basic[times - 1, session] = images
    return {
        "masterordering": plan.order[None].astype(float) + 1,
        "subjectim": np.stack([plan.images[subject] for subject in layout.SESSIONS]).astype(float) + 1,
        "sharedix": plan.shared[None].astype(float) + 1,
        "stimpattern": plan.slots.astype(np.uint8),
        "basiccnt": basic,
    }


def simulate_subject(root: str | Path, simulation: Simulation, subject: str) -> None:
    """Write all files of one subject below `root`; `simulate_stimuli` must have run there before."""
    root = Path(root)
    plan = design.plan(simulation)
    drawn = stimuli.scenes(simulation)
    with h5py.File(root / layout.STIMULI) as file:
        images = file["imgBrick"][:]
    anatomy = volumes.build(simulation.subjects[subject].dims, simulation.stream(subject, "anatomy"))
    one = brain.build(simulation, subject, anatomy, images, drawn)
    answers = behaviour.responses(simulation, plan, subject)

    writers.write_responses(root / layout.responses(subject), answers)
    _write_regions(root, subject, anatomy)
    sessions = Sessions(simulation, subject, anatomy, one, answers)
    sessions.write(root)
    writers.write_arrays(root / f"ground_truth/{subject}.npz", _ground_truth(one, anatomy, sessions, plan))


def _write_regions(root, subject, anatomy):
    for name, labels in volumes.LABELS.items():
        writers.write_labels(root / f"nsddata/freesurfer/{subject}/label/{name}.mgz.ctab", labels)
        writers.write_nifti(root / layout.roi(subject, name), anatomy.rois[name])
        for side, hemisphere in ((1, "lh"), (2, "rh")):
            volume = anatomy.hemisphere_roi(name, side)
            writers.write_nifti(root / layout.roi(subject, f"{hemisphere}.{name}"), volume)


def _ground_truth(one, anatomy, sessions, plan):
    """Arrays of ground_truth/<subject>.npz, over the V voxels of the brain mask unless stated otherwise.

    `signal` holds the noise-free response of the nsdgeneral voxels (in C order) to every stimulus at the middle of the
    experiment; `identification_*` are the ideal observer's accuracies and their chance level.
    """
    at = tuple(one.voxels.T)
    general = anatomy.rois["nsdgeneral"][at] == 1
    v1 = general & np.isin(anatomy.rois["prf-visualrois"][at], layout.ROI_LABELS["prf-visualrois"]["V1"])
    accuracies = sessions.oracle(plan.shared, {"nsdgeneral": general, "V1": v1})
    return {
        "voxels": one.voxels,
        "nsdgeneral": general,
        "early": one.early,
        "receptive_fields": anatomy.fields[at],
        "ncsnr_b2": one.ncsnr * np.float32(brain.B2_FACTOR),
        "ncsnr_b3": one.ncsnr,
        "pixel_weights": one.pixel_weights,
        "semantic_loadings": one.loadings,
        "semantic_latents": one.latents,
        "signal": one.signal[:, general],
    } | {f"identification_{name}": np.array(value) for name, value in accuracies.items()}
