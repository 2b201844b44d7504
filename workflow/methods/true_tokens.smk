# Ceiling: the test images' true tokens through the same generator.


rule reconstruct_true_tokens:
    """Pictures of the true tokens of all test images, once for all subjects and budgets."""
    input:
        embeddings=f"<results>/embeddings/{config['encoder']}",
        split=f"<results>/splits/{config['split']}.json",
        model=model_path(config["generator"]) + model_path(config["autoencoder"]),
    output:
        directory("<results>/true_tokens/seed{seed}"),
    log:
        "<logs>/reconstruct_true_tokens/seed{seed}.log",
    benchmark:
        "<benchmarks>/reconstruct_true_tokens/seed{seed}.tsv"
    conda:
        "../../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=1200,
        runtime=720,
    params:
        generator=(config["generator"], study.registries["backbones"][config["generator"]]),
        autoencoder=(config["autoencoder"], study.registries["backbones"][config["autoencoder"]]),
        generation=config["generation"],
        method="true_tokens",
        origin=study.registries["methods"]["true_tokens"]["origin"],
        code=code_of("reconstruct_true_tokens"),
    script:
        "../../scripts/reconstruct_true_tokens.py"


rule true_tokens:
    """One subject's test images out of these; alike at every budget."""
    input:
        drawn="<results>/true_tokens/seed{seed}",
        recording="<results>/recordings/{subject}",
    output:
        directory("<results>/predictions/true_tokens/{subject}/{sessions}sessions/seed{seed}"),
    log:
        "<logs>/true_tokens/{subject}_{sessions}sessions_seed{seed}.log",
    conda:
        "../../envs/decode.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        code=code_of("subject_images"),
    script:
        "../../scripts/subject_images.py"
