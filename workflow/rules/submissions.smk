# Reconstructions made elsewhere -> Predictions, scored like all others.


rule import_submission:
    """Import one submitted prediction, or report each of its problems in one line."""
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
        found=lambda w: user_files.found(path for path in submitted_files(w) if not path.startswith("models/")),
        antialias=config["evaluation"]["antialias"],
        tokens=study.scored_tokens,
        aliases=study.dataset.record["id_aliases"],
        other_splits=study.other_splits,
        code=code_of("import_submission"),
    script:
        "../../scripts/import_submission.py"
