# Recording and Embeddings -> a fitted decoder, and the tokens it decodes for the test images. Training goes first where
# there is a choice, then what is made of it: the longest chain of jobs hangs on it.


rule fit_ridge:
    """Linear regression from betas to image tokens; penalty and calibration from held-out training images."""
    input:
        recording="<results>/recordings/{subject}",
        embeddings=f"<results>/embeddings/{config['encoder']}",
    output:
        decoder=directory("<results>/decoders/ridge/{subject}/{sessions}sessions/seed{seed}"),
        decoded=directory("<results>/decoded/ridge/{subject}/{sessions}sessions/seed{seed}"),
    log:
        "<logs>/fit_ridge/{subject}_{sessions}sessions_seed{seed}.log",
    benchmark:
        "<benchmarks>/fit_ridge/{subject}_{sessions}sessions_seed{seed}.tsv"
    conda:
        "../../envs/decode.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=120,
    params:
        alphas=config["ridge"]["alphas"],
        folds=config["ridge"]["folds"],
        origin=study.registries["methods"]["ridge"]["origin"],
        code=code_of("fit_ridge"),
    script:
        "../../scripts/fit_ridge.py"


rule pretrain:
    """One network on all other subjects, before it is fine-tuned on the one it has not seen."""
    input:
        recordings=lambda w: [f"<results>/recordings/{subject}" for subject in study.pretraining_subjects(w.subject)],
        targets=training_targets(),
    output:
        directory("<results>/pretrained/{method}/without_{subject}"),
    log:
        "<logs>/pretrain/{method}_without_{subject}.log",
    benchmark:
        "<benchmarks>/pretrain/{method}_without_{subject}.tsv"
    wildcard_constraints:
        method="|".join(study.having("training")),
    priority: 2
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=240,
    params:
        settings=pretraining_settings,
        script=lambda wildcards, output: TRAINER,
        launch=launcher("pretraining"),
        work=in_results("<results>/training/{method}/without_{subject}"),
        code=code_of("train", "fmri2img.methods.mindeye2.task"),
    shell:
        TRAIN


rule finetune:
    """All weights on the first sessions of one subject, from pretrained ones or from scratch."""
    input:
        recordings="<results>/recordings/{subject}",
        targets=training_targets(),
        pretrained=pretrained_path,
    output:
        directory("<results>/decoders/{method}/{subject}/{sessions}sessions/seed{seed}"),
    log:
        "<logs>/finetune/{method}_{subject}_{sessions}sessions_seed{seed}.log",
    benchmark:
        "<benchmarks>/finetune/{method}_{subject}_{sessions}sessions_seed{seed}.tsv"
    wildcard_constraints:
        method="|".join(study.having("training")),
    priority: 1
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=240,
    params:
        settings=finetuning_settings,
        script=lambda wildcards, output: TRAINER,
        launch=launcher("finetuning"),
        work=in_results("<results>/training/{method}/{subject}/{sessions}sessions/seed{seed}"),
        code=code_of("train", "fmri2img.methods.mindeye2.task"),
    shell:
        TRAIN


rule import_mindeye2:
    """A published network, in the form that `decode` reads; refused when a weight is missing, unknown or misshapen."""
    input:
        checkpoint=lambda w: released_network(w).inputs(),
        recording="<results>/recordings/{subject}",
    output:
        directory("<results>/decoders/{method}/{subject}/{sessions}sessions/released"),
    log:
        "<logs>/import_mindeye2/{method}_{subject}_{sessions}sessions.log",
    benchmark:
        "<benchmarks>/import_mindeye2/{method}_{subject}_{sessions}sessions.tsv"
    wildcard_constraints:
        method="|".join(study.having("released")),
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=24000,
        runtime=60,
    params:
        script=lambda wildcards, output: IMPORTER,
        file=lambda w: next(iter(released_network(w).record["files"])),
        others=lambda w: [subject for subject in study.available_sessions if subject != w.subject],
        code=code_of("import_mindeye2"),
    shell:
        "python {params.script:q} {input.checkpoint:q}/{params.file:q} --subjects {wildcards.subject} "
        "--pretrained-on {params.others} --recording {input.recording:q} --sessions {wildcards.sessions} "
        "--output {output:q} > {log} 2>&1"


rule decode:
    """Image tokens, retrieval vectors and low-level latents of the test trials."""
    input:
        decoder=network_path,
        recording="<results>/recordings/{subject}",
        embeddings=f"<results>/embeddings/{config['encoder']}",
    output:
        directory("<results>/decoded/{method}/{subject}/{sessions}sessions/seed{seed}"),
    log:
        "<logs>/decode/{method}_{subject}_{sessions}sessions_seed{seed}.log",
    benchmark:
        "<benchmarks>/decode/{method}_{subject}_{sessions}sessions_seed{seed}.tsv"
    wildcard_constraints:
        method="|".join(study.having("training") + study.having("released")),
    priority: 1
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=60,
    params:
        decoding=config["mindeye2"]["decoding"],
        method=lambda w: w.method,
        brain=True,
        origin=lambda w: study.registries["methods"][w.method]["origin"],
        code=code_of("decode_mindeye2"),
    script:
        "../../scripts/decode_mindeye2.py"
