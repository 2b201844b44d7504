# Control: what MindEye2 draws without a brain, from the tokens its prior samples under its null brain embedding.


decoder = study.registries["methods"]["mindeye2_prior_only"]["of"]


use rule decode as decode_without_brain with:
    input:
        decoder=f"<results>/decoders/{decoder}/{{subject}}/{{sessions}}sessions/seed{{seed}}",
        recording="<results>/recordings/{subject}",
        embeddings=f"<results>/embeddings/{config['encoder']}",
    output:
        directory("<results>/decoded/mindeye2_prior_only/{subject}/{sessions}sessions/seed{seed}"),
    log:
        "<logs>/decode_without_brain/{subject}_{sessions}sessions_seed{seed}.log",
    benchmark:
        "<benchmarks>/decode_without_brain/{subject}_{sessions}sessions_seed{seed}.tsv"
    params:
        method="mindeye2_prior_only",
        origin=study.registries["methods"]["mindeye2_prior_only"]["origin"],
        brain=False,


use rule reconstruct as mindeye2_prior_only with:
    input:
        decoded=rules.decode_without_brain.output[0],
        model=model_path(config["generator"]) + model_path(config["autoencoder"]),
    output:
        directory("<results>/predictions/mindeye2_prior_only/{subject}/{sessions}sessions/seed{seed}"),
    log:
        "<logs>/mindeye2_prior_only/{subject}_{sessions}sessions_seed{seed}.log",
    benchmark:
        "<benchmarks>/mindeye2_prior_only/{subject}_{sessions}sessions_seed{seed}.tsv"
