# Predictions x Stimuli -> Scores. One job a method, so that each network is loaded once.


metrics = {name: study.registries["metrics"][name] for name in config["metrics"]}
on_captioner = any(metric.get("parameters", {}).get("references") == "captioner" for metric in metrics.values())
on_retrieval = any(metric["needs"] == "retrieval" for metric in metrics.values())
layers = {}  # of each network, those that a metric compares
for metric in metrics.values():
    if metric["layer"]:
        layers.setdefault(metric["network"], set()).add(metric["layer"])
networks = {metric["network"] for metric in metrics.values() if metric["network"]}
networks = sorted(networks.union(encoding_networks() if on_brain() else []))


rule embed_test_images:
    """Features of the true test images by one network, computed once for all that is compared with them."""
    input:
        stimuli="<results>/stimuli",
        split=f"<results>/splits/{config['split']}.json",
        model=lambda w: model_path(w.entry),
    output:
        directory("<results>/features/{entry}"),
    log:
        "<logs>/embed_test_images/{entry}.log",
    benchmark:
        "<benchmarks>/embed_test_images/{entry}.tsv"
    wildcard_constraints:
        entry="|".join(layers) or "no network",
    conda:
        "../../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=120,
    params:
        record=lookup(dpath="{entry}", within=study.registries["backbones"]),
        layers=lambda w: sorted(layers[w.entry]),
        size=config["evaluation"]["size"],
        code=code_of("embed_test_images"),
    script:
        "../../scripts/embed_test_images.py"


rule evaluate:
    """Every metric of every image, for all subjects, budgets and seeds of one method."""
    input:
        predictions=lambda w: method_predictions(w.method),
        stimuli="<results>/stimuli",
        features=collect(rules.embed_test_images.output[0], entry=sorted(layers)),
        embeddings=f"<results>/embeddings/{config['encoder']}" if on_retrieval else [],
        recordings=lambda w: of_subjects("<results>/recordings/{subject}", w.method) if on_brain() else [],
        encodings=lambda w: of_subjects("<results>/encoding/{subject}", w.method) if on_brain() else [],
        captioned="<results>/captioned_images.parquet" if on_captioner else [],
        model=[path for name in networks for path in model_path(name)],
    output:
        scores="<results>/scores/{method}.parquet",
        brain=directory("<results>/brain/{method}") if on_brain() else [],
    log:
        "<logs>/evaluate/{method}.log",
    benchmark:
        "<benchmarks>/evaluate/{method}.tsv"
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
        code=code_of("evaluate_predictions", "fmri2img.metrics.evaluate_modules"),
    script:
        "../../scripts/evaluate_predictions.py"
