# Control: the training image nearest to what a decoder decoded.


rule nearest_neighbour:
    input:
        decoded=f"<results>/decoded/{study.registries['methods']['nearest_neighbour']['of']}/{{subject}}/{{sessions}}sessions/seed{{seed}}",
        recording="<results>/recordings/{subject}",
        embeddings=f"<results>/embeddings/{config['encoder']}",
        stimuli="<results>/stimuli",
    output:
        directory("<results>/predictions/nearest_neighbour/{subject}/{sessions}sessions/seed{seed}"),
    log:
        "<logs>/nearest_neighbour/{subject}_{sessions}sessions_seed{seed}.log",
    benchmark:
        "<benchmarks>/nearest_neighbour/{subject}_{sessions}sessions_seed{seed}.tsv"
    conda:
        "../../envs/decode.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        origin=study.registries["methods"]["nearest_neighbour"]["origin"],
        code=code_of("nearest_neighbour"),
    script:
        "../../scripts/nearest_neighbour.py"
