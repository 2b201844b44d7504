"""torchrun without its report of a process that failed, which has said why itself.

`python -m fmri2img.training.torchrun` takes the arguments of torchrun.
"""

import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args, run


def main() -> int:
    try:
        run(parse_args(None))
    except ChildFailedError as failed:
        rank, first = failed.get_first_failure()
        if first.exitcode < 0:
            killed = f"it was killed by {first.signal_name()}, as a process is for its memory"
            print(f"Failed (process {rank}): {killed}", file=sys.stderr)
        return first.exitcode if first.exitcode > 0 else 1
    except SignalException as stopped:
        return 128 + stopped.sigval
    return 0


if __name__ == "__main__":
    sys.exit(main())
