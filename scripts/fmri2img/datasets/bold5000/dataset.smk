# BOLD5000's files, simulated or the user's own -> Stimuli, the split, and each subject's Recording and test images.

if study.dataset.simulated:

    include: "rules/simulate.smk"


rule bold5000_stimuli:
    """Collect the pictures, and which of them are held out."""
    input:
        stimuli=str(study.dataset.stimuli),
    output:
        stimuli=directory("<results>/stimuli"),
        split="<results>/splits/repeated.json",
    log:
        "<logs>/bold5000_stimuli.log",
    conda:
        "../../../../envs/prepare.yaml"
    threads: threads_of("cpu")
    resources:
        **needs("cpu"),
    params:
        subjects=study.recorded,
        image_size=study.dataset.section["image_size"],
        found=lambda w: as_found(study.dataset, [study.dataset.stimuli]),
        code=code_of(study.dataset.folder / "scripts/prepare_stimuli.py"),
    script:
        "scripts/prepare_stimuli.py"


rule bold5000_recording:
    """Z-score one subject's betas and add the tables of trials and voxels."""
    input:
        betas=lambda w: [str(path) for path in study.dataset.betas(w.subject)],
        lists=str(study.dataset.stimuli),
        stimuli="<results>/stimuli",
        split=f"<results>/splits/{config['split']}.json",
    output:
        recording=directory("<results>/recordings/{subject}"),
        test_images="<results>/test_images/{subject}.json",
    log:
        "<logs>/bold5000_recording/{subject}.log",
    conda:
        "../../../../envs/prepare.yaml"
    threads: threads_of("cpu")
    resources:
        **needs("cpu"),
    params:
        betas=study.dataset.section["betas"],
        found=lambda w: as_found(study.dataset, [*study.dataset.betas(w.subject), study.dataset.stimuli]),
        code=code_of(study.dataset.folder / "scripts/prepare_recording.py"),
    script:
        "scripts/prepare_recording.py"
