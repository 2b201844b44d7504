# MindEye2 after its tokens: blurry pictures, refinement under a caption, and the blend of the two. The same rules serve
# every decoder that has these stages in config/methods.yaml.


refinement = config["refinement"]


rule mindeye2_refine:
    """Unrefined pictures redrawn under their captions."""
    input:
        unrefined=lambda w: made_of("predictions", w),
        captions=lambda w: f"{made_of('captions', w)}.parquet",
        model=[
            path
            for name in (refinement["generator"], config["autoencoder"], refinement["prompts"])
            for path in model_path(name)
        ],
    output:
        directory("<results>/predictions/{method}/{subject}/{sessions}sessions/seed{seed}"),
    log:
        "<logs>/mindeye2_refine/{method}_{subject}_{sessions}sessions_seed{seed}.log",
    benchmark:
        "<benchmarks>/mindeye2_refine/{method}_{subject}_{sessions}sessions_seed{seed}.tsv"
    wildcard_constraints:
        method="|".join(study.having("stage", "refined")),
    priority: 1
    conda:
        "../../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=720,
    params:
        backbones={
            role: (name, study.registries["backbones"][name])
            for role, name in (
                ("generator", refinement["generator"]),
                ("autoencoder", config["autoencoder"]),
                ("prompts", refinement["prompts"]),
            )
        },
        refinement={key: value for key, value in refinement.items() if key != "refined_weight"},
        method=lambda w: w.method,
        code=code_of("mindeye2_refine"),
    script:
        "../../scripts/mindeye2_refine.py"


# Without a low-level head there is nothing to blend with: such a study's pictures are the refined ones.
if config["mindeye2"]["low_level"]:

    rule mindeye2_lowlevel:
        """Blurry pictures: the low-level head's latents, decoded."""
        input:
            decoded=lambda w: made_of("decoded", w),
            model=model_path(config["mindeye2"]["low_level"]["autoencoder"]),
        output:
            directory("<results>/predictions/{method}/{subject}/{sessions}sessions/seed{seed}"),
        log:
            "<logs>/mindeye2_lowlevel/{method}_{subject}_{sessions}sessions_seed{seed}.log",
        benchmark:
            "<benchmarks>/mindeye2_lowlevel/{method}_{subject}_{sessions}sessions_seed{seed}.tsv"
        wildcard_constraints:
            method="|".join(study.having("stage", "lowlevel")),
        priority: 1
        conda:
            "../../envs/models.yaml"
        threads: 1
        resources:
            mem_mb=1200,
            runtime=60,
        params:
            autoencoder=(
                config["mindeye2"]["low_level"]["autoencoder"],
                study.registries["backbones"][config["mindeye2"]["low_level"]["autoencoder"]],
            ),
            method=lambda w: w.method,
            code=code_of("mindeye2_lowlevel"),
        script:
            "../../scripts/mindeye2_lowlevel.py"

    rule mindeye2_blend:
        """Refined pictures with a share of the blurry ones laid over: what MindEye2 is scored by."""
        input:
            refined=lambda w: made_of("predictions", w, "refined"),
            blurry=lambda w: made_of("predictions", w, "lowlevel"),
        output:
            directory("<results>/predictions/{method}/{subject}/{sessions}sessions/seed{seed}"),
        log:
            "<logs>/mindeye2_blend/{method}_{subject}_{sessions}sessions_seed{seed}.log",
        benchmark:
            "<benchmarks>/mindeye2_blend/{method}_{subject}_{sessions}sessions_seed{seed}.tsv"
        wildcard_constraints:
            method="|".join(study.having("stage", "blended")),
        priority: 1
        conda:
            "../../envs/models.yaml"
        threads: 1
        resources:
            mem_mb=1200,
            runtime=30,
        params:
            refined_weight=refinement["refined_weight"],
            method=lambda w: w.method,
            code=code_of("mindeye2_blend"),
        script:
            "../../scripts/mindeye2_blend.py"
