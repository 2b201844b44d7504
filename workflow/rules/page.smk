# Scores, tables and pictures -> one self-contained page, which works offline.

from importlib.metadata import version
from os.path import dirname, relpath

from fmri2img.paths import REPOSITORY


rule make_page:
    """Write leaderboard, charts, claims, every test image, cost and provenance into one HTML file."""
    input:
        scores=all_scores(),
        predictions=all_predictions(),
        stimuli="<results>/stimuli",
        leaderboard="<results>/tables/leaderboard.csv",
        claims="<results>/tables/claims.csv",
        disclosures="<results>/tables/disclosures.csv",
        provenance="<results>/tables/provenance.csv",
        gaps="<results>/tables/gaps.csv",
        config="<results>/config.yaml",
        similarity=rules.make_similarity.input.similarity if study.dataset.has_recordings else [],
        effects=if_there("<results>/tables/similarity.csv") if study.dataset.has_recordings else [],
        splits=if_there("<results>/tables/splits.csv") if config["compare_with"] else [],
        test_sets="<results>/tables/test_sets.csv" if len(study.test_sets) > 1 else [],
        sources="<results>/tables/sources.csv" if len(study.dataset.image_sources) > 1 else [],
        permutations="<results>/tables/permutations.csv" if config["statistics"]["permutations"] else [],
        brain=there(brain_figures()),
        analyses=there([analysis_path(name) for name in study.analyses]),
        settings=in_repository("config/figures.yaml"),
        published=published_files(),
        templates=[
            in_repository(f"scripts/fmri2img/reporting/page/{name}")
            for name in ("page.html", "page.css", "page.js", "leaderboard.js", "pictures.js")
        ],
    output:
        "<results>/page.html",
    log:
        "<logs>/make_page.log",
    benchmark:
        "<benchmarks>/make_page.tsv"
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    threads: threads_of("light")
    resources:
        **needs("light"),
    params:
        benchmarks=in_results("<results>/benchmarks"),
        published=lambda w, input: dirname(input.published[0]),
        may_lack=["scores", "predictions", "similarity", "effects", "splits", "brain", "analyses"],
        lacking=lacking(),
        analyses=analyses_made(),
        study=study.fingerprint,
        code=code_of("make_page"),
    script:
        "../../scripts/make_page.py"


rule make_crate:
    """Describe the run as an RO-Crate (Workflow Run Crate): the contents of its folder, and a copy of the workflow."""
    input:
        page=rules.make_page.output[0],
        tables=["<results>/config.yaml", *rules.make_tables.output.plain, "<results>/tables/jobs.csv"],
        made=[
            *there(rules.make_figures.output.plain),
            *all_scores(),
            *all_predictions(),
            *there(map(analysis_path, study.analyses)),
        ],
        provenance="<results>/tables/provenance.csv",
        stimuli="<results>/stimuli",
        citation=in_repository("CITATION.cff"),
        workflow=[
            relpath(path)
            for folder in (REPOSITORY / "workflow", study.dataset.folder)
            for path in sorted(folder.rglob("*"))
            if path.suffix in (".smk", ".yaml", ".rst") or path.name == "Snakefile"
        ],
    output:
        metadata="<results>/ro-crate-metadata.json",
        workflow=directory("<results>/workflow"),
    log:
        "<logs>/make_crate.log",
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    threads: threads_of("light")
    resources:
        **needs("light"),
    params:
        study=study.fingerprint,
        snakemake=version("snakemake"),
        may_lack=["made"],
        lacking=lacking(),
        code=code_of("make_crate"),
    script:
        "../../scripts/make_crate.py"
