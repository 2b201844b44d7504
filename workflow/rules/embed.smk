# Stimuli -> Embeddings, one per frozen encoder, computed once for every method; and fetching the networks themselves.


rule acquire_backbone:
    """Files of one registered network from its hub. A folder put there by hand is left as it is."""
    output:
        directory("models/{entry}"),
    log:
        "<logs>/acquire_backbone/{entry}.log",
    benchmark:
        "<benchmarks>/acquire_backbone/{entry}.tsv"
    conda:
        "../../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=720,
    params:
        record=lookup(dpath="{entry}", within=study.registries["backbones"]),
    script:
        "../../scripts/acquire_backbone.py"


rule embed_stimuli:
    """Tokens and joint vectors of all stimuli by one frozen encoder."""
    input:
        stimuli="<results>/stimuli",
        model=lambda w: model_path(w.encoder),
    output:
        directory("<results>/embeddings/{encoder}"),
    log:
        "<logs>/embed_stimuli/{encoder}.log",
    benchmark:
        "<benchmarks>/embed_stimuli/{encoder}.tsv"
    conda:
        "../../envs/models.yaml"
    threads: 2
    resources:
        mem_mb=2000,
        runtime=240,
    params:
        record=lookup(dpath="{encoder}", within=study.registries["backbones"]),
        code=digest("artifacts", *(f"backbones/{m}" for m in ("registry", "pixels", "encoders"))),
    script:
        "../../scripts/embed_stimuli.py"
