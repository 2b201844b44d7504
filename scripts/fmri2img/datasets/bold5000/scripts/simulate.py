"""Write the simulated BOLD5000: pictures, lists, labels, and every subject's betas."""

from pathlib import Path

from fmri2img import job
from fmri2img.datasets.bold5000 import simulator
from fmri2img.datasets.bold5000.settings import Simulation


def main(snakemake) -> None:
    root = Path(snakemake.output.stimuli).parent
    simulator.simulate(root, Simulation.read(snakemake.params.simulation, key="bold5000.simulation"))


if __name__ == "__main__":
    job.run(main)
