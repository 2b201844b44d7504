"""Write everything of the simulated NSD that belongs to no single subject."""

from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.simulator import Simulation, simulate_stimuli
from fmri2img.job import start

start(snakemake)
root = snakemake.output.design.removesuffix(layout.EXPERIMENT_DESIGN)
simulate_stimuli(root, Simulation.from_config(snakemake.params.simulation))
