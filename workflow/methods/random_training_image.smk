# Control: a training image at random.


rule random_training_image:
    input:
        recording="<results>/recordings/{subject}",
        embeddings=f"<results>/embeddings/{config['encoder']}",
        stimuli="<results>/stimuli",
    output:
        directory("<results>/predictions/random_training_image/{subject}/{sessions}sessions/seed{seed}"),
    log:
        "<logs>/random_training_image/{subject}_{sessions}sessions_seed{seed}.log",
    conda:
        "../../envs/decode.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        origin=study.registries["methods"]["random_training_image"]["origin"],
        code=code_of("random_training_image"),
    script:
        "../../scripts/random_training_image.py"
