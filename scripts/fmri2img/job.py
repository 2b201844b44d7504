"""What every script of a rule does first and last: output into the log, bad input told in one line, a quick end."""

import atexit
import gc
import logging
import os
import sys
import traceback
from typing import NoReturn

from fmri2img.errors import UserError


def start(snakemake) -> None:
    """Redirect stdout and stderr to `snakemake.log[0]`. (Snakemake itself sets OMP_NUM_THREADS to the rule's threads.)

    After this a UserError ends the job with its one line in the log and on the terminal, without a traceback; and the
    process ends by `leave`.
    """
    # Importing diffusers makes millions of objects that stay; by default the collector walks them again and again.
    gc.set_threshold(100_000)
    terminal = sys.stderr
    log = open(snakemake.log[0], "w", buffering=1, encoding="utf-8")  # noqa: SIM115  (lives as long as the job)
    sys.stdout = sys.stderr = log
    status = 0

    def report(kind, error, trace) -> None:
        nonlocal status
        status = 1
        if issubclass(kind, UserError):
            print(f"Error: {error}", file=log)
            print(f"Error: {error}", file=terminal)
        else:
            traceback.print_exception(kind, error, trace, file=log)
            print(f"Error in rule {snakemake.rule}: {kind.__name__}: {error} (see {snakemake.log[0]})", file=terminal)

    sys.excepthook = report
    atexit.register(lambda: leave(status))


def leave(status: int) -> NoReturn:
    """End the process at once, its files being closed.

    Taking apart an interpreter that holds diffusers and transformers takes it up to three seconds.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
