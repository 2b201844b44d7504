"""Progress of a download: a bar on a terminal, a line every ten seconds in a log, and the bandwidth at the end."""

import time
from typing import TextIO

LINE_EVERY_S = 10.0


class Progress:
    """Counts bytes of one download; a context manager.

    name: what is downloaded; total: bytes; terminal: where to draw a bar, or None for lines on stdout only.
    """

    def __init__(self, name: str, total: int, terminal: TextIO | None = None) -> None:
        self.name, self.total = name, total
        self.done = self.resumed = 0
        self.started = self.spoken = time.monotonic()
        self.bar = _bar(terminal) if terminal is not None and terminal.isatty() else None

    def __enter__(self) -> "Progress":
        if self.bar:
            self.bar.start()
            self.task = self.bar.add_task(self.name, total=self.total)
        return self

    def __exit__(self, *error) -> None:
        if self.bar:
            self.bar.stop()

    def resume(self, n_bytes: int) -> None:
        """Count bytes of an earlier attempt, which do not enter the bandwidth."""
        self.resumed = n_bytes
        self.advance(n_bytes)

    def advance(self, n_bytes: int) -> None:
        self.done += n_bytes
        if self.bar:
            self.bar.update(self.task, completed=self.done)
        now = time.monotonic()
        if now - self.spoken >= LINE_EVERY_S:
            self.spoken = now
            share = 100 * self.done / max(1, self.total)
            print(f"{self.name}: {share:.0f} % of {self.total / 1e6:.1f} MB, {self.mb_per_s:.1f} MB/s", flush=True)

    @property
    def mb_per_s(self) -> float:
        """Mean bandwidth of this run, 10^6 bytes per second."""
        return (self.done - self.resumed) / 1e6 / max(1e-9, time.monotonic() - self.started)

    def summary(self) -> str:
        seconds = time.monotonic() - self.started
        kept = f", {self.resumed / 1e6:.1f} MB of it from an earlier attempt" if self.resumed else ""
        return f"{self.name}: {self.total / 1e6:.1f} MB in {seconds:.1f} s, {self.mb_per_s:.1f} MB/s{kept}"


def _bar(terminal: TextIO):
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    return Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(file=terminal),
        transient=True,
        redirect_stdout=False,  # lines for the log stay in the log
        redirect_stderr=False,
    )
