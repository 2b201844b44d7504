# Files in LAION-fMRI's layout -> Recording, anatomy and test images of each subject, Stimuli, splits.

from fmri2img.datasets.laion_fmri import layout


rule laion_mask_session:
    """Read one session of betas inside the mask. The result is kept, because the betas are then deleted."""
    input:
        unpack(session_files),
    output:
        "<results>/masked/{subject}/session{session}.npy",
    log:
        "<logs>/laion_mask_session/{subject}_session{session}.log",
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
        root=lambda w: str(study.dataset.root),
        mask=study.dataset.section["betas"]["mask"],
        found=found_for(session_files),
        code=code_of("fmri2img.datasets.laion_fmri.betas", "fmri2img.datasets.laion_fmri.volumes"),
    script:
        "../scripts/mask_session.py"


rule laion_recording:
    """Z-score all sessions of a subject and add its tables of trials and voxels."""
    input:
        unpack(subject_files),
        masked=lambda w: [f"<results>/masked/{w.subject}/session{n:02d}.npy" for n in study.used_sessions(w.subject)],
        split=f"<results>/splits/{config['split']}.json",
    output:
        recording=directory("<results>/recordings/{subject}"),
        test_images="<results>/test_images/{subject}.json",
    log:
        "<logs>/laion_recording/{subject}.log",
    benchmark:
        "<benchmarks>/laion_recording/{subject}.tsv"
    conda:
        "../../../../../envs/prepare.yaml"
    threads: threads_of("cpu")
    resources:
        **needs("cpu"),
    params:
        sessions=lambda w: study.used_sessions(w.subject),
        root=lambda w: str(study.dataset.root),
        betas=study.dataset.section["betas"],
        found=found_for(subject_files),
        code=code_of(study.dataset.folder / "scripts/prepare_recording.py"),
    script:
        "../scripts/prepare_recording.py"


rule laion_stimuli:
    """Collect the images that any subject of the study saw, with people's captions."""
    input:
        **STIMULUS_FILES,
    output:
        directory("<results>/stimuli"),
    log:
        "<logs>/laion_stimuli.log",
    benchmark:
        "<benchmarks>/laion_stimuli.tsv"
    conda:
        "../../../../../envs/prepare.yaml"
    threads: threads_of("cpu")
    resources:
        **needs("cpu"),
    params:
        root=lambda w: str(study.dataset.root),
        sessions={subject: study.available_sessions[subject] for subject in study.recorded},
        image_size=study.dataset.section["image_size"],
        found=lambda w: as_found(study.dataset, flat(STIMULUS_FILES)),
        code=code_of(study.dataset.folder / "scripts/prepare_stimuli.py"),
    script:
        "../scripts/prepare_stimuli.py"


rule laion_embeddings:
    """Take the public embeddings of one model for the images of the study."""
    input:
        embeddings=lambda w: study.dataset.tree(layout.embeddings(layout.BROUGHT[w.brought])),
        stimuli="<results>/stimuli",
    output:
        directory("<results>/embeddings/{brought}"),
    log:
        "<logs>/laion_embeddings/{brought}.log",
    wildcard_constraints:
        brought=one_of(layout.BROUGHT),
    conda:
        "../../../../../envs/prepare.yaml"
    threads: threads_of("light")
    resources:
        **needs("light"),
    params:
        root=lambda w: str(study.dataset.root),
        trained_on=lambda w: study.dataset.embeddings[w.brought]["trained_on"],
        found=lambda w: as_found(study.dataset, [study.dataset.tree(layout.embeddings(layout.BROUGHT[w.brought]))]),
        code=code_of(study.dataset.folder / "scripts/prepare_embeddings.py"),
    script:
        "../scripts/prepare_embeddings.py"


rule laion_split:
    """Read the published split of each subject, or of the images that all subjects saw."""
    input:
        lists=split_lists,
        names=NAMES,
    output:
        "<results>/splits/{split}.json",
    log:
        "<logs>/laion_split/{split}.log",
    wildcard_constraints:
        split=one_of(study.dataset.splits),
    conda:
        "../../../../../envs/prepare.yaml"
    threads: threads_of("light")
    resources:
        **needs("light"),
    params:
        root=lambda w: str(study.dataset.root),
        pool=study.dataset.section["pool"],
        pools=study.dataset.pools_of(study),
        published=not study.dataset.simulated,
        found=lambda w: as_found(study.dataset, [*split_lists(w), NAMES]),
        code=code_of(study.dataset.folder / "scripts/make_split.py"),
    script:
        "../scripts/make_split.py"


rule laion_anatomy:
    """Copy a subject's brain mask."""
    input:
        unpack(anatomy_files),
    output:
        directory("<results>/anatomy/{subject}"),
    log:
        "<logs>/laion_anatomy/{subject}.log",
    group:
        "lists"
    conda:
        "../../../../../envs/prepare.yaml"
    threads: threads_of("light")
    resources:
        **needs("light", within="small"),
    params:
        root=lambda w: str(study.dataset.root),
        mask=study.dataset.section["betas"]["mask"],
        found=found_for(anatomy_files),
        code=code_of(study.dataset.folder / "scripts/copy_anatomy.py"),
    script:
        "../scripts/copy_anatomy.py"
