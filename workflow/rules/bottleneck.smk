# Score against a bottleneck between brain and embedding (BrainBits): decoders are fitted to recordings of few
# dimensions. This is not part of the default target; run `snakemake bottleneck`.


RESTRICTED = in_results(f"<results>/bottleneck/{{dimensions}}/recordings/{TRAINED}")


rule learn_bottleneck:
    """Compute directions of voxel space from the training responses, those that predict the tokens best first."""
    input:
        decoder=f"<results>/decoders/{config['bottleneck']['directions']}/{TRAINED}",
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
    threads: threads_of("fit")
    resources:
        **needs("fit"),
    params:
        dimensions=max(config["bottleneck"]["dimensions"]),
        code=code_of("learn_bottleneck"),
    script:
        "../../scripts/learn_bottleneck.py"


rule restrict_recording:
    """Restrict betas to the first directions."""
    input:
        recording="<results>/recordings/{subject}",
        directions=rules.learn_bottleneck.output[0],
    output:
        temp(directory(RESTRICTED)),
    log:
        "<logs>/restrict_recording/{dimensions}_{subject}_{sessions}sessions_seed{seed}.log",
    conda:
        "../../envs/decode.yaml"
    threads: threads_of("light")
    resources:
        **needs("light"),
    params:
        code=code_of("restrict_recording"),
    script:
        "../../scripts/restrict_recording.py"


use rule fit_linear as fit_linear_bottleneck with:
    input:
        recording=rules.restrict_recording.output[0],
        targets=lambda w: list(study.targets(w.decoder).values()),
    output:
        directory(f"<results>/bottleneck/{{dimensions}}/decoders/{{decoder}}/{TRAINED}"),
    log:
        f"<logs>/fit_linear_bottleneck/{{dimensions}}/{{decoder}}/{TRAINED}.log",
    benchmark:
        f"<benchmarks>/fit_linear_bottleneck/{{dimensions}}/{{decoder}}/{TRAINED}.tsv"
    group:
        "restricted"


use rule finetune as finetune_bottleneck with:
    input:
        recordings=rules.restrict_recording.output[0],
        targets=lambda w: flat(launch.inputs_of(study, w.decoder)),
        pretrained=lambda w: pretrained_path(w.decoder, w.subject),
        deepspeed=lambda w: deepspeed_of(w.decoder, "finetuning"),
    output:
        directory(f"<results>/bottleneck/{{dimensions}}/decoders/{{decoder}}/{TRAINED}"),
    log:
        f"<logs>/finetune_bottleneck/{{dimensions}}/{{decoder}}/{TRAINED}.log",
    benchmark:
        f"<benchmarks>/finetune_bottleneck/{{dimensions}}/{{decoder}}/{TRAINED}.tsv"
    params:
        settings=lambda w: launch.finetuning_settings(
            study, w.decoder, w.subject, w.sessions, w.seed, recording=RESTRICTED.format(**vars(w))
        ),
        work=in_results(f"<results>/training/bottleneck/{{dimensions}}/{{decoder}}/{TRAINED}"),


use rule decode as decode_bottleneck with:
    input:
        decoder=f"<results>/bottleneck/{{dimensions}}/decoders/{{decoder}}/{TRAINED}",
        recording=rules.restrict_recording.output[0],
        targets=lambda w: list(study.targets(w.decoder).values()),
    output:
        directory(f"<results>/bottleneck/{{dimensions}}/decoded/{{decoder}}/{CELL}"),
    log:
        f"<logs>/decode_bottleneck/{{dimensions}}/{{decoder}}/{CELL}.log",
    benchmark:
        f"<benchmarks>/decode_bottleneck/{{dimensions}}/{{decoder}}/{CELL}.tsv"


use rule draw as draw_bottleneck with:
    input:
        unpack(lambda w: drawn_from(w.method, w, f"<results>/bottleneck/{w.dimensions}")),
    output:
        directory(f"<results>/bottleneck/{{dimensions}}/predictions/{{method}}/{CELL}"),
    log:
        f"<logs>/draw_bottleneck/{{dimensions}}/{{method}}/{CELL}.log",
    benchmark:
        f"<benchmarks>/draw_bottleneck/{{dimensions}}/{{method}}/{CELL}.tsv"
    wildcard_constraints:
        method=one_of(study.drawn("draw", "decode")),


# Brain correlation is left out, because maps and encoding models belong to whole studies.
use rule evaluate as evaluate_bottleneck with:
    input:
        predictions=lambda w: [
            f"<results>/bottleneck/{w.dimensions}/predictions/{w.method}/{cell.path}"
            for cell in study.longest_cells(w.method)
        ],
        stimuli=rules.evaluate.input.stimuli,
        test_images=rules.evaluate.input.test_images,
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
        cells=lambda w: [
            [*cell, in_results(f"<results>/bottleneck/{w.dimensions}/predictions/{w.method}/{cell.path}")]
            for cell in study.longest_cells(w.method)
        ],
        metrics={
            name: metric
            for name, metric in study.records["metrics"].items()
            if metric["needs"] in ("images", "retrieval")
        },
        may_lack=[],
        statistics={"permutations": 0},  # of whole studies


rule bottleneck:
    """Plot how far each decoder gets with k dimensions of the brain, between the floor and all voxels."""
    input:
        scores=there(map(scores_of, dict.fromkeys([*study.bottlenecked, *study.bottleneck_floors]))),
        restricted=there(
            collect(
                "<results>/bottleneck/{dimensions}/scores/{method}.parquet",
                dimensions=config["bottleneck"]["dimensions"],
                method=study.bottlenecked,
            )
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
    threads: threads_of("light")
    resources:
        **needs("light"),
    params:
        study=study.fingerprint,
        may_lack=["scores", "restricted"],
        code=code_of("make_bottleneck"),
    script:
        "../../scripts/make_bottleneck.py"
