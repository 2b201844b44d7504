"""List the region masks of a simulated subject, as acquisition lists those of a real one."""

from fmri2img import job
from fmri2img.datasets.laion_fmri.regions import list_regions


def main(snakemake) -> None:
    list_regions(snakemake.wildcards.subject, snakemake.params.root)


if __name__ == "__main__":
    job.run(main)
