# Files of LAION-fMRI's tree that rules read, by the names that their scripts use.

from fmri2img.datasets.laion_fmri import layout


def session_files(wildcards):
    """Files from which a session is masked."""
    subject, session = wildcards.subject, int(wildcards.session)
    return {
        "betas": study.dataset.tree(layout.betas(subject, session)),
        "trials": study.dataset.tree(layout.trials(subject, session)),
        "regions": study.dataset.tree(layout.region_list(subject)),
    }


def subject_files(wildcards):
    """Files from which the tables of a recording are made."""
    subject, kind = wildcards.subject, study.dataset.section["betas"]["noise_ceiling"]
    return {
        "trials": [study.dataset.tree(layout.trials(subject, n)) for n in study.used_sessions(subject)],
        "regions": study.dataset.tree(layout.region_list(subject)),
        "ceiling": study.dataset.tree(layout.noise_ceiling(subject, kind)),
        "names": NAMES,
    }


def anatomy_files(wildcards):
    """Files that maps of a subject are drawn on."""
    return {
        "brain": study.dataset.tree(layout.r2mean(wildcards.subject)),
        "regions": study.dataset.tree(layout.region_list(wildcards.subject)),
    }


def split_lists(wildcards):
    """The published lists that a split of the study is made from."""
    return [study.dataset.tree(layout.split(pool, wildcards.split)) for pool in study.dataset.pools_of(study)]


def found_for(files):
    """The parameter of rules that read these files: their identity and that of the masks, not of the list of masks."""
    return lambda w: as_found(study.dataset, flat(files(w) | {"regions": study.dataset.region_masks(w.subject)}))


NAMES = study.dataset.tree(layout.embeddings(layout.EMBEDDINGS[0]))  # lists all images
STIMULUS_FILES = {
    "trials": [
        study.dataset.tree(layout.trials(subject, session))
        for subject in study.recorded
        for session in study.used_sessions(subject)
    ],
    "names": NAMES,
    "captions": study.dataset.tree(layout.CAPTIONS),
    "pictures": [study.dataset.tree(layout.PICTURES)] if study.dataset.has_pictures else [],
    "metadata": [study.dataset.tree(layout.METADATA)] if study.dataset.has_pictures else [],
}
