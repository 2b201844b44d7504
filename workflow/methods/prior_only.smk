# Control: the generator listening to the mean training tokens, which no brain response went into.


rule prior_only:
    input:
        recording="<results>/recordings/{subject}",
        embeddings=f"<results>/embeddings/{config['encoder']}",
        model=model_path(config["generator"]) + model_path(config["autoencoder"]),
    output:
        directory("<results>/predictions/prior_only/{subject}/{sessions}sessions/seed{seed}"),
    log:
        "<logs>/prior_only/{subject}_{sessions}sessions_seed{seed}.log",
    benchmark:
        "<benchmarks>/prior_only/{subject}_{sessions}sessions_seed{seed}.tsv"
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
        origin=study.registries["methods"]["prior_only"]["origin"],
        code=code_of("prior_only"),
    script:
        "../../scripts/prior_only.py"
