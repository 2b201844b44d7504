# Ceiling of recall: the training image nearest to the test image itself.


rule oracle_nearest_neighbour:
    input:
        recording="<results>/recordings/{subject}",
        embeddings=f"<results>/embeddings/{config['encoder']}",
        stimuli="<results>/stimuli",
    output:
        directory("<results>/predictions/oracle_nearest_neighbour/{subject}/{sessions}sessions/seed{seed}"),
    log:
        "<logs>/oracle_nearest_neighbour/{subject}_{sessions}sessions_seed{seed}.log",
    conda:
        "../../envs/decode.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        origin=study.registries["methods"]["oracle_nearest_neighbour"]["origin"],
        code=code_of("oracle_nearest_neighbour"),
    script:
        "../../scripts/oracle_nearest_neighbour.py"
