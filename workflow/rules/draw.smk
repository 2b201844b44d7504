# Decoded -> Prediction: pictures or captions, by the drawing pipeline that a method's method.yaml names.
# generation/pipelines.yaml lists the pipelines.


rule draw:
    """Draw what a method decodes."""
    input:
        unpack(lambda w: drawn_from(w.method, w)),
    output:
        directory(f"<results>/predictions/{{method}}/{CELL}"),
    log:
        f"<logs>/draw/{{method}}/{CELL}.log",
    benchmark:
        f"<benchmarks>/draw/{{method}}/{CELL}.tsv"
    wildcard_constraints:
        method=one_of(study.drawn("draw")),
    priority: 1
    conda:
        "../../envs/models.yaml"
    threads: threads_of("draw")
    resources:
        **needs("draw"),
    params:
        function=lambda w: study.drawing(w.method)["function"],
        arrays=lambda w: study.drawing(w.method)["arrays"],
        settings=lambda w: study.drawing(w.method)["settings"],
        networks=lambda w: {role: network(name) for role, name in study.drawing(w.method)["networks"].items()},
        outputs=lambda w: study.registries["methods"][w.method]["outputs"],
        origin=lambda w: study.registries["methods"][w.method]["origin"],
        code=lambda w: code_of("draw", study.drawing(w.method)["function"]),
    script:
        "../../scripts/draw.py"


use rule draw as draw_light with:
    log:
        f"<logs>/draw_light/{{method}}/{CELL}.log",
    benchmark:
        f"<benchmarks>/draw_light/{{method}}/{CELL}.tsv"
    wildcard_constraints:
        method=one_of(study.drawn("light")),
    threads: threads_of("light")
    resources:
        **needs("light"),
