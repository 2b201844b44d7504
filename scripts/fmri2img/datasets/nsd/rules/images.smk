# NSD's published test images alone -> Stimuli and their split, for studies that only score submissions.


rule import_images:
    """Import published test images with the list of their image_id."""
    input:
        model_path(study.dataset.section["images"]["fetched"]),
        tested=(study.dataset.section["images"]["shared982"] or []) if config["split"] == "shared982" else [],
    output:
        stimuli=directory("<results>/stimuli"),
        split=f"<results>/splits/{config['split']}.json",
    log:
        "<logs>/import_images.log",
    conda:
        "../../../../../envs/models.yaml"
    threads: threads_of("cpu")
    resources:
        **needs("cpu"),
    params:
        images=study.dataset.section["images"],
        split=config["split"],
        sessions=study.dataset.splits[config["split"]]["sessions"],
        code=code_of(study.dataset.folder / "scripts/import_images.py"),
        backbone=study.records["backbones"][study.dataset.section["images"]["fetched"]],
    script:
        "../scripts/import_images.py"


rule list_all_images:
    """List the test images of a subject: all of them, because subjects who completed 40 sessions saw all shared images."""
    input:
        split=f"<results>/splits/{config['split']}.json",
    output:
        "<results>/test_images/{subject}.json",
    log:
        "<logs>/list_all_images/{subject}.log",
    conda:
        "../../../../../envs/prepare.yaml"
    threads: threads_of("light")
    resources:
        **needs("light"),
    params:
        code=code_of(study.dataset.folder / "scripts/list_all_images.py"),
    script:
        "../scripts/list_all_images.py"
