# Decoded -> Prediction: pictures or captions, by the drawing pipeline that a method's method.yaml names.
# generation/pipelines.yaml lists the pipelines. Several jobs may share the images of a cell (key `shards.draw`).


rule draw:
    """Draw what a method decodes."""
    input:
        unpack(lambda w: drawn_from(w.method, w)),
    output:
        shared("draw", f"<results>/predictions/{{method}}/{CELL}"),
    log:
        of_shard("draw", f"<logs>/draw/{{method}}/{CELL}") + ".log",
    benchmark:
        of_shard("draw", f"<benchmarks>/draw/{{method}}/{CELL}") + ".tsv"
    wildcard_constraints:
        method=one_of(study.drawn("draw")),
    priority: 1
    group:
        DRAWING_GROUP
    conda:
        "../../envs/models.yaml"
    threads: threads_of("draw")
    resources:
        **needs("draw", **in_drawing),
    params:
        function=lambda w: study.drawing(w.method)["function"],
        arrays=lambda w: study.drawing(w.method)["arrays"],
        settings=lambda w: study.drawing(w.method)["settings"],
        networks=lambda w: {role: drawing_network(name) for role, name in study.drawing(w.method)["networks"].items()},
        samples=lambda w: study.drawing(w.method)["samples"],
        outputs=lambda w: study.registries["methods"][w.method]["outputs"],
        origin=lambda w: study.registries["methods"][w.method]["origin"],
        shard=shard_of("draw"),
        code=lambda w: code_of("draw", study.drawing(w.method)["function"]),
    script:
        "../../scripts/draw.py"


use rule draw as draw_quickly with:
    output:
        directory(f"<results>/predictions/{{method}}/{CELL}"),
    log:
        f"<logs>/draw_quickly/{{method}}/{CELL}.log",
    benchmark:
        f"<benchmarks>/draw_quickly/{{method}}/{CELL}.tsv"
    wildcard_constraints:
        method=one_of(study.drawn("decode")),
    group:
        "cell"
    threads: threads_of("decode")
    resources:
        **needs("decode", **in_cell),


use rule draw as draw_light with:
    output:
        directory(f"<results>/predictions/{{method}}/{CELL}"),
    log:
        f"<logs>/draw_light/{{method}}/{CELL}.log",
    benchmark:
        f"<benchmarks>/draw_light/{{method}}/{CELL}.tsv"
    wildcard_constraints:
        method=one_of(study.drawn("light")),
    group:
        PICTURES_GROUP
    threads: threads_of("light")
    resources:
        **needs("light", **with_pictures),


if DRAWN_ALONE:

    rule join_predictions:
        """Join the shards of what a method draws."""
        input:
            shards_of("draw", f"<results>/predictions/{{method}}/{CELL}"),
        output:
            directory(f"<results>/predictions/{{method}}/{CELL}"),
        log:
            f"<logs>/join_predictions/{{method}}/{CELL}.log",
        benchmark:
            f"<benchmarks>/join_predictions/{{method}}/{CELL}.tsv"
        wildcard_constraints:
            method=one_of(study.drawn("draw")),
        group:
            PICTURES_GROUP
        conda:
            "../../envs/decode.yaml"
        threads: threads_of("light")
        resources:
            **needs("light", **with_pictures),
        params:
            code=code_of("join_predictions"),
        script:
            "../../scripts/join_predictions.py"
