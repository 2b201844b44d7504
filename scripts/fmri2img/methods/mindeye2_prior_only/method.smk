# Decoded without a brain: image tokens that MindEye2's prior draws from its null brain tokens.


use rule decode as decode_without_brain with:
    input:
        decoder=lambda w: network_path(study.registries["methods"]["mindeye2_unrefined"]["decoder"], w),
        recording="<results>/recordings/{subject}",
        targets=embeddings_of([config["encoder"]]),
    output:
        directory(f"<results>/decoded/mindeye2_prior_only/{CELL}"),
    log:
        f"<logs>/decode_without_brain/{CELL}.log",
    benchmark:
        f"<benchmarks>/decode_without_brain/{CELL}.tsv"
    params:
        decode="fmri2img.methods.mindeye2.decode:decode_without_brain",
        settings=config["mindeye2"]["decoding"],
        method="mindeye2_prior_only",
        origin="control",
        code=code_of("decode", "fmri2img.methods.mindeye2.decode"),
