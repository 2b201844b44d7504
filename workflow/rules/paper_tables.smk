# The papers' tables and figures in their own layout, next to the scores of this study. This is not part of the default
# target; run `snakemake paper_tables`.

from os.path import dirname, relpath

from fmri2img.paths import REPOSITORY

PAPER_LAYOUTS = sorted((REPOSITORY / "config" / "paper_tables").glob("table*.yaml"))


rule paper_tables:
    """Tables 1 to 11 and Figures 5 to 8 of MindEye2, published next to ours; all quoted numbers by split."""
    input:
        scores=all_scores(),
        layouts=[relpath(layout) for layout in PAPER_LAYOUTS],
        figures=in_repository("config/paper_tables/figures.yaml"),
        published=[relpath(path) for path in sorted((REPOSITORY / "config" / "published").iterdir())],
    output:
        tables=[
            report(
                f"<results>/paper/{layout.stem}.html",
                caption="../report/paper_table.rst",
                category="4 Next to the papers",
                labels={"content": f"MindEye2 {layout.stem}"},
            )
            for layout in PAPER_LAYOUTS
        ],
        figures=[
            report(
                f"<results>/paper/{figure}.svg",
                caption="../report/paper_figure.rst",
                category="4 Next to the papers",
                labels={"content": f"MindEye2 {figure}"},
            )
            for figure in ("figure05", "figure06", "figure07", "figure08")
        ],
        quoted=[
            report(
                f"<results>/paper/quoted_{split}.html",
                caption="../report/quoted.rst",
                category="4 Next to the papers",
                labels={"content": f"Published numbers, {split}"},
            )
            for split in study.dataset.splits
        ],
        plain=collect(
            "<results>/paper/{table}.{suffix}",
            table=[
                *(layout.stem for layout in PAPER_LAYOUTS),
                *(f"quoted_{split}" for split in study.dataset.splits),
            ],
            suffix=["csv", "md", "tex"],
        ),
        pictures=collect("<results>/paper/figure0{number}.png", number=[5, 6, 7, 8]),
    log:
        "<logs>/paper_tables.log",
    benchmark:
        "<benchmarks>/paper_tables.tsv"
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    threads: threads_of("light")
    resources:
        **needs("light"),
    params:
        published=lambda w, input: dirname(input.published[0]),
        study=study.fingerprint,
        may_lack=["scores"],
        code=code_of("paper_tables"),
    script:
        "../../scripts/paper_tables.py"
