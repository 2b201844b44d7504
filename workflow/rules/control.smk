# Controls are functions. Some are made from training images and stimuli, some from what another method made; both kinds
# make a Prediction, or a Decoded that is drawn as a decoder's is.


def control_params(wildcard):
    """Parameters of a rule that makes a control, which bears the name of this wildcard."""

    def of(key):
        return lambda w: study.registries["methods"][w[wildcard]]["control"][key]

    return {
        "method": lambda w: w[wildcard],
        "function": of("function"),
        "of": of("of"),
        "makes": of("makes"),
        "origin": lambda w: study.registries["methods"][w[wildcard]]["origin"],
        "captioner": config["captioner"],
        "code": lambda w: code_of("control", of("function")(w)),
    }


rule control:
    """Made from images, captions or responses, or from what another method made."""
    input:
        unpack(lambda w: control_inputs(w.method, w)),
    output:
        directory(f"<results>/predictions/{{method}}/{CELL}"),
    log:
        f"<logs>/control/{{method}}/{CELL}.log",
    wildcard_constraints:
        method=one_of(study.controls("predictions")),
    conda:
        "../../envs/decode.yaml"
    threads: threads_of("light")
    resources:
        **needs("light"),
    params:
        **control_params("method"),
    script:
        "../../scripts/control.py"


use rule control as decode_control with:
    input:
        unpack(lambda w: control_inputs(w.decoder, w)),
    output:
        directory(f"<results>/decoded/{{decoder}}/{CELL}"),
    log:
        f"<logs>/decode_control/{{decoder}}/{CELL}.log",
    wildcard_constraints:
        decoder=one_of(study.controls("decoded")),
    params:
        **control_params("decoder"),
