"""Write everything of one subject of the simulated NSD: anatomy, behaviour and the betas of all sessions."""

from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.simulator import Simulation, simulate_subject
from fmri2img.job import start

start(snakemake)
simulation = Simulation.from_config(snakemake.params.simulation)
subject = snakemake.params.subject
root = snakemake.output.responses.removesuffix(layout.responses(subject))
simulate_subject(root, simulation, subject)
