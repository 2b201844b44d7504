# MOSAIC's files, simulated, downloaded or the user's own -> Stimuli, splits, and each subject's Recording and test images.

from fmri2img.datasets.mosaic import layout

if study.dataset.simulated:

    include: "rules/simulate.smk"

elif study.dataset.downloads:

    include: "rules/acquire.smk"


rule mosaic_stimuli:
    """Collect the pictures that the study's subjects saw."""
    input:
        tables=[str(path) for path in study.dataset.tables(study.recorded)],
        pictures=str(study.dataset.pictures),
    output:
        stimuli=directory("<results>/stimuli"),
    log:
        "<logs>/mosaic_stimuli.log",
    conda:
        "../../../../envs/prepare.yaml"
    threads: threads_of("cpu")
    resources:
        **needs("cpu"),
    params:
        subjects=study.recorded,
        image_size=study.dataset.section["image_size"],
        found=lambda w: as_found(study.dataset, [*study.dataset.tables(study.recorded), study.dataset.pictures]),
        code=code_of(study.dataset.folder / "scripts/prepare_stimuli.py"),
    script:
        "scripts/prepare_stimuli.py"


rule mosaic_split:
    """Hold out the datasets' own test images, or MOSAIC's."""
    input:
        stimuli="<results>/stimuli",
        lists=lambda w: [str(path) for path in study.dataset.lists(w.split).values()],
    output:
        split="<results>/splits/{split}.json",
    log:
        "<logs>/mosaic_split/{split}.log",
    wildcard_constraints:
        split=one_of(study.dataset.splits),
    conda:
        "../../../../envs/prepare.yaml"
    threads: threads_of("light")
    resources:
        **needs("light"),
    params:
        parts=lambda w: list(study.dataset.lists(w.split)),
        description=lambda w: study.dataset.splits[w.split]["description"],
        test_sets=lambda w: study.dataset.splits[w.split]["test_sets"],
        found=lambda w: as_found(study.dataset, study.dataset.lists(w.split).values()),
        code=code_of(study.dataset.folder / "scripts/prepare_split.py"),
    script:
        "scripts/prepare_split.py"


rule mosaic_recording:
    """Z-score one subject's betas over the training trials and add the tables of trials and vertices."""
    input:
        betas=lambda w: str(study.dataset.betas(w.subject)),
        parcels=str(study.dataset.file(layout.PARCELS)),
        stimuli="<results>/stimuli",
        split=f"<results>/splits/{config['split']}.json",
    output:
        recording=directory("<results>/recordings/{subject}"),
        test_images="<results>/test_images/{subject}.json",
    log:
        "<logs>/mosaic_recording/{subject}.log",
    conda:
        "../../../../envs/prepare.yaml"
    threads: threads_of("cpu")
    resources:
        **needs("cpu"),
    params:
        root=lambda w: str(study.dataset.root),
        options={key: study.dataset.section[key] for key in ("vertices", "sessions")},
        found=lambda w: as_found(study.dataset, [study.dataset.betas(w.subject), study.dataset.file(layout.PARCELS)]),
        code=code_of(study.dataset.folder / "scripts/prepare_recording.py"),
    script:
        "scripts/prepare_recording.py"
