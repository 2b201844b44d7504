"""Train a decoder: `torchrun --nproc_per_node 4 scripts/train.py --config config.json --output DIR --work DIR`.

Plain `python scripts/train.py ...` trains in one process. The configuration names the task and holds its settings
(fmri2img.training.task). --output is written atomically at the end; --work holds checkpoints and logs: start the same
command again after any interruption and it resumes. A second trainer of the same --work waits for the first one. On
SIGTERM it writes a checkpoint, prints "Interrupted: ..." and ends with status 143; a bad configuration, a GPU that is
not there or too small, or a loss that is not finite ends with status 1 and one line, "Error: ...".
"""

import argparse
import gc
import os
import sys
import traceback
from pathlib import Path

from fmri2img import job_record, known_errors, liveness
from fmri2img.job import enable_plugins, leave, stay_offline


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="training configuration (JSON)")
    parser.add_argument("--output", type=Path, required=True, help="folder of the trained decoder")
    parser.add_argument("--work", type=Path, required=True, help="folder of checkpoints, removed at the end")
    parser.add_argument("--code", help="what identifies the code; with it a finished decoder is kept in --work, too")
    # Not --log: torchrun, which reads the script's options too, takes it for the beginning of one of its own.
    parser.add_argument(
        "--job-log", type=Path, dest="log", help="the job's log, next to which it records where and with what it ran"
    )
    parser.add_argument("--gpus", type=int, default=0, help="GPUs of each node that must be there (default: 0)")
    arguments = parser.parse_args()

    rank = os.environ.get("RANK", "0")
    process = "" if rank == "0" else f" (process {rank})"
    if arguments.log and rank == "0":
        job_record.began(arguments.log)
    liveness.follow()
    stay_offline()
    gc.disable()
    from fmri2img.artifacts.tables import read_json
    from fmri2img.devices import check_gpus
    from fmri2img.training.distributed import leave_group
    from fmri2img.training.loop import Interrupted, train

    gc.freeze()  # torch's million permanent objects need not be scanned again and again
    gc.enable()

    config: dict = {}
    try:
        check_gpus(arguments.gpus)
        config = read_json(arguments.config)
        enable_plugins(config)
        train(config, arguments.output, arguments.work, arguments.code)
        leave_group()
    except Interrupted as stop:
        print(f"Interrupted{process}: {stop}", file=sys.stderr, flush=True)
        return 143
    except BaseException as error:  # without a wait for threads, which may hang
        less = known_errors.less_memory_of_training(config.get("stage"))
        found = known_errors.reported(error, less, process)
        if found is None or found.again:
            traceback.print_exc()
        if found is not None:
            print(found, file=sys.stderr, flush=True)
        return 1
    if arguments.log and rank == "0":
        job_record.succeeded(arguments.log)
    return 0


if __name__ == "__main__":
    leave(main())
