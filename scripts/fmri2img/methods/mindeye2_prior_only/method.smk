# Decoded without a brain: image tokens that MindEye2's prior draws from its null brain tokens.


rule decode_without_brain:
    """Image tokens of the test images, from the network and the prior of MindEye2's decoder alone."""
    input:
        decoder=lambda w: network_path(study.registries["methods"]["mindeye2_unrefined"]["decoder"], w),
        recording="<results>/recordings/{subject}",
        targets=list(study.targets("mindeye2").values()),
    output:
        directory(f"<results>/decoded/mindeye2_prior_only/{CELL}"),
    log:
        f"<logs>/decode_without_brain/{CELL}.log",
    benchmark:
        f"<benchmarks>/decode_without_brain/{CELL}.tsv"
    priority: 1
    group:
        "cell"
    conda:
        str(REPOSITORY / "envs/train.yaml")
    threads: threads_of("decode")
    resources:
        **needs("decode", within="cell", minutes=lambda w: CELL_MINUTES["mindeye2_prior_only"]),
    params:
        decode="fmri2img.methods.mindeye2.decode:decode_without_brain",
        targets=list(study.targets("mindeye2")),
        settings=config["mindeye2"]["decoding"],
        method="mindeye2_prior_only",
        origin="control",
        code=code_of("decode", "fmri2img.methods.mindeye2.decode"),
    script:
        str(REPOSITORY / "scripts/decode.py")
