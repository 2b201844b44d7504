# Fetch frozen networks; Stimuli -> Embeddings, one per frozen encoder, computed once for all methods. Several jobs may
# share the images (key `shards.embed`); another one then joins what they have computed. What a training may wait for has
# a higher priority than all training.


rule acquire_backbone:
    """Fetch the files of one registered network. A folder put there by hand is kept."""
    output:
        directory("models/{entry}"),
    log:
        "<logs>/acquire_backbone/{entry}.log",
    benchmark:
        "<benchmarks>/acquire_backbone/{entry}.tsv"
    conda:
        "../../envs/models.yaml"
    threads: threads_of("download")
    resources:
        **needs("download"),
    params:
        record=lookup(dpath="{entry}", within=study.records["backbones"]),
    script:
        "../../scripts/acquire_backbone.py"


rule embed_stimuli:
    """Compute tokens and joint vectors of all stimuli with one frozen encoder."""
    input:
        stimuli="<results>/stimuli",
        model=lambda w: model_path(w.encoder),
    output:
        shared("embed", "<results>/embeddings/{encoder}"),
    log:
        of_shard("embed", "<logs>/embed_stimuli/{encoder}") + ".log",
    benchmark:
        of_shard("embed", "<benchmarks>/embed_stimuli/{encoder}") + ".tsv"
    priority: 3
    conda:
        "../../envs/models.yaml"
    threads: threads_of("embed")
    resources:
        **needs("embed"),
    params:
        record=lookup(dpath="{encoder}", within=study.records["backbones"]),
        shard=shard_of("embed"),
        code=lambda w: code_of("embed_stimuli", *loaders_of("tokens", w.encoder)),
    script:
        "../../scripts/embed_stimuli.py"


rule encode_latents:
    """Compute latents of all stimuli with one autoencoder, from pictures of one size."""
    input:
        stimuli="<results>/stimuli",
        model=lambda w: model_path(w.entry),
    output:
        shared("embed", "<results>/latents/{entry}/{size}px"),
    log:
        of_shard("embed", "<logs>/encode_latents/{entry}_{size}px") + ".log",
    benchmark:
        of_shard("embed", "<benchmarks>/encode_latents/{entry}_{size}px") + ".tsv"
    wildcard_constraints:
        size=r"\d+",
    priority: 3
    conda:
        "../../envs/models.yaml"
    threads: threads_of("embed")
    resources:
        **needs("embed"),
    params:
        record=lookup(dpath="{entry}", within=study.records["backbones"]),
        image_size=lambda w: int(w.size),
        shard=shard_of("embed"),
        code=lambda w: code_of("encode_latents", *loaders_of("latents", w.entry)),
    script:
        "../../scripts/encode_latents.py"


rule embed_texts:
    """Compute states of the captions of all stimuli with one text encoder, the mean over an image's captions."""
    input:
        stimuli="<results>/stimuli",
        model=lambda w: model_path(w.entry),
    output:
        shared("embed", "<results>/texts/{entry}"),
    log:
        of_shard("embed", "<logs>/embed_texts/{entry}") + ".log",
    benchmark:
        of_shard("embed", "<benchmarks>/embed_texts/{entry}") + ".tsv"
    conda:
        "../../envs/models.yaml"
    threads: threads_of("embed")
    resources:
        **needs("embed"),
    params:
        record=lookup(dpath="{entry}", within=study.records["backbones"]),
        shard=shard_of("embed"),
        code=lambda w: code_of("embed_texts", *loaders_of("texts", w.entry)),
    script:
        "../../scripts/embed_texts.py"


rule embed_local_features:
    """Compute local features of all stimuli with a frozen teacher: images (view 0) or augmented copies (1, 2, ...)."""
    input:
        stimuli="<results>/stimuli",
        model=lambda w: model_path(w.entry),
    output:
        shared("embed", "<results>/local_features/{entry}/view{view}"),
    log:
        of_shard("embed", "<logs>/embed_local_features/{entry}/view{view}") + ".log",
    benchmark:
        of_shard("embed", "<benchmarks>/embed_local_features/{entry}/view{view}") + ".tsv"
    wildcard_constraints:
        view=r"\d+",
    priority: 3
    conda:
        "../../envs/models.yaml"
    threads: threads_of("features")
    resources:
        **needs("features"),
    params:
        record=lookup(dpath="{entry}", within=study.records["backbones"]),
        shard=shard_of("embed"),
        code=code_of("embed_local_features"),
    script:
        "../../scripts/embed_local_features.py"


if config["shards"]["embed"] > 1:

    rule join_embeddings:
        """Join the shards of what a frozen network makes of all stimuli."""
        input:
            shards_of("embed", "<results>/{artifact}"),
        output:
            directory("<results>/{artifact}"),
        log:
            "<logs>/join_embeddings/{artifact}.log",
        benchmark:
            "<benchmarks>/join_embeddings/{artifact}.tsv"
        wildcard_constraints:
            artifact=rf"(?!embeddings/({one_of(study.dataset.embeddings)})$)"
            r"(embeddings|latents|texts|local_features|image_views)/.+",
        conda:
            "../../envs/prepare.yaml"
        threads: threads_of("cpu")
        resources:
            **needs("cpu"),
        params:
            code=code_of("join_embeddings"),
        script:
            "../../scripts/join_embeddings.py"
