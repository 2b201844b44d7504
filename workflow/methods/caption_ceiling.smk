# Ceiling of captions: what the captioner says of the true image. Its words are also what `caption_*_git` compare with.


rule caption_images:
    """Captions of all test images, once for all subjects and budgets."""
    input:
        stimuli="<results>/stimuli",
        split=f"<results>/splits/{config['split']}.json",
        model=[path for name in dict.fromkeys((config["captioner"], caption_encoder)) for path in model_path(name)],
    output:
        "<results>/captioned_images.parquet",
    log:
        "<logs>/caption_images.log",
    benchmark:
        "<benchmarks>/caption_images.tsv"
    conda:
        "../../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=120,
    params:
        captioner=(config["captioner"], captioner),
        encoder=(
            (caption_encoder, study.registries["backbones"][caption_encoder])
            if caption_encoder != config["captioner"]
            else None
        ),
        code=code_of("caption_images"),
    script:
        "../../scripts/caption_images.py"


rule caption_ceiling:
    """One subject's test images out of these; alike at every budget."""
    input:
        captions=rules.caption_images.output[0],
        recording="<results>/recordings/{subject}",
    output:
        directory("<results>/predictions/caption_ceiling/{subject}/{sessions}sessions/seed{seed}"),
    log:
        "<logs>/caption_ceiling/{subject}_{sessions}sessions_seed{seed}.log",
    conda:
        "../../envs/decode.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        captioner=config["captioner"],
        origin=study.registries["methods"]["caption_ceiling"]["origin"],
        code=code_of("caption_ceiling"),
    script:
        "../../scripts/caption_ceiling.py"
