# Reconstructions made elsewhere -> Predictions, scored like everybody's.

from fmri2img.datasets.nsd import layout

if study.recorded_brains:

    rule list_test_images:
        """The images that one subject is tested on, from what it was shown; no betas are needed."""
        input:
            split=f"<results>/splits/{config['split']}.json",
            responses=tree(layout.responses("{subject}")),
            design=tree(layout.EXPERIMENT_DESIGN),
            stimulus_info=tree(layout.STIMULUS_INFO),
        output:
            "<results>/test_images/{subject}.json",
        log:
            "<logs>/list_test_images/{subject}.log",
        conda:
            "../../envs/prepare.yaml"
        threads: 1
        resources:
            mem_mb=600,
            runtime=10,
        params:
            sessions=lambda w: study.available_sessions[w.subject],
            code=code_of("list_test_images"),
        script:
            "../../scripts/list_test_images.py"


rule import_submission:
    """One submitted prediction, checked against the images it must cover; refused in one line for each fault."""
    input:
        test_images="<results>/test_images/{subject}.json",
        files=submitted_files,
    output:
        directory(f"<results>/predictions/{{method}}/{CELL}"),
    log:
        f"<logs>/import_submission/{{method}}/{CELL}.log",
    benchmark:
        f"<benchmarks>/import_submission/{{method}}/{CELL}.tsv"
    wildcard_constraints:
        method=one_of(study.submissions),
    conda:
        "../../envs/models.yaml"
    threads: threads_of("light")
    resources:
        **needs("light"),
    params:
        record=lambda w: submitted(w).record(),
        tokens=[study.registries["backbones"][config["encoder"]][size] for size in ("tokens", "token_width")],
        code=code_of("import_submission"),
    script:
        "../../scripts/import_submission.py"
