# Recording and Embeddings -> a fitted decoder, and the tokens it decodes for the test images.


rule fit_ridge:
    """Linear regression from betas to image tokens; penalty and calibration from held-out training images."""
    input:
        recording="<results>/recordings/{subject}",
        embeddings=f"<results>/embeddings/{config['encoder']}",
    output:
        decoder=directory("<results>/decoders/ridge/{subject}/{sessions}sessions/seed{seed}"),
        decoded=directory("<results>/decoded/ridge/{subject}/{sessions}sessions/seed{seed}"),
    log:
        "<logs>/fit_ridge/{subject}_{sessions}sessions_seed{seed}.log",
    benchmark:
        "<benchmarks>/fit_ridge/{subject}_{sessions}sessions_seed{seed}.tsv"
    conda:
        "../../envs/decode.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=120,
    params:
        alphas=config["ridge"]["alphas"],
        folds=config["ridge"]["folds"],
        origin=study.registries["methods"]["ridge"]["origin"],
        code=digest("decoders/ridge", "artifacts"),
    script:
        "../../scripts/fit_ridge.py"
