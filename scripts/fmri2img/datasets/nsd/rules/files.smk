# Files of NSD's tree that rules read, by the names that their scripts use.

from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.transfer_sets import experiments, picture_keys, trial_keys

MASK_LABELS = study.dataset.section["betas"]["labels"] or list(
    layout.mask_of(study.dataset.section["betas"]["mask"])[1]
)
TRANSFER = {"test_sets": study.dataset.transfer, "subjects": study.subjects if study.dataset.transfer else []}


def session_files(wildcards):
    """Files of NSD from which a session is masked."""
    return {
        "betas": study.dataset.tree(study.dataset.betas(wildcards.subject, int(wildcards.session))),
        "mask": study.dataset.tree(layout.roi(wildcards.subject, study.dataset.region_files[0])),
        "responses": study.dataset.tree(layout.responses(wildcards.subject)),
    }


def experiment_files(wildcards):
    """Files from which the betas of NSD-Imagery or NSD-Synthetic are masked."""
    subject, experiment, tree = wildcards.subject, wildcards.experiment, study.dataset.tree
    return {
        "betas": tree(study.dataset.experiment_betas(subject, experiment)),
        "mask": tree(layout.roi(subject, study.dataset.region_files[0])),
        "design": tree(layout.IMAGERY_DESIGN if experiment == layout.IMAGERY else layout.SYNTHETIC_DESIGN),
    }


def subject_files(wildcards):
    """Files of NSD from which the tables of a recording are made."""
    subject, tree = wildcards.subject, study.dataset.tree
    further = study.dataset.transfer_of(study, subject)
    valid = [layout.experiment_valid(subject, experiment) for experiment in experiments(further)]
    return {
        "trials": [tree(key) for key in (layout.responses(subject), layout.EXPERIMENT_DESIGN, layout.STIMULUS_INFO)],
        "regions": [tree(layout.roi(subject, name)) for name in study.dataset.region_files],
        "ncsnr": tree(layout.ncsnr(subject, study.dataset.section["betas"]["version"])),
        "valid": [tree(layout.valid(subject, number)) for number in study.used_sessions(subject)],
        "transfer": [tree(key) for key in [*trial_keys(subject, further), *valid]],
    }


STIMULUS_FILES = {
    "images": study.dataset.tree(layout.STIMULI),
    "design": study.dataset.tree(layout.EXPERIMENT_DESIGN),
    "stimulus_info": study.dataset.tree(layout.STIMULUS_INFO),
    "responses": [study.dataset.tree(layout.responses(subject)) for subject in study.recorded],
    "captions": [study.dataset.tree(key) for key in layout.COCO_CAPTIONS.values()],
    "instances": [study.dataset.tree(key) for key in layout.COCO_INSTANCES.values()],
    "transfer": [study.dataset.tree(key) for key in picture_keys(study.subjects, study.dataset.transfer)],
}


def shown_files(wildcards):
    """Files of NSD that say which images a subject was shown."""
    further = trial_keys(wildcards.subject, study.dataset.transfer_of(study, wildcards.subject))
    return {
        "responses": study.dataset.tree(layout.responses(wildcards.subject)),
        "design": STIMULUS_FILES["design"],
        "stimulus_info": STIMULUS_FILES["stimulus_info"],
        "transfer": [study.dataset.tree(key) for key in further],
    }


def anatomy_files(wildcards):
    """Volumes of NSD that maps of a subject are drawn on."""
    subject, tree = wildcards.subject, study.dataset.tree
    mask = tree(layout.roi(subject, study.dataset.region_files[0]))
    mni = {"mni": tree(layout.to_mni(subject))} if "mni" in study.dataset.anatomy else {}
    return {"brain": tree(layout.func(subject, "brainmask.nii.gz")), "mask": mask} | mni


def further_trials(wildcards):
    """Which trials of further experiments join a subject's recording, and what they are normalised by."""
    test_sets = study.dataset.transfer_of(study, wildcards.subject)
    return {"test_sets": test_sets, "normalise": study.dataset.section["transfer_normalise"] if test_sets else None}


def trials_of_all():
    """Files of NSD-Imagery and NSD-Synthetic that say which trial is which, and are common to all subjects."""
    keys = trial_keys("", study.dataset.transfer)
    return [study.dataset.tree(key) for key in keys if key in (layout.IMAGERY_DESIGN, layout.SYNTHETIC_DESIGN)]
