# The encoding analysis: components of the diffusion model -> voxel-wise models -> a figure with its table.

ENCODING = config["takagi"]["encoding"]
ENCODED = ENCODING["subjects"] or study.subjects
COMPONENTS = {role: network(config["takagi"][role]) for role in ("generator", "autoencoder", "prompts")}
TAKAGI = plugins.folders("methods")["takagi"]


rule compute_components:
    """Compute z, c, zc and activations of the denoising network for a subject's pictures."""
    input:
        recording="<results>/recordings/{subject}",
        stimuli="<results>/stimuli",
        latents=f"<results>/latents/{config['takagi']['autoencoder']}/{config['takagi']['latent_size']}px",
        texts=f"<results>/texts/{config['takagi']['prompts']}",
        model=[path for name, _ in COMPONENTS.values() for path in model_path(name)],
    output:
        directory("<results>/analyses/takagi/components/{subject}"),
    log:
        "<logs>/compute_components/{subject}.log",
    benchmark:
        "<benchmarks>/compute_components/{subject}.tsv"
    conda:
        str(REPOSITORY / "envs/models.yaml")
    threads: threads_of("draw")
    resources:
        **needs("draw"),
    params:
        settings=ENCODING,
        networks=COMPONENTS,
        seed=0,
        code=code_of(TAKAGI / "scripts/compute_components.py"),
    script:
        "scripts/compute_components.py"


rule fit_components:
    """Fit voxel-wise encoding models of a subject, one for each component."""
    input:
        recording="<results>/recordings/{subject}",
        components="<results>/analyses/takagi/components/{subject}",
    output:
        directory("<results>/analyses/takagi/fits/{subject}"),
    log:
        "<logs>/fit_components/{subject}.log",
    benchmark:
        "<benchmarks>/fit_components/{subject}.tsv"
    conda:
        str(REPOSITORY / "envs/models.yaml")
    threads: threads_of("fit")
    resources:
        **needs("fit"),
    params:
        settings=ENCODING,
        resamples=config["statistics"]["resamples"],
        code=code_of(TAKAGI / "scripts/fit_components.py"),
    script:
        "scripts/fit_components.py"


rule draw_encoding:
    """Draw the figure of the encoding analysis, and write its numbers."""
    input:
        fits=collect("<results>/analyses/takagi/fits/{subject}", subject=ENCODED),
    output:
        directory("<results>/analyses/takagi/encoding"),
    log:
        "<logs>/draw_encoding.log",
    benchmark:
        "<benchmarks>/draw_encoding.tsv"
    conda:
        str(REPOSITORY / "envs/analysis.yaml")
    threads: threads_of("light")
    resources:
        **needs("light"),
    params:
        subjects=ENCODED,
        confidence=config["statistics"]["confidence"],
        code=code_of(TAKAGI / "scripts/draw_encoding.py"),
    script:
        "scripts/draw_encoding.py"
