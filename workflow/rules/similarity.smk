# Embeddings -> similarity of test images to training images; with Scores -> its effect on the scores.


rule measure_similarity:
    """Compute the cosine of each test image with its nearest training image."""
    input:
        recording="<results>/recordings/{subject}",
        embeddings=f"<results>/embeddings/{config['encoder']}",
    output:
        "<results>/similarity/{subject}/{sessions}sessions.parquet",
    log:
        "<logs>/measure_similarity/{subject}_{sessions}sessions.log",
    group:
        "controls"
    conda:
        "../../envs/decode.yaml"
    threads: threads_of("light")
    resources:
        **needs("light", within="small"),
    params:
        code=code_of("measure_similarity"),
    script:
        "../../scripts/measure_similarity.py"


rule make_similarity:
    """Plot score against similarity: are images decoded well because similar ones are in the training set?"""
    input:
        scores=all_scores(),
        similarity=there(
            path
            for subject in study.subjects
            for path in collect(
                f"<results>/similarity/{subject}/{{sessions}}sessions.parquet", sessions=study.budgets(subject)
            )
        ),
    output:
        table=report(
            "<results>/tables/similarity.html",
            caption="../report/similarity.rst",
            category="1 Scores",
            labels={"content": "Table: score against similarity", "trained on": "the longest budget"},
        ),
        figure=report(
            "<results>/figures/similarity.svg",
            caption="../report/similarity.rst",
            category="1 Scores",
            labels={"content": "Figure: score against similarity", "trained on": "the longest budget"},
        ),
        plain=collect("<results>/tables/similarity.{suffix}", suffix=["csv", "md", "tex"]),
        picture="<results>/figures/similarity.png",
    log:
        "<logs>/make_similarity.log",
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    threads: threads_of("light")
    resources:
        **needs("light"),
    params:
        study=study.fingerprint,
        may_lack=["scores", "similarity"],
        code=code_of("make_similarity"),
    script:
        "../../scripts/make_similarity.py"
