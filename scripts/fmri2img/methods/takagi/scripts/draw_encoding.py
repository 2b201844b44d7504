"""Draw the figure of the encoding analysis, and write its numbers."""

from fmri2img import job
from fmri2img.artifacts.atomic import atomic_directory
from fmri2img.methods.takagi.scripts.encoding_figure import Result, combined, encoding_figure
from fmri2img.reporting.style import save_figure


def main(snakemake) -> None:
    params = snakemake.params
    results = [Result.open(subject, path) for subject, path in zip(params.subjects, snakemake.input.fits, strict=True)]
    with atomic_directory(snakemake.output[0]) as directory:
        save_figure(encoding_figure(results, params.confidence), directory / "figure", formats=("svg",))
        combined(results, params.confidence).round(4).to_csv(directory / "table.csv", index=False)


if __name__ == "__main__":
    job.run(main)
