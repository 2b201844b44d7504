# Ceiling of what a single response tells: the brain's responses to one presentation of an image and to its others.


rule repeat_ceiling:
    """Alike at every budget and seed: nothing is trained."""
    input:
        recording="<results>/recordings/{subject}",
    output:
        directory("<results>/predictions/repeat_ceiling/{subject}/{sessions}sessions/seed{seed}"),
    log:
        "<logs>/repeat_ceiling/{subject}_{sessions}sessions_seed{seed}.log",
    conda:
        "../../envs/decode.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        origin=study.registries["methods"]["repeat_ceiling"]["origin"],
        code=code_of("repeat_ceiling"),
    script:
        "../../scripts/repeat_ceiling.py"
