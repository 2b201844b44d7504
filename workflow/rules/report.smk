# Scores -> tables, figures and captions of the report.

from os.path import dirname


rule make_tables:
    """Write tables of scores at each budget, claims, disclosures of the methods, and provenance of the run."""
    input:
        scores=all_scores(),
        predictions=all_predictions(),
        split=f"<results>/splits/{config['split']}.json",
        stimuli="<results>/stimuli",
        features=rules.evaluate.input.features if len(study.test_sets) > 1 else [],
        permutations=(
            [f"<results>/permutations/{method}.parquet" for method in scored_methods()]
            if config["statistics"]["permutations"]
            else []
        ),
        others=scores_compared(),
        other_config=config_compared(),
        layouts=[in_repository(f"config/tables/{layout}.yaml") for layout in ("main", "subjects")],
        published=published_files(),
        claims=[in_repository("config/claims.yaml"), *map(relpath, plugins.files("methods", "claims.yaml"))],
    output:
        main=[
            report(
                f"<results>/tables/main_{budget.label}.html",
                caption="../report/main_table.rst",
                category="1 Scores",
                labels={
                    "content": "Table: all methods",
                    "trained on": budget.title,
                },
            )
            for budget in study.training_budgets
        ],
        subjects=[
            report(
                f"<results>/tables/subjects_{budget.label}.html",
                caption="../report/subjects_table.rst",
                category="1 Scores",
                labels={
                    "content": "Table: each subject",
                    "trained on": budget.title,
                },
            )
            for budget in study.training_budgets
        ],
        leaderboard=report(
            "<results>/tables/leaderboard.html",
            caption="../report/leaderboard.rst",
            category="1 Scores",
            labels={"content": "Leaderboard", "trained on": "the longest budget"},
        ),
        comparisons="<results>/tables/comparisons.csv",
        test_sets=(
            report(
                "<results>/tables/test_sets.html",
                caption="../report/test_sets.rst",
                category="1 Scores",
                labels={"content": "Table: each test set", "trained on": "the longest budget"},
            )
            if len(study.test_sets) > 1
            else []
        ),
        sources=(
            report(
                "<results>/tables/sources.html",
                caption="../report/sources.rst",
                category="1 Scores",
                labels={"content": "Table: by image source", "trained on": "the longest budget"},
            )
            if len(study.dataset.image_sources) > 1
            else []
        ),
        permutations=(
            report(
                "<results>/tables/permutations.html",
                caption="../report/permutations.rst",
                category="1 Scores",
                labels={"content": "Table: permutation tests", "trained on": "the longest budget"},
            )
            if config["statistics"]["permutations"]
            else []
        ),
        captions=(
            report(
                "<results>/tables/captions.html",
                caption="../report/captions.rst",
                category="1 Scores",
                labels={"content": "Table: captions", "trained on": "the longest budget"},
            )
            if study.reads("captions")
            else []
        ),
        claims=report(
            "<results>/tables/claims.html",
            caption="../report/claims.rst",
            category="1 Scores",
            labels={"content": "Checks and published findings", "trained on": "every budget"},
        ),
        disclosures=report(
            "<results>/tables/disclosures.html",
            caption="../report/disclosures.rst",
            category="3 Provenance",
            labels={"content": "How the reconstructions were made"},
        ),
        provenance=report(
            "<results>/tables/provenance.html",
            caption="../report/provenance.rst",
            category="3 Provenance",
            labels={"content": "What was run"},
        ),
        plain=collect(
            "<results>/tables/{table}.{suffix}",
            table=[
                *(f"{layout}_{budget}" for layout in ("main", "subjects") for budget in config["sessions"]),
                *("leaderboard", "claims", "disclosures", "provenance", "gaps"),
                *(["test_sets"] if len(study.test_sets) > 1 else []),
                *(["sources"] if len(study.dataset.image_sources) > 1 else []),
                *(["permutations"] if config["statistics"]["permutations"] else []),
                *(["captions"] if study.reads("captions") else []),
            ],
            suffix=["csv", "md", "tex"],
        ),
        gaps=report(
            "<results>/tables/gaps.html",
            caption="../report/gaps.rst",
            category="3 Provenance",
            labels={"content": "What is missing"},
        ),
        jobs="<results>/tables/jobs.csv",
        config="<results>/config.yaml",
    log:
        "<logs>/make_tables.log",
    benchmark:
        "<benchmarks>/make_tables.tsv"
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    threads: threads_of("light")
    resources:
        **needs("light"),
    params:
        study=study.fingerprint,
        data=study.dataset.label,  # for the captions of the report
        published=lambda w, input: dirname(input.published[0]),
        may_lack=["scores", "predictions", "permutations"],
        lacking=lacking(),
        logs=LOGS,
        jobs=LISTED,
        code=code_of("make_tables"),
    script:
        "../../scripts/make_tables.py"


rule make_figures:
    """Plot scores against sessions, for all subjects and each alone, grids of reconstructions, and the banner."""
    input:
        scores=all_scores(),
        predictions=all_predictions(),
        stimuli="<results>/stimuli",
        settings=in_repository("config/figures.yaml"),
    output:
        sessions=report(
            "<results>/figures/sessions.svg",
            caption="../report/sessions.rst",
            category="1 Scores",
            labels={"content": "Figure: score against sessions", "trained on": "every budget"},
        ),
        subjects=report(
            "<results>/figures/subjects.svg",
            caption="../report/subjects.rst",
            category="1 Scores",
            labels={"content": "Figure: each subject", "trained on": "the longest budget"},
        ),
        test_sets=(
            report(
                "<results>/figures/test_sets.svg",
                caption="../report/test_sets_figure.rst",
                category="1 Scores",
                labels={"content": "Figure: each test set", "trained on": "the longest budget"},
            )
            if len(study.test_sets) > 1
            else []
        ),
        grids=[
            report(
                f"<results>/figures/grid_{subject}.svg",
                caption="../report/grid.rst",
                category="2 Reconstructions",
                labels={"subject": subject},
            )
            for subject in study.subjects
        ],
        plain=collect(
            "<results>/figures/{figure}.png",
            figure=["sessions", "subjects", *(["test_sets"] if len(study.test_sets) > 1 else [])],
        ),
        grid_plain=collect("<results>/figures/grid_{subject}.png", subject=study.subjects),
        banner="<results>/figures/banner.png",
    log:
        "<logs>/make_figures.log",
    benchmark:
        "<benchmarks>/make_figures.tsv"
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    threads: threads_of("light")
    resources:
        **needs("light"),
    params:
        study=study.fingerprint,
        data=study.dataset.label,  # for the captions of the report
        may_lack=["scores", "predictions"],
        lacking=lacking(),
        code=code_of("make_figures"),
    script:
        "../../scripts/make_figures.py"
