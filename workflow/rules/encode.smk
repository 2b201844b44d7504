# Features of pictures -> betas: the encoding model of each subject, and what it makes of reconstructions, by voxel.


rule fit_encoding:
    """Voxel-wise banded ridge on the training images of a subject, all sessions."""
    input:
        recording="<results>/recordings/{subject}",
        stimuli="<results>/stimuli",
        model=[path for band in config["encoding"]["bands"] for path in model_path(band["network"])],
    output:
        directory("<results>/encoding/{subject}"),
    log:
        "<logs>/fit_encoding/{subject}.log",
    benchmark:
        "<benchmarks>/fit_encoding/{subject}.tsv"
    conda:
        "../../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=2500,
        runtime=240,
    params:
        encoding=config["encoding"],
        networks={
            band["network"]: study.registries["backbones"][band["network"]] for band in config["encoding"]["bands"]
        },
        size=config["evaluation"]["size"],
        seed=0,
        code=digest("decoders/encoding", "artifacts", *(f"backbones/{m}" for m in ("pixels", "features", "encoders"))),
    script:
        "../../scripts/fit_encoding.py"


rule map_brain:
    """Correlation of every voxel, of one method and subject at all budgets and seeds."""
    input:
        predictions=lambda w: prediction_paths(w.method, w.subject),
        recording="<results>/recordings/{subject}",
        encoding="<results>/encoding/{subject}",
        model=[path for band in config["encoding"]["bands"] for path in model_path(band["network"])],
    output:
        "<results>/brain/{method}/{subject}.parquet",
    log:
        "<logs>/map_brain/{method}_{subject}.log",
    benchmark:
        "<benchmarks>/map_brain/{method}_{subject}.tsv"
    conda:
        "../../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=2500,
        runtime=120,
    params:
        networks={
            band["network"]: study.registries["backbones"][band["network"]] for band in config["encoding"]["bands"]
        },
        code=digest("decoders/encoding", "metrics/brain", "artifacts"),
    script:
        "../../scripts/map_brain.py"
