"""The resting state of all subjects -> a Recording of each, without pictures."""

from fmri2img import job
from fmri2img.datasets.hcp.patterns import write_recording


def main(snakemake) -> None:
    params = snakemake.params
    for subject, path, output in zip(params.subjects, snakemake.input, snakemake.output, strict=True):
        write_recording(f"{params.pool}/{subject}", path, params.per_window, output)


if __name__ == "__main__":
    job.run(main)
