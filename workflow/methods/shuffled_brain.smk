# Control: the reconstructions of a decoder, each handed to another test image.


rule shuffled_brain:
    input:
        prediction=lambda w: made_of("predictions", w),
    output:
        directory("<results>/predictions/{method}/{subject}/{sessions}sessions/seed{seed}"),
    log:
        "<logs>/shuffled_brain/{method}_{subject}_{sessions}sessions_seed{seed}.log",
    wildcard_constraints:
        method="|".join(study.having("scale", "floor")),
    conda:
        "../../envs/decode.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        origin=lambda w: study.registries["methods"][w.method]["origin"],
        code=code_of("shuffled_brain"),
    script:
        "../../scripts/shuffled_brain.py"
