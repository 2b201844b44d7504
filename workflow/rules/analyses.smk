# Analyses of method folders, which rules of these folders make -> a page of the report for each.


rule report_analyses:
    """Check the figure and the table of each analysis of the study, and write them as a page of the report."""
    input:
        analyses=there(map(analysis_path, study.analyses)),
    output:
        [
            report(
                f"<results>/analyses/{name}.html",
                caption="../report/analysis.rst",
                category="4 Analyses",
                labels={"content": entry["title"]},
            )
            for name, entry in study.analyses.items()
        ],
    log:
        "<logs>/report_analyses.log",
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    threads: threads_of("light")
    resources:
        **needs("light"),
    params:
        study=study.fingerprint,
        may_lack=["analyses"],
        analyses=analyses_made(),
        code=code_of("report_analyses"),
    script:
        "../../scripts/report_analyses.py"
