# Decoded tokens -> captions; and the map from the encoder's tokens to those that the captioner takes.


captioner = study.registries["backbones"][config["captioner"]]
caption_encoder = captioner.get("features", config["captioner"])  # whose tokens it takes
converter = config["caption_converter"]  # null, "trained", or a registered one


rule train_caption_converter:
    """Least squares from the encoder's tokens to the captioner's image features, on images nobody is tested on."""
    input:
        encoder=f"<results>/embeddings/{config['encoder']}",
        captioner=f"<results>/embeddings/{caption_encoder}",
        split=f"<results>/splits/{config['split']}.json",
    output:
        directory("<results>/caption_converter"),
    log:
        "<logs>/train_caption_converter.log",
    benchmark:
        "<benchmarks>/train_caption_converter.tsv"
    conda:
        "../../envs/models.yaml"
    threads: 2
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        names={"encoder": config["encoder"], "captioner": config["captioner"]},
        sweeps=6,
        code=code_of("train_caption_converter"),
    script:
        "../../scripts/train_caption_converter.py"


rule caption:
    """A caption of each decoded image."""
    input:
        decoded="<results>/decoded/{method}/{subject}/{sessions}sessions/seed{seed}",
        trained=rules.train_caption_converter.output[0] if converter == "trained" else [],
        model=model_path(config["captioner"]) + (model_path(converter) if converter not in (None, "trained") else []),
    output:
        "<results>/captions/{method}/{subject}/{sessions}sessions/seed{seed}.parquet",
    log:
        "<logs>/caption/{method}_{subject}_{sessions}sessions_seed{seed}.log",
    benchmark:
        "<benchmarks>/caption/{method}_{subject}_{sessions}sessions_seed{seed}.tsv"
    priority: 1
    conda:
        "../../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=120,
    params:
        captioner=(config["captioner"], captioner),
        converter=(converter, study.registries["backbones"][converter]) if converter not in (None, "trained") else None,
        code=code_of("caption"),
    script:
        "../../scripts/caption.py"
