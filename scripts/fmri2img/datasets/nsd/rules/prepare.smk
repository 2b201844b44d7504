# Raw files in NSD's layout -> Recording, anatomy and test images of each subject, Stimuli, splits.

from fmri2img.datasets.nsd import layout

MASK_LABELS = study.dataset.section["betas"]["labels"] or list(
    layout.mask_of(study.dataset.section["betas"]["mask"])[1]
)


rule mask_session:
    """Read one session of betas inside the mask. The result is kept, because the 1.1 GB of betas are then deleted."""
    input:
        betas=lambda w: study.dataset.tree(study.dataset.betas(w.subject, int(w.session))),
        mask=study.dataset.tree(layout.roi("{subject}", study.dataset.region_files[0])),
        responses=study.dataset.tree(layout.responses("{subject}")),
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
        code=code_of("fmri2img.datasets.nsd.betas"),
    script:
        "../scripts/mask_session.py"


rule prepare_recording:
    """Z-score all sessions of a subject and add its tables of trials and voxels."""
    input:
        masked=lambda w: [f"<results>/masked/{w.subject}/session{n:02d}.npy" for n in study.used_sessions(w.subject)],
        split=f"<results>/splits/{config['split']}.json",
        trials=[
            study.dataset.tree(layout.responses("{subject}")),
            study.dataset.tree(layout.EXPERIMENT_DESIGN),
            study.dataset.tree(layout.STIMULUS_INFO),
        ],
        regions=[study.dataset.tree(layout.roi("{subject}", name)) for name in study.dataset.region_files],
        ncsnr=study.dataset.tree(layout.ncsnr("{subject}", study.dataset.section["betas"]["version"])),
        valid=lambda w: [study.dataset.tree(layout.valid(w.subject, n)) for n in study.used_sessions(w.subject)],
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
        code=code_of(study.dataset.folder / "scripts/prepare_recording.py"),
    script:
        "../scripts/prepare_recording.py"


rule prepare_stimuli:
    """Collect the images that any subject of the study saw, with COCO's captions and categories."""
    input:
        images=study.dataset.tree(layout.STIMULI),
        design=study.dataset.tree(layout.EXPERIMENT_DESIGN),
        stimulus_info=study.dataset.tree(layout.STIMULUS_INFO),
        responses=[study.dataset.tree(layout.responses(subject)) for subject in study.recorded],
        captions=[study.dataset.tree(key) for key in layout.COCO_CAPTIONS.values()],
        instances=[study.dataset.tree(key) for key in layout.COCO_INSTANCES.values()],
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
        code=code_of(study.dataset.folder / "scripts/prepare_stimuli.py"),
    script:
        "../scripts/prepare_stimuli.py"


rule make_splits:
    """Choose which of the shared images are held out."""
    input:
        design=study.dataset.tree(layout.EXPERIMENT_DESIGN),
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
        code=code_of(study.dataset.folder / "scripts/make_splits.py"),
    script:
        "../scripts/make_splits.py"


rule list_test_images:
    """List the test images of one subject from the images it was shown; no betas are needed."""
    input:
        split=f"<results>/splits/{config['split']}.json",
        responses=study.dataset.tree(layout.responses("{subject}")),
        design=study.dataset.tree(layout.EXPERIMENT_DESIGN),
        stimulus_info=study.dataset.tree(layout.STIMULUS_INFO),
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
        code=code_of(study.dataset.folder / "scripts/list_test_images.py"),
    script:
        "../scripts/list_test_images.py"


rule copy_anatomy:
    """Copy a subject's brain mask and, for real data, the map from the MNI152 template to its functional volume."""
    input:
        brain=study.dataset.tree(layout.func("{subject}", "brainmask.nii.gz")),
        mask=study.dataset.tree(layout.roi("{subject}", study.dataset.section["betas"]["mask"])),
        mni=[study.dataset.tree(layout.to_mni("{subject}"))] if "mni" in study.dataset.anatomy else [],
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
        code=code_of(study.dataset.folder / "scripts/copy_anatomy.py"),
    script:
        "../scripts/copy_anatomy.py"
