"""Write the simulated GOD: pictures, their lists, and every subject's responses in both file formats."""

from pathlib import Path

from fmri2img import job
from fmri2img.datasets.god import simulator
from fmri2img.datasets.god.settings import Simulation


def main(snakemake) -> None:
    root = Path(snakemake.output.images).parent
    simulator.simulate(root, Simulation.read(snakemake.params.simulation, key="god.simulation"))


if __name__ == "__main__":
    job.run(main)
