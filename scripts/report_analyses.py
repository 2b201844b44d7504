"""A page for each analysis of the study: its figure, what it shows, and its numbers."""

from fmri2img import job
from fmri2img.artifacts.atomic import atomic_file
from fmri2img.reporting.analyses import shown_analyses
from fmri2img.study import Study


def main(snakemake) -> None:
    study = Study(snakemake.config)
    shown = shown_analyses(study.analyses, snakemake.params.analyses)
    for analysis, target in zip(shown, snakemake.output, strict=True):
        with atomic_file(target) as temporary:
            temporary.write_text(analysis.html(), encoding="utf-8")


if __name__ == "__main__":
    job.run(main)
