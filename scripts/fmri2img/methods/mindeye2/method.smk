# MindEye2's own: published networks in place of trained ones.


rule import_mindeye2:
    """A published network, in the form that `decode` reads; refused when a weight is missing, unknown or misshapen."""
    input:
        checkpoint=lambda w: model_path(study.released_network(w.decoder, w.subject, Cell.sessions_of(w.sessions))),
        recording="<results>/recordings/{subject}",
    output:
        directory("<results>/decoders/{decoder}/{subject}/{sessions}sessions/released"),
    log:
        "<logs>/import_mindeye2/{decoder}_{subject}_{sessions}sessions.log",
    benchmark:
        "<benchmarks>/import_mindeye2/{decoder}_{subject}_{sessions}sessions.tsv"
    wildcard_constraints:
        decoder=one_of(study.decoders_of("mindeye2", "released")),
    conda:
        str(REPOSITORY / "envs/train.yaml")
    threads: threads_of("train")
    resources:
        **needs("train"),
    params:
        script=lambda wildcards, output: in_repository("scripts/import_mindeye2.py"),
        file=lambda w: study.released_file(w.decoder, w.subject, Cell.sessions_of(w.sessions)),
        others=lambda w: [subject for subject in study.available_sessions if subject != w.subject],
        code=code_of("import_mindeye2"),
    shell:
        "python {params.script:q} {input.checkpoint:q}/{params.file:q} --subjects {wildcards.subject} "
        "--pretrained-on {params.others} --recording {input.recording:q} --sessions {wildcards.sessions} "
        "--output {output:q} --log {log:q} > {log} 2>&1"
