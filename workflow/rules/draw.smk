# Decoded -> Prediction. There is one rule for each drawing pipeline; a method's method.yaml names the one that it uses.


rule draw:
    """Draw pictures from image tokens with unCLIP, and keep the retrieval vectors."""
    input:
        decoded=lambda w: decoded_path(w.method, w),
        model=model_path(config["generator"]) + model_path(config["autoencoder"]),
    output:
        directory(f"<results>/predictions/{{method}}/{CELL}"),
    log:
        f"<logs>/draw/{{method}}/{CELL}.log",
    benchmark:
        f"<benchmarks>/draw/{{method}}/{CELL}.tsv"
    wildcard_constraints:
        method=one_of(study.drawn_by("unclip")),
    priority: 1
    conda:
        "../../envs/models.yaml"
    threads: threads_of("draw")
    resources:
        **needs("draw"),
    params:
        generator=network(config["generator"]),
        autoencoder=network(config["autoencoder"]),
        generation=config["generation"],
        outputs=lambda w: study.registries["methods"][w.method]["outputs"],
        code=code_of("draw"),
    script:
        "../../scripts/draw.py"


rule retrieve:
    """Keep the retrieval vectors of a decoder whose pictures are not drawn."""
    input:
        decoded=lambda w: decoded_path(w.method, w),
    output:
        directory(f"<results>/predictions/{{method}}/{CELL}"),
    log:
        f"<logs>/retrieve/{{method}}/{CELL}.log",
    wildcard_constraints:
        method=one_of(study.drawn_by("retrieval")),
    conda:
        "../../envs/decode.yaml"
    threads: threads_of("light")
    resources:
        **needs("light"),
    params:
        code=code_of("retrieve"),
    script:
        "../../scripts/retrieve.py"


rule draw_latents:
    """Draw blurry pictures: the autoencoder decodes the latents of a low-level head."""
    input:
        decoded=lambda w: decoded_path(w.method, w),
        model=lambda w: model_path(study.drawing_network(w.method)),
    output:
        directory(f"<results>/predictions/{{method}}/{CELL}"),
    log:
        f"<logs>/draw_latents/{{method}}/{CELL}.log",
    benchmark:
        f"<benchmarks>/draw_latents/{{method}}/{CELL}.tsv"
    wildcard_constraints:
        method=one_of(study.drawn_by("latents")),
    priority: 1
    conda:
        "../../envs/models.yaml"
    threads: threads_of("draw")
    resources:
        **needs("draw"),
    params:
        autoencoder=lambda w: network(study.drawing_network(w.method)),
        code=code_of("draw_latents"),
    script:
        "../../scripts/draw_latents.py"


rule refine:
    """Redraw pictures, conditioned on their captions (image to image)."""
    input:
        unrefined=lambda w: taken_path(w.method, "unrefined", w),
        captions=lambda w: captions_path(w.method, w),
        model=[path for role in study.refinement_networks.values() for path in model_path(role)],
    output:
        directory(f"<results>/predictions/{{method}}/{CELL}"),
    log:
        f"<logs>/refine/{{method}}/{CELL}.log",
    benchmark:
        f"<benchmarks>/refine/{{method}}/{CELL}.tsv"
    wildcard_constraints:
        method=one_of(study.drawn_by("refine")),
    priority: 1
    conda:
        "../../envs/models.yaml"
    threads: threads_of("draw")
    resources:
        **needs("draw"),
    params:
        networks={role: network(name) for role, name in study.refinement_networks.items()},
        refinement={key: value for key, value in config["refinement"].items() if key != "refined_weight"},
        code=code_of("refine"),
    script:
        "../../scripts/refine.py"


rule blend:
    """Blend refined pictures with a share of the blurry ones."""
    input:
        refined=lambda w: taken_path(w.method, "refined", w),
        blurry=lambda w: taken_path(w.method, "blurry", w),
    output:
        directory(f"<results>/predictions/{{method}}/{CELL}"),
    log:
        f"<logs>/blend/{{method}}/{CELL}.log",
    benchmark:
        f"<benchmarks>/blend/{{method}}/{CELL}.tsv"
    wildcard_constraints:
        method=one_of(study.drawn_by("blend")),
    priority: 1
    conda:
        "../../envs/models.yaml"
    threads: threads_of("light")
    resources:
        **needs("light"),
    params:
        refined_weight=config["refinement"]["refined_weight"],
        code=code_of("blend"),
    script:
        "../../scripts/blend.py"


rule draw_captions:
    """Draw pictures from the true captions of all test images (text to image)."""
    input:
        stimuli="<results>/stimuli",
        split=f"<results>/splits/{config['split']}.json",
        model=[path for role in study.refinement_networks.values() for path in model_path(role)],
    output:
        directory(f"<results>/predictions/{{method}}/{CELL}"),
    log:
        f"<logs>/draw_captions/{{method}}/{CELL}.log",
    benchmark:
        f"<benchmarks>/draw_captions/{{method}}/{CELL}.tsv"
    wildcard_constraints:
        method=one_of(study.drawn_by("captions")),
    conda:
        "../../envs/models.yaml"
    threads: threads_of("draw")
    resources:
        **needs("draw"),
    params:
        networks={role: network(name) for role, name in study.refinement_networks.items()},
        refinement={key: config["refinement"][key] for key in ("steps", "guidance", "batch", "negative_prompt")},
        origin=lambda w: study.registries["methods"][w.method]["origin"],
        code=code_of("draw_captions"),
    script:
        "../../scripts/draw_captions.py"
