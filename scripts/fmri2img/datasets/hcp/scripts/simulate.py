"""Write the simulated resting state of all subjects."""

from pathlib import Path

from fmri2img import job
from fmri2img.datasets.hcp import simulator
from fmri2img.datasets.hcp.settings import Simulation


def main(snakemake) -> None:
    simulation = Simulation.read(snakemake.params.simulation, key="hcp.simulation")
    for number, path in enumerate(snakemake.output):
        simulator.simulate(path, simulation, Path(path).parent.name, number)


if __name__ == "__main__":
    job.run(main)
