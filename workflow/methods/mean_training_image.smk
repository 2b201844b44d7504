# Control: the mean of the training images.


rule mean_training_image:
    input:
        recording="<results>/recordings/{subject}",
        embeddings=f"<results>/embeddings/{config['encoder']}",
        stimuli="<results>/stimuli",
    output:
        directory("<results>/predictions/mean_training_image/{subject}/{sessions}sessions/seed{seed}"),
    log:
        "<logs>/mean_training_image/{subject}_{sessions}sessions_seed{seed}.log",
    conda:
        "../../envs/decode.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        origin=study.registries["methods"]["mean_training_image"]["origin"],
        code=code_of("mean_training_image"),
    script:
        "../../scripts/mean_training_image.py"
