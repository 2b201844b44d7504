"""Write the files of the simulated NSD that are common to all subjects."""

from fmri2img import job
from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.simulator import Simulation, simulate_stimuli


def main(snakemake) -> None:
    root = snakemake.output.design.removesuffix(layout.EXPERIMENT_DESIGN)
    simulate_stimuli(root, Simulation.from_config(snakemake.params.simulation))


if __name__ == "__main__":
    job.run(main)
