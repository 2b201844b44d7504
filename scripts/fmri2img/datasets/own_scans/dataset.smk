# A lab's own files -> Stimuli, the split, and each subject's Recording and test images.


rule own_scans_stimuli:
    """Collect the pictures that were shown, and which of them are held out."""
    input:
        events=[str(path) for subject in study.dataset.sessions for path in study.dataset.events(subject)],
        pictures=str(study.dataset.pictures),
        captions=study.dataset.captions,
        lists=study.dataset.lists,
    output:
        stimuli=directory("<results>/stimuli"),
        split="<results>/splits/held_out.json",
    log:
        "<logs>/own_scans_stimuli.log",
    conda:
        "../../../../envs/prepare.yaml"
    threads: threads_of("cpu")
    resources:
        **needs("cpu"),
    params:
        subjects=study.recorded,
        settings=study.dataset.of_stimuli,
        found=lambda w, input: user_files.found(input),
        code=code_of(study.dataset.folder / "scripts/prepare_stimuli.py"),
    script:
        "scripts/prepare_stimuli.py"


rule own_scans_recording:
    """Z-score one subject's betas and add the tables of trials and voxels."""
    input:
        betas=lambda w: [str(path) for path in study.dataset.betas(w.subject)],
        events=lambda w: [str(path) for path in study.dataset.events(w.subject)],
        voxels=lambda w: [str(path) for path in study.dataset.voxels(w.subject)],
        stimuli="<results>/stimuli",
        split=f"<results>/splits/{config['split']}.json",
    output:
        recording=directory("<results>/recordings/{subject}"),
        test_images="<results>/test_images/{subject}.json",
    log:
        "<logs>/own_scans_recording/{subject}.log",
    conda:
        "../../../../envs/prepare.yaml"
    threads: threads_of("cpu")
    resources:
        **needs("cpu"),
    params:
        settings=study.dataset.of_recordings,
        found=lambda w: user_files.found(study.dataset.files(w.subject)),
        code=code_of(study.dataset.folder / "scripts/prepare_recording.py"),
    script:
        "scripts/prepare_recording.py"
