"""Pictures, captions and tables of events -> Stimuli and the split of what is held out."""

from fmri2img import job
from fmri2img.datasets.own_scans.settings import Settings
from fmri2img.datasets.own_scans.stimuli import write_stimuli


def main(snakemake) -> None:
    params = snakemake.params
    settings = Settings.read(params.settings, key="own_scans")
    split = write_stimuli(settings, params.subjects, snakemake.output.stimuli)
    print(f"{split.description}, of {len(params.subjects)} subjects")
    split.save(snakemake.output.split)


if __name__ == "__main__":
    job.run(main)
