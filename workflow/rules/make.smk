# Controls and simple decoders are functions in a method's folder. They make a Prediction, or a Decoded to draw from,
# from recordings, embeddings and stimuli, or from the output of another method.


rule make_prediction:
    """Make a Prediction with a method's function."""
    input:
        unpack(lambda w: made_from(w.method, w)),
    output:
        directory(f"<results>/predictions/{{method}}/{CELL}"),
    log:
        f"<logs>/make_prediction/{{method}}/{CELL}.log",
    wildcard_constraints:
        method=one_of(study.made_by_functions("predictions", of_others=False)),
    group:
        "controls"
    conda:
        "../../envs/decode.yaml"
    threads: threads_of("light")
    resources:
        **needs("light", within="small"),
    params:
        **function_params("method"),
    script:
        "../../scripts/make.py"


use rule make_prediction as make_from_prediction with:
    log:
        f"<logs>/make_from_prediction/{{method}}/{CELL}.log",
    wildcard_constraints:
        method=one_of(study.made_by_functions("predictions", of_others=True)),
    group:
        PICTURES_GROUP
    resources:
        **needs("light", **with_pictures),


use rule make_prediction as make_decoded with:
    input:
        unpack(lambda w: made_from(w.decoder, w)),
    output:
        directory(f"<results>/decoded/{{decoder}}/{CELL}"),
    log:
        f"<logs>/make_decoded/{{decoder}}/{CELL}.log",
    wildcard_constraints:
        decoder=one_of(study.made_by_functions("decoded")),
    group:
        "cell"
    resources:
        **needs("light", **in_cell),
    params:
        **function_params("decoder"),
