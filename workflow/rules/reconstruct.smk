# Decoded tokens -> Prediction: pictures by unCLIP, retrieval vectors.


decoders = [name for name, method in study.registries["methods"].items() if method["kind"] == "decoder"]


rule reconstruct:
    """Pictures of a decoder's tokens. Controls make their predictions in their own rules."""
    input:
        decoded="<results>/decoded/{method}/{subject}/{sessions}sessions/seed{seed}",
        model=model_path(config["generator"]) + model_path(config["autoencoder"]),
    output:
        directory("<results>/predictions/{method}/{subject}/{sessions}sessions/seed{seed}"),
    log:
        "<logs>/reconstruct/{method}_{subject}_{sessions}sessions_seed{seed}.log",
    benchmark:
        "<benchmarks>/reconstruct/{method}_{subject}_{sessions}sessions_seed{seed}.tsv"
    wildcard_constraints:
        method="|".join(name for name in decoders if name not in config["retrieval_only"]),
    priority: 1
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
        code=code_of("reconstruct"),
    script:
        "../../scripts/reconstruct.py"


if config["retrieval_only"]:

    rule retrieve:
        """The retrieval vectors of a decoder whose pictures the study does without."""
        input:
            decoded="<results>/decoded/{method}/{subject}/{sessions}sessions/seed{seed}",
        output:
            directory("<results>/predictions/{method}/{subject}/{sessions}sessions/seed{seed}"),
        log:
            "<logs>/retrieve/{method}_{subject}_{sessions}sessions_seed{seed}.log",
        wildcard_constraints:
            method="|".join(config["retrieval_only"]),
        conda:
            "../../envs/decode.yaml"
        threads: 1
        resources:
            mem_mb=1000,
            runtime=30,
        params:
            code=code_of("retrieve"),
        script:
            "../../scripts/retrieve.py"
