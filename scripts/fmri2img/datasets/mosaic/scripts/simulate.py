"""Write the simulated MOSAIC: parcels, tables, lists, pictures, and every subject's betas."""

from pathlib import Path

from fmri2img import job
from fmri2img.datasets.mosaic import layout, simulator
from fmri2img.datasets.mosaic.settings import Simulation


def main(snakemake) -> None:
    root = Path(snakemake.output.parcels).parents[len(Path(layout.PARCELS).parts) - 1]
    simulation = Simulation.read(snakemake.params.simulation, key="mosaic.simulation")
    simulator.simulate(root, snakemake.output.pictures, simulation)


if __name__ == "__main__":
    job.run(main)
