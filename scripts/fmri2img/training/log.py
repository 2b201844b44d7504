"""The records of a training: a table of every step, TensorBoard events, and a bar or lines on the console."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

from fmri2img.training import checkpoint


class Log:
    """Records of the main process.

    Columns of the table: step (0-based), epoch, loss, loss_<term>, learning_rate, gradient_norm (before
    clipping), samples_per_second, peak_memory_mb, and validation_<metric> in the rows after which the task was
    validated. The table is saved inside each checkpoint, so that a resumed run neither repeats nor misses a step.
    """

    def __init__(self, work: Path, total: int, every: int) -> None:
        self._rows: list[dict[str, Any]] = []
        self._total, self._every = total, every
        self.events = work / checkpoint.EVENTS
        self._events: SummaryWriter | None = None
        self._bar: Progress | None = None

    def restore(self, table: Path) -> None:
        """Take over the table of a checkpoint that is resumed."""
        self._rows = pd.read_parquet(table).to_dict("records")

    def start(self, step: int) -> None:
        """Begin at `step`."""
        # purge_step hides the events that an interrupted run wrote after the checkpoint
        self._events = SummaryWriter(str(self.events), purge_step=step)
        console = Console(file=sys.stderr)
        if console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=console)
            self._bar.add_task("training", total=self._total, completed=step)
            self._bar.start()
        self.say(f"training from step {step} of {self._total}")

    def add(self, row: dict[str, Any]) -> None:
        """Record one step."""
        self._rows.append(row)
        step = row["step"]
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=step + 1, description=f"loss {row['loss']:.4f}")
        validated = any(key.startswith("validation_") for key in row)
        if not (validated or step % self._every == 0 or step + 1 == self._total):
            return
        with self._without_events():
            for key, value in row.items() if self._events else ():
                if key not in ("step", "epoch"):
                    named = key.replace("_", "/", 1) if key.startswith(("loss_", "val")) else key
                    self._events.add_scalar(named, value, step)
        shown = [k for k in row if k.startswith(("loss", "val"))] + [
            "learning_rate",
            "gradient_norm",
            "samples_per_second",
        ]
        self.say(f"step {step + 1}/{self._total} " + " ".join(f"{key} {row[key]:.4g}" for key in shown))

    def say(self, line: str) -> None:
        """Print a line, above the bar on a terminal."""
        if self._bar is None:
            print(line, flush=True)

    def table(self) -> pd.DataFrame:
        """All steps so far; the events are flushed to disk."""
        with self._without_events():
            if self._events:
                self._events.flush()
        return pd.DataFrame(self._rows)

    def close(self) -> None:
        """Stop."""
        if self._bar:
            self._bar.stop()
        with self._without_events():
            if self._events:
                self._events.close()
        self._events = None

    @contextmanager
    def _without_events(self) -> Iterator[None]:
        """Go on without TensorBoard's events where they cannot be written: they must not end a training, nor hide why
        one ended."""
        try:
            yield
        except Exception as error:
            self._events = None
            self.say(f"no more TensorBoard events: {type(error).__name__}: {error}")
