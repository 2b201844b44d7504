# Raw files in NSD's layout -> Recording, anatomy and test images of each subject, Stimuli, splits.

from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.transfer_sets import experiments


rule mask_session:
    """Read one session of betas inside the mask. The result is kept, because the 1.1 GB of betas are then deleted."""
    input:
        unpack(session_files),
    output:
        "<results>/masked/{subject}/session{session}.npy",
    log:
        "<logs>/mask_session/{subject}_session{session}.log",
    wildcard_constraints:
        session=r"\d\d",
    priority: 1  # before the next session is downloaded
    group:
        "sessions"
    conda:
        "../../../../../envs/prepare.yaml"
    threads: threads_of("light")
    resources:
        **needs("light", within="transfers"),
    params:
        labels=MASK_LABELS,
        found=lambda w: as_found(study.dataset, session_files(w).values()),
        code=code_of("fmri2img.datasets.nsd.betas"),
    script:
        "../scripts/mask_session.py"


rule mask_experiment:
    """Read the betas of NSD-Imagery or NSD-Synthetic inside the mask. They are kept, and the 1.1 GB are deleted."""
    input:
        unpack(experiment_files),
    output:
        "<results>/masked/{subject}/{experiment}.npy",
    log:
        "<logs>/mask_experiment/{subject}_{experiment}.log",
    wildcard_constraints:
        experiment=f"{layout.IMAGERY}|{layout.SYNTHETIC}",
    priority: 1
    group:
        "sessions"
    conda:
        "../../../../../envs/prepare.yaml"
    threads: threads_of("light")
    resources:
        **needs("light", within="transfers"),
    params:
        labels=MASK_LABELS,
        found=lambda w: as_found(study.dataset, experiment_files(w).values()),
        code=code_of("fmri2img.datasets.nsd.betas", "fmri2img.datasets.nsd.transfer_trials"),
    script:
        "../scripts/mask_experiment.py"


rule prepare_recording:
    """Z-score all sessions of a subject and add its tables of trials and voxels."""
    input:
        unpack(subject_files),
        masked=lambda w: [f"<results>/masked/{w.subject}/session{n:02d}.npy" for n in study.used_sessions(w.subject)],
        transfer_masked=lambda w: [
            f"<results>/masked/{w.subject}/{experiment}.npy"
            for experiment in experiments(study.dataset.transfer_of(study, w.subject))
        ],
        split=f"<results>/splits/{config['split']}.json",
    output:
        directory("<results>/recordings/{subject}"),
    log:
        "<logs>/prepare_recording/{subject}.log",
    benchmark:
        "<benchmarks>/prepare_recording/{subject}.tsv"
    conda:
        "../../../../../envs/prepare.yaml"
    threads: threads_of("cpu")
    resources:
        **needs("cpu"),
    params:
        sessions=lambda w: study.used_sessions(w.subject),
        root=lambda w: str(study.dataset.root),
        betas=study.dataset.section["betas"],
        transfer=further_trials,
        found=lambda w: as_found(study.dataset, flat(subject_files(w))),
        code=code_of(study.dataset.folder / "scripts/prepare_recording.py"),
    script:
        "../scripts/prepare_recording.py"


rule prepare_stimuli:
    """Collect the images that any subject of the study saw, with COCO's captions and categories."""
    input:
        **STIMULUS_FILES,
    output:
        directory("<results>/stimuli"),
    log:
        "<logs>/prepare_stimuli.log",
    benchmark:
        "<benchmarks>/prepare_stimuli.tsv"
    conda:
        "../../../../../envs/prepare.yaml"
    threads: threads_of("cpu")
    resources:
        **needs("cpu"),
    params:
        sessions={subject: study.available_sessions[subject] for subject in study.recorded},
        transfer=TRANSFER,
        root=lambda w: str(study.dataset.root),
        found=as_found(study.dataset, flat(STIMULUS_FILES)),
        code=code_of(study.dataset.folder / "scripts/prepare_stimuli.py"),
    script:
        "../scripts/prepare_stimuli.py"


rule make_splits:
    """Choose which of the shared images are held out."""
    input:
        design=STIMULUS_FILES["design"],
    output:
        shared1000="<results>/splits/shared1000.json",
        shared982="<results>/splits/shared982.json",
    log:
        "<logs>/make_splits.log",
    conda:
        "../../../../../envs/prepare.yaml"
    threads: threads_of("light")
    resources:
        **needs("light"),
    params:
        shared982_sessions=study.dataset.section["shared982_sessions"],
        transfer=TRANSFER,
        found=as_found(study.dataset, [STIMULUS_FILES["design"]]),
        code=code_of(study.dataset.folder / "scripts/make_splits.py"),
    script:
        "../scripts/make_splits.py"


rule list_test_images:
    """List the test images of one subject from the images it was shown; no betas are needed."""
    input:
        unpack(shown_files),
        split=f"<results>/splits/{config['split']}.json",
    output:
        "<results>/test_images/{subject}.json",
    log:
        "<logs>/list_test_images/{subject}.log",
    group:
        "lists"
    conda:
        "../../../../../envs/prepare.yaml"
    threads: threads_of("light")
    resources:
        **needs("light", within="small"),
    params:
        sessions=lambda w: study.available_sessions[w.subject],
        transfer=lambda w: study.dataset.transfer_of(study, w.subject),
        root=lambda w: str(study.dataset.root),
        found=lambda w: as_found(study.dataset, flat(shown_files(w))),
        code=code_of(study.dataset.folder / "scripts/list_test_images.py"),
    script:
        "../scripts/list_test_images.py"


rule copy_anatomy:
    """Copy a subject's brain mask and, for real data, the map from the MNI152 template to its functional volume."""
    input:
        unpack(anatomy_files),
    output:
        directory("<results>/anatomy/{subject}"),
    log:
        "<logs>/copy_anatomy/{subject}.log",
    group:
        "lists"
    conda:
        "../../../../../envs/prepare.yaml"
    threads: threads_of("light")
    resources:
        **needs("light", within="small"),
    params:
        found=lambda w: as_found(study.dataset, anatomy_files(w).values()),
        code=code_of(study.dataset.folder / "scripts/copy_anatomy.py"),
    script:
        "../scripts/copy_anatomy.py"
