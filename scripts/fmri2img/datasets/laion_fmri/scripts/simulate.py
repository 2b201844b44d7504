"""Write the simulated LAION-fMRI: the files of all subjects, the pictures and what is derived from them."""

from fmri2img import job
from fmri2img.datasets.laion_fmri import simulator
from fmri2img.datasets.laion_fmri.settings import Simulation


def main(snakemake) -> None:
    simulator.simulate(snakemake.params.root, Simulation.read(snakemake.params.simulation, key="laion_fmri.simulation"))


if __name__ == "__main__":
    job.run(main)
