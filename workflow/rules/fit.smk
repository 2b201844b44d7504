# Recording and Embeddings -> a fitted decoder. Training and its results have priority, because the longest chain of jobs
# depends on them.

# Training may use several processes, so a shell command starts it; its settings are passed as JSON. Checkpoints stay in
# `work` until the run has succeeded, so that a killed run resumes. The command takes the shell's place (`exec`): a shell
# would end at the signal that makes it write a checkpoint, and its job with it.
TRAIN = (
    "mkdir -p {params.work} && printf '%s\n' {params.settings:q} > {params.work}/settings.json && "
    "exec {params.launch} {params.script:q} --config {params.work}/settings.json --output {output} "
    "--work {params.work} --code {params.code} --gpus {params.gpus} --job-log {log} > {log} 2>&1"
)


rule fit_linear:
    """Fit linear regressions from betas to targets; penalty and calibration come from held-out training images."""
    input:
        recording="<results>/recordings/{subject}",
        targets=lambda w: list(study.targets(w.decoder).values()),
    output:
        directory(f"<results>/decoders/{{decoder}}/{TRAINED}"),
    log:
        f"<logs>/fit_linear/{{decoder}}/{TRAINED}.log",
    benchmark:
        f"<benchmarks>/fit_linear/{{decoder}}/{TRAINED}.tsv"
    wildcard_constraints:
        decoder=one_of(study.decoders_with("linear")),
    group:
        "fits"
    conda:
        "../../envs/decode.yaml"
    threads: threads_of("fit")
    resources:
        **needs("fit", within="fits"),
    params:
        regressions=lambda w: study.regressions(w.decoder),
        targets=lambda w: list(study.targets(w.decoder)),
        code=code_of("fit_linear"),
    script:
        "../../scripts/fit_linear.py"


rule pretrain:
    """Pretrain one network on a pool of subjects, before it is fine-tuned on each subject that it has not seen."""
    input:
        recordings=lambda w: [
            f"<results>/recordings/{subject}" for subject in study.pretrainings[f"{w.decoder}/{w.pool}"].subjects
        ],
        targets=lambda w: flat(launch.inputs_of(study, w.decoder)),
        deepspeed=lambda w: deepspeed_of(w.decoder, "pretraining"),
    output:
        directory("<results>/pretrained/{decoder}/{pool}"),
    log:
        "<logs>/pretrain/{decoder}/{pool}.log",
    benchmark:
        "<benchmarks>/pretrain/{decoder}/{pool}.tsv"
    wildcard_constraints:
        decoder=one_of({pretraining.decoder for pretraining in study.pretrainings.values()}),
        pool=one_of({pretraining.pool for pretraining in study.pretrainings.values()}),
    priority: 2
    conda:
        "../../envs/train.yaml"
    threads: threads_of("train", launch.devices_of(study, "pretraining"))
    resources:
        **needs("train", launch.devices_of(study, "pretraining")),
    params:
        settings=lambda w: launch.pretraining_settings(study, study.pretrainings[f"{w.decoder}/{w.pool}"]),
        script=lambda wildcards, output: in_repository("scripts/train.py"),
        launch=lambda w, output, threads, resources: launch.launcher(
            study, w.decoder, "pretraining", threads, gpus_of(resources)
        ),
        # not tracked
        processes=lambda w: launch.devices(study, w.decoder, "pretraining").processes,
        work=in_results("<results>/training/{decoder}/{pool}"),
        gpus=gpus_requested,
        code=lambda w: code_of("train", study.decoders[w.decoder]["task"]["pretraining"]),
    shell:
        TRAIN


rule finetune:
    """Train all weights on the first sessions of one subject, from pretrained weights or from scratch."""
    input:
        recordings="<results>/recordings/{subject}",
        targets=lambda w: flat(launch.inputs_of(study, w.decoder)),
        pretrained=lambda w: pretrained_path(w.decoder, w.subject),
        deepspeed=lambda w: deepspeed_of(w.decoder, "finetuning"),
    output:
        directory(f"<results>/decoders/{{decoder}}/{TRAINED}"),
    log:
        f"<logs>/finetune/{{decoder}}/{TRAINED}.log",
    benchmark:
        f"<benchmarks>/finetune/{{decoder}}/{TRAINED}.tsv"
    wildcard_constraints:
        decoder=one_of(study.decoders_with("training")),
    priority: 1
    conda:
        "../../envs/train.yaml"
    threads: threads_of("train", launch.devices_of(study, "finetuning"))
    resources:
        **needs("train", launch.devices_of(study, "finetuning")),
    params:
        settings=lambda w: launch.finetuning_settings(study, w.decoder, w.subject, w.sessions, w.seed),
        script=lambda wildcards, output: in_repository("scripts/train.py"),
        launch=lambda w, output, threads, resources: launch.launcher(
            study, w.decoder, "finetuning", threads, gpus_of(resources)
        ),
        # not tracked
        processes=lambda w: launch.devices(study, w.decoder, "finetuning").processes,
        work=in_results(f"<results>/training/{{decoder}}/{TRAINED}"),
        gpus=gpus_requested,
        code=lambda w: code_of("train", study.decoders[w.decoder]["task"]["finetuning"]),
    shell:
        TRAIN


rule decode:
    """Decode the test trials of one test set with a fitted decoder."""
    input:
        decoder=lambda w: network_path(w.decoder, w),
        recording="<results>/recordings/{subject}",
        targets=lambda w: list(study.targets(w.decoder).values()),
    output:
        directory(f"<results>/decoded/{{decoder}}/{CELL}"),
    log:
        f"<logs>/decode/{{decoder}}/{CELL}.log",
    benchmark:
        f"<benchmarks>/decode/{{decoder}}/{CELL}.tsv"
    wildcard_constraints:
        decoder=one_of(study.decoders_with("linear", "training", "released")),
    priority: 1
    group:
        "cell"
    conda:
        "../../envs/train.yaml"
    threads: threads_of("decode")
    resources:
        **needs("decode", **in_cell),
    params:
        decode=lambda w: study.decoders[w.decoder]["decode"],
        targets=lambda w: list(study.targets(w.decoder)),
        settings=lambda w: study.section(w.decoder).get("decoding", {}),
        method=lambda w: w.decoder,
        origin=lambda w: study.decoders[w.decoder]["origin"],
        code=lambda w: code_of("decode", study.decoders[w.decoder]["decode"]),
    script:
        "../../scripts/decode.py"
