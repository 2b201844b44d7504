"""Write one subject's files of the simulated NSD-Imagery and NSD-Synthetic."""

from fmri2img import job
from fmri2img.datasets.nsd.simulator import Simulation, simulate_transfer


def main(snakemake) -> None:
    params = snakemake.params
    simulate_transfer(params.root, Simulation.from_config(params.simulation), params.subject, params.experiments)


if __name__ == "__main__":
    job.run(main)
