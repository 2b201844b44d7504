# Predictions x Stimuli -> Scores. One job a method and subject, so that each network is loaded once.


metrics = {name: study.registries["metrics"][name] for name in config["metrics"]}
on_brain = any(metric["needs"] == "brain" for metric in metrics.values())
on_retrieval = any(metric["needs"] == "retrieval" for metric in metrics.values())
bands = config["encoding"]["bands"] if on_brain else []
networks = sorted({entry["network"] for entry in (*metrics.values(), *bands) if entry["network"]})


rule evaluate:
    """Every metric of every image, at all budgets and seeds of one method and subject."""
    input:
        predictions=lambda w: prediction_paths(w.method, w.subject),
        stimuli="<results>/stimuli",
        embeddings=f"<results>/embeddings/{config['encoder']}" if on_retrieval else [],
        recording="<results>/recordings/{subject}" if on_brain else [],
        encoding="<results>/encoding/{subject}" if on_brain else [],
        model=[path for name in networks for path in model_path(name)],
    output:
        "<results>/scores/{method}/{subject}.parquet",
    log:
        "<logs>/evaluate/{method}_{subject}.log",
    benchmark:
        "<benchmarks>/evaluate/{method}_{subject}.tsv"
    conda:
        "../../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=240,
    params:
        metrics=metrics,
        networks={name: study.registries["backbones"][name] for name in networks},
        evaluation=config["evaluation"],
        retrieval=config["retrieval"],
        code=digest(
            "metrics",
            "artifacts",
            "decoders/encoding",
            *(
                f"backbones/{m}"
                for m in ("registry", "pixels", "encoders", "features", "perceptual", "texts", "loading")
            ),
        ),
    script:
        "../../scripts/evaluate_predictions.py"
