# Tokens -> captions of decoded images and of true test images. The converter maps the encoder's tokens to those that
# the captioner takes.


rule train_caption_converter:
    """Fit the encoder's tokens to the captioner's image features, on images outside all test sets."""
    input:
        encoder=f"<results>/embeddings/{config['encoder']}",
        captioner=f"<results>/embeddings/{study.caption_encoder}",
        split=f"<results>/splits/{config['split']}.json",
    output:
        directory("<results>/caption_converter"),
    log:
        "<logs>/train_caption_converter.log",
    benchmark:
        "<benchmarks>/train_caption_converter.tsv"
    conda:
        "../../envs/models.yaml"
    threads: threads_of("embed")
    resources:
        **needs("embed"),
    params:
        names={"encoder": config["encoder"], "captioner": config["captioner"]},
        sweeps=6,
        code=code_of("train_caption_converter"),
    script:
        "../../scripts/train_caption_converter.py"


rule caption:
    """Caption each decoded image."""
    input:
        decoded=f"<results>/decoded/{{decoder}}/{CELL}",
        trained=rules.train_caption_converter.output[0] if config["caption_converter"] == "trained" else [],
        model=model_path(config["captioner"])
        + (model_path(study.registered_converter) if study.registered_converter else []),
    output:
        f"<results>/captions/{{decoder}}/{CELL}.parquet",
    log:
        f"<logs>/caption/{{decoder}}/{CELL}.log",
    benchmark:
        f"<benchmarks>/caption/{{decoder}}/{CELL}.tsv"
    priority: 1
    group:
        "cell"
    conda:
        "../../envs/models.yaml"
    threads: threads_of("decode")
    resources:
        **needs("decode", **in_cell),
    params:
        captioner=network(config["captioner"]),
        converter=network(study.registered_converter) if study.registered_converter else None,
        code=code_of("caption"),
    script:
        "../../scripts/caption.py"


rule caption_images:
    """Caption the true test images, once for all subjects and budgets: a ceiling, and references of some metrics."""
    input:
        stimuli="<results>/stimuli",
        split=f"<results>/splits/{config['split']}.json",
        model=[
            path for name in dict.fromkeys((config["captioner"], study.caption_encoder)) for path in model_path(name)
        ],
    output:
        "<results>/captioned_images.parquet",
    log:
        "<logs>/caption_images.log",
    benchmark:
        "<benchmarks>/caption_images.tsv"
    conda:
        "../../envs/models.yaml"
    threads: threads_of("decode")
    resources:
        **needs("decode"),
    params:
        captioner=network(config["captioner"]),
        encoder=network(study.caption_encoder) if study.caption_encoder != config["captioner"] else None,
        code=code_of("caption_images"),
    script:
        "../../scripts/caption_images.py"
