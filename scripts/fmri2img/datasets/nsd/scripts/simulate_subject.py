"""Write all files of one subject of the simulated NSD: anatomy, behaviour and the betas of all sessions."""

from fmri2img import job
from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.simulator import Simulation, simulate_subject


def main(snakemake) -> None:
    simulation = Simulation.from_config(snakemake.params.simulation)
    subject = snakemake.params.subject
    root = snakemake.output.responses.removesuffix(layout.responses(subject))
    simulate_subject(root, simulation, subject)


if __name__ == "__main__":
    job.run(main)
