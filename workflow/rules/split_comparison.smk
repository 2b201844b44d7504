# Compare a study with a previously run one that differs from it only in the split.


rule compare_splits:
    """Compare each score with its value when the test images resemble no training image."""
    input:
        scores=all_scores(),
        others=scores_compared(),
        config=config_compared(),
    output:
        table=report(
            "<results>/tables/splits.html",
            caption="../report/splits.rst",
            category="1 Scores",
            labels={"content": "Table: scores on two splits", "trained on": "the longest budget"},
        ),
        figure=report(
            "<results>/figures/splits.svg",
            caption="../report/splits.rst",
            category="1 Scores",
            labels={"content": "Figure: scores on two splits", "trained on": "the longest budget"},
        ),
        plain=collect("<results>/tables/splits.{suffix}", suffix=["csv", "md", "tex"]),
        picture="<results>/figures/splits.png",
    log:
        "<logs>/compare_splits.log",
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    threads: threads_of("light")
    resources:
        **needs("light"),
    params:
        study=study.fingerprint,
        may_lack=["scores"],
        code=code_of("compare_splits"),
    script:
        "../../scripts/compare_splits.py"
