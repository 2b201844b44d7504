# The analysis of regions: each subject's decoder of the longest budget -> pictures of synthetic responses.

BRAIN_DIFFUSER = plugins.folders("methods")["brain_diffuser"]


rule draw_regions:
    """Draw what the decoder makes of responses that are one in a region and zero elsewhere."""
    input:
        recordings=[f"<results>/recordings/{subject}" for subject in study.subjects],
        decoders=[
            f"<results>/decoders/brain_diffuser/{subject}/{study.budgets(subject)[-1]:g}sessions/seed{study.seeds[0]}"
            for subject in study.subjects
        ],
        targets=lambda w: list(study.targets("brain_diffuser").values()),
        model=lambda w: [
            path for name in study.drawing("brain_diffuser")["networks"].values() for path in model_path(name)
        ],
    output:
        directory("<results>/analyses/brain_diffuser/regions"),
    log:
        "<logs>/draw_regions.log",
    benchmark:
        "<benchmarks>/draw_regions.tsv"
    conda:
        str(REPOSITORY / "envs/models.yaml")
    threads: threads_of("draw")
    resources:
        **needs("draw"),
    params:
        subjects=study.subjects,
        targets=lambda w: list(study.targets("brain_diffuser")),
        regions=config["brain_diffuser"]["regions"] or study.dataset.regions,
        networks=lambda w: {role: network(name) for role, name in study.drawing("brain_diffuser")["networks"].items()},
        settings=lambda w: study.drawing("brain_diffuser")["settings"],
        code=code_of(BRAIN_DIFFUSER / "scripts/draw_regions.py"),
    script:
        "scripts/draw_regions.py"
