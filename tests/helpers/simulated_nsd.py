"""A tiny simulated NSD for tests: three subjects of 4, 3 and 4 sessions, written in about two seconds."""

from fmri2img.datasets.nsd.simulator import Simulation, simulate_stimuli, simulate_subject

CONFIGURATION = {
    "seed": 5,
    "stimuli": 480,
    "image_size": 48,
    "trials_per_run": [11, 9],
    "subjects": {
        "subj01": {"sessions": 4, "dims": [13, 15, 11], "ncsnr": 0.6},
        "subj02": {"sessions": 3, "dims": [12, 16, 11], "ncsnr": 0.5},
        "subj05": {"sessions": 4, "dims": [14, 13, 12], "ncsnr": 0.5},
    },
}


def write_tree(root, configuration=CONFIGURATION):
    """Write the whole tree below `root` and return it."""
    simulation = Simulation.from_config(configuration)
    simulate_stimuli(root, simulation)
    for subject in simulation.subjects:
        simulate_subject(root, simulation, subject)
    return root
