# MindEye1's own: published networks in place of trained ones, and tokens of augmented images.


rule import_mindeye1:
    """Published networks, in the form that `decode` reads; refused when a weight is missing, unknown or misshapen."""
    input:
        checkpoints=lambda w: model_path(study.released_network(w.decoder, w.subject, Cell.sessions_of(w.sessions))),
        recording="<results>/recordings/{subject}",
    output:
        directory("<results>/decoders/{decoder}/{subject}/{sessions}sessions/released"),
    log:
        "<logs>/import_mindeye1/{decoder}_{subject}_{sessions}sessions.log",
    benchmark:
        "<benchmarks>/import_mindeye1/{decoder}_{subject}_{sessions}sessions.tsv"
    wildcard_constraints:
        decoder=one_of(study.released_decoders("mindeye1")),
    conda:
        str(REPOSITORY / "envs/train.yaml")
    threads: threads_of("train")
    resources:
        **needs("train"),
    params:
        network=lambda w: network(study.released_network(w.decoder, w.subject, Cell.sessions_of(w.sessions))),
        code=code_of("import_mindeye1"),
    script:
        str(REPOSITORY / "scripts/import_mindeye1.py")


rule embed_views:
    """Compute image tokens of augmented copies of all stimuli (1, 2, ...) with one frozen encoder."""
    input:
        stimuli="<results>/stimuli",
        model=lambda w: model_path(w.encoder),
    output:
        shared("embed", "<results>/image_views/{encoder}/view{view}"),
    log:
        of_shard("embed", "<logs>/embed_views/{encoder}/view{view}") + ".log",
    benchmark:
        of_shard("embed", "<benchmarks>/embed_views/{encoder}/view{view}") + ".tsv"
    wildcard_constraints:
        view=r"\d+",
    conda:
        str(REPOSITORY / "envs/models.yaml")
    threads: threads_of("embed")
    resources:
        **needs("embed"),
    params:
        record=lookup(dpath="{encoder}", within=study.records["backbones"]),
        shard=shard_of("embed"),
        code=code_of("embed_views"),
    script:
        str(REPOSITORY / "scripts/embed_views.py")
