# Pictures -> betas: the encoding model of each subject, and maps of its scores for reconstructions.

if config["encoding"]["model"] == "banded_ridge":

    rule fit_encoding:
        """Fit voxel-wise banded ridge to a subject's training images of all sessions."""
        input:
            recording="<results>/recordings/{subject}",
            stimuli="<results>/stimuli",
            model=[path for name in study.encoding_networks for path in model_path(name)],
        output:
            model=directory("<results>/encoding/{subject}"),
            accuracy=directory("<results>/brain/stimuli/{subject}"),
        log:
            "<logs>/fit_encoding/{subject}.log",
        benchmark:
            "<benchmarks>/fit_encoding/{subject}.tsv"
        conda:
            "../../envs/models.yaml"
        threads: threads_of("features")
        resources:
            **needs("features"),
        params:
            encoding=config["encoding"],
            networks={name: study.records["backbones"][name] for name in study.encoding_networks},
            size=config["evaluation"]["size"],
            antialias=config["evaluation"]["antialias"],
            code=code_of("fit_encoding"),
        script:
            "../../scripts/fit_encoding.py"

else:

    rule import_encoding:
        """Import the voxels of a subject from the published encoding network."""
        input:
            recording="<results>/recordings/{subject}",
            stimuli="<results>/stimuli",
            model=model_path(config["encoding"]["model"]),
        output:
            model=directory("<results>/encoding/{subject}"),
            accuracy=directory("<results>/brain/stimuli/{subject}"),
        log:
            "<logs>/import_encoding/{subject}.log",
        conda:
            "../../envs/models.yaml"
        threads: threads_of("features")
        resources:
            **needs("features"),
        params:
            name=config["encoding"]["model"],
            record=study.records["backbones"][config["encoding"]["model"]],
            size=config["evaluation"]["size"],
            antialias=config["evaluation"]["antialias"],
            code=code_of("import_encoding"),
        script:
            "../../scripts/import_encoding.py"


rule make_brain_maps:
    """Plot brain correlation on each subject's brain, and tabulate it by region."""
    input:
        accuracy=there(collect("<results>/brain/stimuli/{subject}", subject=study.subjects)),
        methods=[f"<results>/brain/{method}" for method in scored_methods()],
        anatomy=there(collect("<results>/anatomy/{subject}", subject=study.subjects)),
    output:
        figures=[
            report(
                f"<results>/figures/brain_{subject}.svg",
                caption="../report/brain.rst",
                category="1 Scores",
                labels={"content": "Figure: brain correlation by voxel", "trained on": "the longest budget"},
            )
            for subject in study.subjects
        ],
        glass=[
            report(
                f"<results>/figures/brain_{subject}_mni.svg",
                caption="../report/brain.rst",
                category="1 Scores",
                labels={"content": "Figure: brain correlation on a glass brain", "trained on": "the longest budget"},
            )
            for subject in (study.subjects if "mni" in study.dataset.anatomy else [])
        ],
        plain=brain_figures(),
        table=report(
            "<results>/tables/brain.html",
            caption="../report/brain.rst",
            category="1 Scores",
            labels={"content": "Table: brain correlation by region", "trained on": "the longest budget"},
        ),
        plain_table=collect("<results>/tables/brain.{suffix}", suffix=["csv", "md", "tex"]),
    log:
        "<logs>/make_brain_maps.log",
    benchmark:
        "<benchmarks>/make_brain_maps.tsv"
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    threads: threads_of("light")
    resources:
        **needs("light"),
    params:
        study=study.fingerprint,
        may_lack=["accuracy", "methods", "anatomy"],
        code=code_of("make_brain_maps"),
    script:
        "../../scripts/make_brain_maps.py"
