"""Write the files of the simulated NSD-Imagery and NSD-Synthetic that are common to all subjects, and all pictures."""

from fmri2img import job
from fmri2img.datasets.nsd.simulator import Simulation, simulate_transfer_stimuli


def main(snakemake) -> None:
    for experiment in snakemake.params.experiments:
        simulate_transfer_stimuli(
            snakemake.params.root, Simulation.from_config(snakemake.params.simulation), experiment
        )


if __name__ == "__main__":
    job.run(main)
