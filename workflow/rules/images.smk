# Fetched test images alone -> Stimuli and their split, for studies that only score submissions: no recordings.


rule import_images:
    """Published test images with the list of their image_id."""
    input:
        model_path(config["nsd"]["images"]["fetched"]),
    output:
        stimuli=directory("<results>/stimuli"),
        split="<results>/splits/shared1000.json",
    log:
        "<logs>/import_images.log",
    conda:
        "../../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=30,
    params:
        images=config["nsd"]["images"],
        code=code_of("import_images"),
        backbone=study.registries["backbones"][config["nsd"]["images"]["fetched"]],
    script:
        "../../scripts/import_images.py"


rule list_all_images:
    """Every subject is tested on all of them: each of the 40 sessions' subjects saw all shared images."""
    input:
        split="<results>/splits/shared1000.json",
    output:
        "<results>/test_images/{subject}.json",
    log:
        "<logs>/list_all_images/{subject}.log",
    conda:
        "../../envs/prepare.yaml"
    threads: 1
    resources:
        mem_mb=600,
        runtime=10,
    params:
        code=code_of("list_all_images"),
    script:
        "../../scripts/list_all_images.py"
