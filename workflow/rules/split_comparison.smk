# A study beside another that differs from it in the split alone, which was run before.


rule compare_splits:
    """What is left of each score when the test images resemble no training image."""
    input:
        scores=all_scores(),
        others=[f"results/{config['compare_with']}/scores/{method}.parquet" for method in study.methods_compared()],
        config=f"results/{config['compare_with']}/config.yaml",
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
        code=code_of("compare_splits"),
    script:
        "../../scripts/compare_splits.py"
