# GOD's files, simulated, downloaded or the user's own -> Stimuli, the split, and each subject's Recording and test images.

if study.dataset.simulated:

    include: "rules/simulate.smk"

elif study.dataset.downloads:

    include: "rules/acquire.smk"


rule god_stimuli:
    """Collect the pictures, and which of them are held out."""
    input:
        responses=[str(study.dataset.responses(subject)) for subject in study.recorded],
        pictures=[str(path) for path in study.dataset.pictures],
    output:
        stimuli=directory("<results>/stimuli"),
        split="<results>/splits/classes.json",
    log:
        "<logs>/god_stimuli.log",
    conda:
        "../../../../envs/prepare.yaml"
    threads: threads_of("cpu")
    resources:
        **needs("cpu"),
    params:
        root=lambda w: str(study.dataset.root),
        files=study.dataset.section["files"],
        images=study.dataset.section["images"],
        image_size=study.dataset.section["image_size"],
        found=lambda w: as_found(
            study.dataset, [*map(study.dataset.responses, study.recorded), *study.dataset.pictures]
        ),
        code=code_of(study.dataset.folder / "scripts/prepare_stimuli.py"),
    script:
        "scripts/prepare_stimuli.py"


rule god_recording:
    """Z-score one subject's responses and add the tables of trials and voxels."""
    input:
        responses=lambda w: str(study.dataset.responses(w.subject)),
        stimuli="<results>/stimuli",
        classes="<results>/splits/classes.json",
        split=f"<results>/splits/{config['split']}.json",
    output:
        recording=directory("<results>/recordings/{subject}"),
        test_images="<results>/test_images/{subject}.json",
    log:
        "<logs>/god_recording/{subject}.log",
    conda:
        "../../../../envs/prepare.yaml"
    threads: threads_of("cpu")
    resources:
        **needs("cpu"),
    params:
        files=study.dataset.section["files"],
        voxels=study.dataset.section["voxels"],
        sessions=lambda w: study.available_sessions[w.subject],
        betas=study.dataset.section["betas"],
        found=lambda w: as_found(study.dataset, [study.dataset.responses(w.subject)]),
        code=code_of(study.dataset.folder / "scripts/prepare_recording.py"),
    script:
        "scripts/prepare_recording.py"
