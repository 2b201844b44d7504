# Ceiling of what words can tell: the true caption through the text-to-image generator.


rule draw_captions:
    """Pictures of the true captions of all test images, once for all subjects and budgets."""
    input:
        stimuli="<results>/stimuli",
        split=f"<results>/splits/{config['split']}.json",
        model=[
            path
            for name in (config["refinement"]["generator"], config["autoencoder"], config["refinement"]["prompts"])
            for path in model_path(name)
        ],
    output:
        directory("<results>/caption_only/seed{seed}"),
    log:
        "<logs>/draw_captions/seed{seed}.log",
    benchmark:
        "<benchmarks>/draw_captions/seed{seed}.tsv"
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
                ("generator", config["refinement"]["generator"]),
                ("autoencoder", config["autoencoder"]),
                ("prompts", config["refinement"]["prompts"]),
            )
        },
        refinement={key: config["refinement"][key] for key in ("steps", "guidance", "batch", "negative_prompt")},
        origin=study.registries["methods"]["caption_only"]["origin"],
        code=code_of("draw_captions"),
    script:
        "../../scripts/draw_captions.py"


rule caption_only:
    """One subject's test images out of these; alike at every budget."""
    input:
        drawn="<results>/caption_only/seed{seed}",
        recording="<results>/recordings/{subject}",
    output:
        directory("<results>/predictions/caption_only/{subject}/{sessions}sessions/seed{seed}"),
    log:
        "<logs>/caption_only/{subject}_{sessions}sessions_seed{seed}.log",
    conda:
        "../../envs/decode.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        code=code_of("subject_images"),
    script:
        "../../scripts/subject_images.py"
