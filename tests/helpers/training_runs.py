"""Train several configurations, one after the other, in the same processes; launched by torchrun in the tests.

Arguments: a JSON file with a list of [configuration, output, work].
"""

import json
import sys
from pathlib import Path

from accelerate.state import AcceleratorState

from fmri2img.training.loop import Interrupted, train

for config, output, work in json.loads(Path(sys.argv[1]).read_text()):
    AcceleratorState._reset_state()  # Accelerate allows one DeepSpeed configuration in the life of a process
    try:
        train(config, Path(output), Path(work))
    except Interrupted as stop:
        print(f"Interrupted: {stop}", flush=True)
