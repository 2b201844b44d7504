# Predictions x Stimuli -> Scores. There is one job per method, so that each network is loaded once.


rule embed_test_images:
    """Compute one network's features of the true test images, once for all methods."""
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
        entry=one_of(study.compared_layers),
    conda:
        "../../envs/models.yaml"
    threads: threads_of("features")
    resources:
        **needs("features"),
    params:
        record=lookup(dpath="{entry}", within=study.records["backbones"]),
        layers=lambda w: study.compared_layers[w.entry],
        size=config["evaluation"]["size"],
        antialias=config["evaluation"]["antialias"],
        code=code_of("embed_test_images"),
    script:
        "../../scripts/embed_test_images.py"


rule evaluate:
    """Compute every metric of every image, for all subjects, budgets and seeds of one method."""
    input:
        predictions=lambda w: predictions_of(w.method),
        stimuli="<results>/stimuli",
        test_images=lambda w: of_subjects("<results>/test_images/{subject}.json", w.method),
        features=collect(rules.embed_test_images.output[0], entry=sorted(study.compared_layers)),
        embeddings=lambda w: (
            f"<results>/embeddings/{study.retrieval_network(w.method)}" if study.reads("retrieval") else []
        ),
        recordings=lambda w: of_subjects("<results>/recordings/{subject}", w.method) if study.on_brain else [],
        encodings=lambda w: of_subjects("<results>/encoding/{subject}", w.method) if study.on_brain else [],
        captioned="<results>/captioned_images.parquet" if study.reads_captioner else [],
        model=[path for name in study.scoring_networks for path in model_path(name)],
    output:
        scores="<results>/scores/{method}.parquet",
        brain=directory("<results>/brain/{method}") if study.on_brain else [],
        permutations="<results>/permutations/{method}.parquet" if config["statistics"]["permutations"] else [],
    log:
        "<logs>/evaluate/{method}.log",
    benchmark:
        "<benchmarks>/evaluate/{method}.tsv"
    conda:
        "../../envs/models.yaml"
    threads: threads_of("features")
    resources:
        **needs("features"),
    params:
        cells=lambda w: [
            [*cell, prediction_path(w.method, cell).replace("<results>", f"results/{study.name}")]
            for cell in scored_cells(w.method)
        ],
        may_lack=["predictions", "test_images", "recordings", "encodings"],
        lacking=lambda w: [record for record in lacking() if record["method"] == w.method],
        metrics=study.records["metrics"],
        networks={name: study.records["backbones"][name] for name in study.scoring_networks},
        evaluation=config["evaluation"],
        retrieval=config["retrieval"],
        statistics={"permutations": config["statistics"]["permutations"]},
        code=code_of("evaluate_predictions", "fmri2img.metrics.evaluate_modules"),
    script:
        "../../scripts/evaluate_predictions.py"
