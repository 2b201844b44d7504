# Control: the reconstructions of a decoder, each handed to another test image.


rule shuffled_brain:
    input:
        prediction=f"<results>/predictions/{study.registries['methods']['shuffled_brain']['of']}/{{subject}}/{{sessions}}sessions/seed{{seed}}",
    output:
        directory("<results>/predictions/shuffled_brain/{subject}/{sessions}sessions/seed{seed}"),
    log:
        "<logs>/shuffled_brain/{subject}_{sessions}sessions_seed{seed}.log",
    conda:
        "../../envs/decode.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        origin=study.registries["methods"]["shuffled_brain"]["origin"],
        code=digest("decoders/controls", "artifacts"),
    script:
        "../../scripts/shuffled_brain.py"
