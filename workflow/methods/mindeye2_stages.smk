# MindEye2 after its tokens: blurry pictures, refinement under a caption, and the blend of the two.


unrefined = study.registries["methods"]["mindeye2"]["of"]
refinement = config["refinement"]


rule mindeye2_refine:
    """Unrefined pictures redrawn under their captions."""
    input:
        unrefined=f"<results>/predictions/{unrefined}/{{subject}}/{{sessions}}sessions/seed{{seed}}",
        captions=f"<results>/captions/{unrefined}/{{subject}}/{{sessions}}sessions/seed{{seed}}.parquet",
        model=[
            path
            for name in (refinement["generator"], config["autoencoder"], refinement["prompts"])
            for path in model_path(name)
        ],
    output:
        directory("<results>/predictions/mindeye2_refined/{subject}/{sessions}sessions/seed{seed}"),
    log:
        "<logs>/mindeye2_refine/{subject}_{sessions}sessions_seed{seed}.log",
    benchmark:
        "<benchmarks>/mindeye2_refine/{subject}_{sessions}sessions_seed{seed}.tsv"
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
        method="mindeye2_refined",
        code=digest(
            "artifacts",
            "generation",
            *(f"backbones/{m}" for m in ("registry", "pixels", "autoencoders", "encoders", "generators", "prompts")),
        ),
    script:
        "../../scripts/mindeye2_refine.py"


# Without a low-level head there is nothing to blend with: such a study's pictures are the refined ones.
if config["mindeye2"]["low_level"]:

    rule mindeye2_lowlevel:
        """Blurry pictures: the low-level head's latents, decoded."""
        input:
            decoded=f"<results>/decoded/{unrefined}/{{subject}}/{{sessions}}sessions/seed{{seed}}",
            model=model_path(config["mindeye2"]["low_level"]["autoencoder"]),
        output:
            directory("<results>/predictions/mindeye2_lowlevel/{subject}/{sessions}sessions/seed{seed}"),
        log:
            "<logs>/mindeye2_lowlevel/{subject}_{sessions}sessions_seed{seed}.log",
        benchmark:
            "<benchmarks>/mindeye2_lowlevel/{subject}_{sessions}sessions_seed{seed}.tsv"
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
            method="mindeye2_lowlevel",
            code=digest("artifacts", *(f"backbones/{m}" for m in ("registry", "pixels", "autoencoders"))),
        script:
            "../../scripts/mindeye2_lowlevel.py"

    rule mindeye2_blend:
        """Refined pictures with a share of the blurry ones laid over: what MindEye2 is scored by."""
        input:
            refined=rules.mindeye2_refine.output[0],
            blurry=rules.mindeye2_lowlevel.output[0],
        output:
            directory("<results>/predictions/mindeye2/{subject}/{sessions}sessions/seed{seed}"),
        log:
            "<logs>/mindeye2_blend/{subject}_{sessions}sessions_seed{seed}.log",
        benchmark:
            "<benchmarks>/mindeye2_blend/{subject}_{sessions}sessions_seed{seed}.tsv"
        conda:
            "../../envs/models.yaml"
        threads: 1
        resources:
            mem_mb=1200,
            runtime=30,
        params:
            refined_weight=refinement["refined_weight"],
            method="mindeye2",
            code=digest("artifacts", "generation", "backbones/pixels"),
        script:
            "../../scripts/mindeye2_blend.py"
