# Score against a bottleneck between brain and embedding (BrainBits): every decoder anew on recordings of few dimensions.
# Not a part of the default target: `snakemake bottleneck`.


rule learn_bottleneck:
    """Directions of voxel space by what they tell of the tokens, from the training responses."""
    input:
        decoder="<results>/decoders/ridge/{subject}/{sessions}sessions/seed{seed}",
        recording="<results>/recordings/{subject}",
        embeddings=f"<results>/embeddings/{config['encoder']}",
    output:
        "<results>/bottleneck/directions/{subject}/{sessions}sessions/seed{seed}.safetensors",
    log:
        "<logs>/learn_bottleneck/{subject}_{sessions}sessions_seed{seed}.log",
    benchmark:
        "<benchmarks>/learn_bottleneck/{subject}_{sessions}sessions_seed{seed}.tsv"
    conda:
        "../../envs/decode.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        dimensions=max(config["bottleneck"]["dimensions"]),
        code=code_of("learn_bottleneck"),
    script:
        "../../scripts/learn_bottleneck.py"


rule restrict_recording:
    """Betas along the first directions alone."""
    input:
        recording="<results>/recordings/{subject}",
        directions=rules.learn_bottleneck.output[0],
    output:
        temp(directory("<results>/bottleneck/{dimensions}/recordings/{subject}/{sessions}sessions/seed{seed}")),
    log:
        "<logs>/restrict_recording/{dimensions}_{subject}_{sessions}sessions_seed{seed}.log",
    conda:
        "../../envs/decode.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        code=code_of("restrict_recording"),
    script:
        "../../scripts/restrict_recording.py"


use rule fit_ridge as fit_ridge_bottleneck with:
    input:
        recording=rules.restrict_recording.output[0],
        embeddings=rules.fit_ridge.input.embeddings,
    output:
        decoder=directory("<results>/bottleneck/{dimensions}/decoders/ridge/{subject}/{sessions}sessions/seed{seed}"),
        decoded=directory("<results>/bottleneck/{dimensions}/decoded/ridge/{subject}/{sessions}sessions/seed{seed}"),
    log:
        "<logs>/fit_ridge_bottleneck/{dimensions}_{subject}_{sessions}sessions_seed{seed}.log",
    benchmark:
        "<benchmarks>/fit_ridge_bottleneck/{dimensions}_{subject}_{sessions}sessions_seed{seed}.tsv"


use rule finetune as finetune_bottleneck with:
    input:
        recordings=rules.restrict_recording.output[0],
        targets=training_targets(),
        pretrained=pretrained_path,
    output:
        directory("<results>/bottleneck/{dimensions}/decoders/{method}/{subject}/{sessions}sessions/seed{seed}"),
    log:
        "<logs>/finetune_bottleneck/{dimensions}_{method}_{subject}_{sessions}sessions_seed{seed}.log",
    benchmark:
        "<benchmarks>/finetune_bottleneck/{dimensions}_{method}_{subject}_{sessions}sessions_seed{seed}.tsv"
    params:
        settings=bottleneck_settings,
        work=in_results("<results>/training/bottleneck/{dimensions}/{method}/{subject}/{sessions}sessions/seed{seed}"),


use rule decode as decode_bottleneck with:
    input:
        decoder=rules.finetune_bottleneck.output[0],
        recording=rules.restrict_recording.output[0],
        embeddings=rules.decode.input.embeddings,
    output:
        directory("<results>/bottleneck/{dimensions}/decoded/{method}/{subject}/{sessions}sessions/seed{seed}"),
    log:
        "<logs>/decode_bottleneck/{dimensions}_{method}_{subject}_{sessions}sessions_seed{seed}.log",
    benchmark:
        "<benchmarks>/decode_bottleneck/{dimensions}_{method}_{subject}_{sessions}sessions_seed{seed}.tsv"


use rule reconstruct as reconstruct_bottleneck with:
    input:
        decoded="<results>/bottleneck/{dimensions}/decoded/{method}/{subject}/{sessions}sessions/seed{seed}",
        model=rules.reconstruct.input.model,
    output:
        directory("<results>/bottleneck/{dimensions}/predictions/{method}/{subject}/{sessions}sessions/seed{seed}"),
    log:
        "<logs>/reconstruct_bottleneck/{dimensions}_{method}_{subject}_{sessions}sessions_seed{seed}.log",
    benchmark:
        "<benchmarks>/reconstruct_bottleneck/{dimensions}_{method}_{subject}_{sessions}sessions_seed{seed}.tsv"


# Without brain correlation: maps and encoding models are of whole studies.
use rule evaluate as evaluate_bottleneck with:
    input:
        predictions=lambda w: [
            f"<results>/bottleneck/{w.dimensions}/predictions/{w.method}/{subject}/{sessions}sessions/seed{seed}"
            for subject in study.subjects
            for sessions in study.budgets(subject)[-1:]
            for seed in study.seeds
        ],
        stimuli=rules.evaluate.input.stimuli,
        features=rules.evaluate.input.features,
        embeddings=rules.evaluate.input.embeddings,
        model=rules.evaluate.input.model,
    output:
        scores="<results>/bottleneck/{dimensions}/scores/{method}.parquet",
    log:
        "<logs>/evaluate_bottleneck/{dimensions}_{method}.log",
    benchmark:
        "<benchmarks>/evaluate_bottleneck/{dimensions}_{method}.tsv"
    params:
        metrics={name: metric for name, metric in metrics.items() if metric["needs"] in ("images", "retrieval")},


rule bottleneck:
    """How far each decoder gets with k dimensions of the brain, between the floor and all voxels."""
    input:
        scores=collect(
            "<results>/scores/{method}.parquet",
            method=[*study.bottlenecked, *study.bottleneck_floors],
        ),
        restricted=collect(
            "<results>/bottleneck/{dimensions}/scores/{method}.parquet",
            dimensions=config["bottleneck"]["dimensions"],
            method=study.bottlenecked,
        ),
    output:
        table=report(
            "<results>/tables/bottleneck.html",
            caption="../report/bottleneck.rst",
            category="1 Scores",
            labels={"content": "Table: score against a bottleneck", "trained on": "the longest budget"},
        ),
        figure=report(
            "<results>/figures/bottleneck.svg",
            caption="../report/bottleneck.rst",
            category="1 Scores",
            labels={"content": "Figure: score against a bottleneck", "trained on": "the longest budget"},
        ),
        plain=collect("<results>/tables/bottleneck.{suffix}", suffix=["csv", "md", "tex"]),
        picture="<results>/figures/bottleneck.png",
    log:
        "<logs>/bottleneck.log",
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        confidence=config["statistics"]["confidence"],
        resamples=config["statistics"]["resamples"],
        code=code_of("make_bottleneck"),
    script:
        "../../scripts/make_bottleneck.py"
