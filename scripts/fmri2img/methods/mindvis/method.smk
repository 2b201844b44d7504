# MinD-Vis's own: published networks in place of trained ones.


rule import_mindvis:
    """A published network, in the form that `decode` reads; refused when a weight is missing, unknown or misshapen."""
    input:
        checkpoint=lambda w: model_path(study.released_network(w.decoder, w.subject, Cell.sessions_of(w.sessions))),
        generator=model_path(config["mindvis"]["generator"]),
        autoencoder=model_path(config["mindvis"]["autoencoder"]),
        recording="<results>/recordings/{subject}",
    output:
        directory("<results>/decoders/{decoder}/{subject}/{sessions}sessions/released"),
    log:
        "<logs>/import_mindvis/{decoder}_{subject}_{sessions}sessions.log",
    benchmark:
        "<benchmarks>/import_mindvis/{decoder}_{subject}_{sessions}sessions.tsv"
    wildcard_constraints:
        decoder=one_of(study.decoders_of("mindvis", "released")),
    conda:
        str(REPOSITORY / "envs/train.yaml")
    threads: threads_of("train")
    resources:
        **needs("train"),
    params:
        checkpoint=lambda w: network(study.released_network(w.decoder, w.subject, Cell.sessions_of(w.sessions))),
        generator=network(config["mindvis"]["generator"]),
        autoencoder=network(config["mindvis"]["autoencoder"]),
        code=code_of("import_mindvis"),
    script:
        str(REPOSITORY / "scripts/import_mindvis.py")
