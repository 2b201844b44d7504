# Simulate NSD in its own layout. The rules name only the files that the preparation reads; the jobs also write the
# other files of the layout (betas as NIfTI, the other beta version, further maps).

from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.transfer_sets import experiments, picture_keys, trial_keys

FURTHER = experiments(study.dataset.transfer)  # NSD-Imagery and NSD-Synthetic, where the study tests on them


rule simulate_stimuli:
    """Simulate what is common to all subjects: design, stimulus table, images, captions and categories."""
    output:
        design=study.dataset.tree(layout.EXPERIMENT_DESIGN),
        information=study.dataset.tree(layout.STIMULUS_INFO),
        images=study.dataset.tree(layout.STIMULI),
        captions=[study.dataset.tree(key) for key in layout.COCO_CAPTIONS.values()],
        instances=[study.dataset.tree(key) for key in layout.COCO_INSTANCES.values()],
    log:
        "<logs>/simulate_stimuli.log",
    benchmark:
        "<benchmarks>/simulate_stimuli.tsv"
    conda:
        "../../../../../envs/prepare.yaml"
    threads: threads_of("cpu")
    resources:
        **needs("cpu"),
    params:
        simulation=study.dataset.section["simulation"],
        code=code_of(study.dataset.folder / "scripts/simulate_stimuli.py"),
    script:
        "../scripts/simulate_stimuli.py"


# There is one rule for each subject, because subjects differ in the number of sessions and so of files.
for subject in study.dataset.sessions:

    rule:
        """Simulate one subject: anatomy, behaviour and the betas of all sessions."""
        name:
            f"simulate_{subject}"
        input:
            images=study.dataset.tree(layout.STIMULI),
        output:
            betas=[
                study.dataset.tree(layout.betas(subject, version, session))
                for version in ("b2", "b3")
                for session in range(1, study.available_sessions[subject] + 1)
            ],
            ncsnr=[study.dataset.tree(layout.ncsnr(subject, version)) for version in ("b2", "b3")],
            valid=[
                study.dataset.tree(layout.valid(subject, session))
                for session in range(1, study.available_sessions[subject] + 1)
            ],
            brainmask=study.dataset.tree(layout.func(subject, "brainmask.nii.gz")),
            rois=[study.dataset.tree(layout.roi(subject, name)) for name in study.dataset.region_files],
            responses=study.dataset.tree(layout.responses(subject)),
        log:
            f"<logs>/simulate_subject/{subject}.log",
        benchmark:
            f"<benchmarks>/simulate_subject/{subject}.tsv"
        conda:
            "../../../../../envs/prepare.yaml"
        threads: threads_of("cpu")
        resources:
            **needs("cpu"),
        params:
            simulation=study.dataset.section["simulation"],
            subject=subject,
            code=code_of(study.dataset.folder / "scripts/simulate_subject.py"),
        script:
            "../scripts/simulate_subject.py"


if FURTHER:

    rule simulate_transfer_stimuli:
        """Simulate what is common to all subjects in NSD-Imagery and NSD-Synthetic, and the pictures in their colours."""
        output:
            designs=trials_of_all(),
            pictures=[study.dataset.tree(key) for key in picture_keys(study.dataset.sessions, study.dataset.transfer)],
        log:
            "<logs>/simulate_transfer_stimuli.log",
        conda:
            "../../../../../envs/prepare.yaml"
        threads: threads_of("cpu")
        resources:
            **needs("cpu"),
        params:
            simulation=study.dataset.section["simulation"],
            root=lambda w: str(study.dataset.root),
            experiments=FURTHER,
            code=code_of(study.dataset.folder / "scripts/simulate_transfer_stimuli.py"),
        script:
            "../scripts/simulate_transfer_stimuli.py"


for subject in study.subjects if FURTHER else []:

    rule:
        """Simulate one subject's sessions of NSD-Imagery and NSD-Synthetic."""
        name:
            f"simulate_transfer_{subject}"
        input:
            images=study.dataset.tree(layout.STIMULI),
        output:
            trials=[
                path
                for path in map(study.dataset.tree, trial_keys(subject, study.dataset.transfer))
                if path not in trials_of_all()
            ],
            betas=[
                study.dataset.tree(layout.experiment_betas(subject, version, experiment))
                for version in ("b2", "b3")
                for experiment in FURTHER
            ],
            valid=[study.dataset.tree(layout.experiment_valid(subject, experiment)) for experiment in FURTHER],
        log:
            f"<logs>/simulate_transfer/{subject}.log",
        benchmark:
            f"<benchmarks>/simulate_transfer/{subject}.tsv"
        conda:
            "../../../../../envs/prepare.yaml"
        threads: threads_of("cpu")
        resources:
            **needs("cpu"),
        params:
            simulation=study.dataset.section["simulation"],
            root=lambda w: str(study.dataset.root),
            subject=subject,
            experiments=FURTHER,
            code=code_of(study.dataset.folder / "scripts/simulate_transfer.py"),
        script:
            "../scripts/simulate_transfer.py"
