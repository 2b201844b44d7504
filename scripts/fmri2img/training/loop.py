"""The training loop: the same for every method and any number of processes; it resumes after any interruption."""

import contextlib
import math
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from fmri2img.artifacts.atomic import atomic_directory, atomic_file
from fmri2img.errors import UserError
from fmri2img.training import checkpoint, distributed, finished
from fmri2img.training.averaging import Average
from fmri2img.training.backends import backend
from fmri2img.training.claim import Claim, Interrupted, claimed
from fmri2img.training.configuration import TrainingConfig
from fmri2img.training.log import Log
from fmri2img.training.processes import accelerator_for, autocast, seed_all
from fmri2img.training.record import save_record, training_record
from fmri2img.training.schedules import schedule
from fmri2img.training.task import Task, task_class, total_loss

COST = 50  # training goes on for at least this many times as long as a checkpoint took to write: 2 % of the time


def train(config: dict[str, Any], output: Path, work: Path, code: str | None = None) -> None:
    """Train the task that `config` (task, settings, training) describes, write the artifact `output` and remove `work`.

    work: folder of checkpoints and logs on a disk that all processes share; kept and resumed after any failure. One
    trainer at a time works in it (training.claim); what another one made of the same configuration, artifacts and code
    is not made again (training.finished). code: identifies the code; with it the finished artifact is kept in `work`.
    Raises UserError (bad configuration, full disk, a loss term or gradient that is not finite) and Interrupted.
    """
    for key in ("task", "settings", "training"):
        if key not in config:
            raise UserError(f"training configuration: key '{key}' is missing")
    training = TrainingConfig.read(config["training"], "training configuration", "training")
    config = {**config, "training": training.to_dict(), "code": code}
    with claimed(work) as claim:
        accelerator = accelerator_for(training)
        training.check_processes(accelerator.num_processes)
        seed_all(training.seed)
        task = task_class(config["task"])(config["settings"], training)
        config["sources"] = task.sources()
        made = accelerator.is_main_process and finished.found(config, output, work)
        if distributed.any_of(made, accelerator.device):
            return
        run = Run(accelerator, task, config, training, work, claim)
        run.resume()
        try:
            run.steps()
            run.finish(output)
        finally:
            run.close()


class Run:
    """One training: its processes, its current step and its record."""

    def __init__(
        self, accelerator, task: Task, config: dict[str, Any], training: TrainingConfig, work: Path, claim: Claim
    ) -> None:
        self._task, self._config, self._training, self._work, self._claim = task, config, training, work, claim
        self._device, self._main = accelerator.device, accelerator.is_main_process
        self._rank, self._world = accelerator.process_index, accelerator.num_processes
        self._backend = backend(accelerator, training, task.module, task.parameter_groups(training.weight_decay))
        self._average = Average(task.module, training.ema) if training.ema else None
        whole = task.steps_per_epoch(training.batch)
        self._epoch_steps = min(whole, training.epoch_steps or whole)
        self._total = training.epochs * self._epoch_steps
        self._schedule = schedule(training, self._epoch_steps, self._world)
        self._log = Log(work, self._total, training.log_every) if self._main else None
        self._step = 0  # optimiser steps done
        self._seconds = 0.0  # spent in earlier parts of an interrupted run; at the end, in total
        self._validation: dict[str, float] = {}
        self._writer = Writer()
        self._terminated = False
        signal.signal(signal.SIGTERM, self._on_sigterm)

    def _on_sigterm(self, number, frame) -> None:
        self._terminated = True

    def resume(self) -> None:
        """Resume from the newest complete checkpoint, if there is one."""
        self._work.mkdir(parents=True, exist_ok=True)
        folder = checkpoint.newest(self._work)
        if folder is not None:
            with checkpoint.reading(folder):
                self._restore(folder)
        if self._log:
            self._log.start(self._step)

    def _restore(self, folder: Path) -> None:
        state = checkpoint.load_state(folder, self._config, self._world)
        self._backend.load(folder, state["backend"])
        if self._average:
            self._average.load(folder)
        self._step, self._seconds = state["step"], state["seconds"]
        self._validation = state["validation"]
        if self._log:
            self._log.restore(folder / checkpoint.TABLE)

    def steps(self) -> None:
        """Train to the end, or until an error or a signal."""
        accumulation = self._training.accumulation
        start = last_saved = before = time.monotonic()
        earlier = self._seconds
        batches = _ahead(self._inputs, self._step * accumulation, self._total * accumulation)
        self._task.module.train()
        while self._step < self._total:
            self._backend.set_rates(*self._schedule(self._step))
            row = {"step": self._step, "epoch": self._step // self._epoch_steps}
            due = max(self._training.checkpoint_minutes * 60 or math.inf, COST * self._writer.seconds)
            save = not self._writer.is_busy and time.monotonic() - last_saved > due
            # the main process's clock decides for all processes, and a signal to any process stops all of them
            flags = [self._main and save, self._terminated, self._claim.lost]
            values, (save, stop, lost) = self._optimise(batches, [float(flag) for flag in flags])
            if lost:
                raise Interrupted(f"another trainer took {self._work} over; this one stood still for too long")
            now = time.monotonic()
            row |= values | {"samples_per_second": self._training.batch / (now - before), "peak_memory_mb": _peak_mb()}
            before = now
            self._step += 1
            if self._average:
                self._average.update()
                if self._step == self._total:
                    self._average.apply()
            if self._validation_due():
                self._validation = self._validate()
                row |= {f"validation_{key}": value for key, value in self._validation.items()}
                before = time.monotonic()
            if self._log:
                self._log.add(row)
            self._seconds = earlier + time.monotonic() - start
            every = self._training.checkpoint_steps
            if (save or stop or (every and self._step % every == 0)) and self._step < self._total:
                self._save()
                last_saved = before = time.monotonic()
            self._writer.check()
            if stop and self._step < self._total:
                self._writer.wait()
                distributed.barrier()  # a process that ends makes torchrun end the one that writes
                raise Interrupted(f"stopped by SIGTERM after step {self._step} of {self._total}; rerun to resume")
        batches.close()

    def _inputs(self, number: int) -> dict[str, Any]:
        """This process's share of batch `number`."""
        accumulation = self._training.accumulation
        epoch = number // accumulation // self._epoch_steps
        batch = self._training.batch // accumulation
        return self._task.inputs(number, epoch, batch, self._rank, self._world, self._device)

    def _optimise(self, batches: Iterator, flags: list[float]) -> tuple[dict[str, float], list[bool]]:
        """Take one optimiser step. Returns its values for the table, and for each flag whether any process set it."""
        accumulation = self._training.accumulation
        means = None
        for part in range(accumulation):
            inputs = next(batches)
            with autocast(self._training, self._device):
                terms = self._backend.wrapped(inputs)
            loss = total_loss(terms)
            self._backend.backward(loss, last=part + 1 == accumulation)
            values = torch.stack([*(term.detach().float() for term in terms.values()), loss.detach()]) / accumulation
            means = values if means is None else means + values
        shared = distributed.mean(torch.cat([means, torch.tensor(flags, device=means.device)]))
        norm = self._backend.gradient_norm()
        # the only transfer from the device per step
        *numbers, norm = [*shared.tolist(), None] if norm is None else torch.cat([shared, norm[None]]).tolist()
        values = dict(zip([*(f"loss_{name}" for name in terms), "loss"], numbers, strict=False))
        for name, value in values.items():
            self._check_finite(value, "the loss" if name == "loss" else f"loss term '{name[5:]}'")
        rates = {"learning_rate": self._backend.learning_rate}
        if norm is not None and not self._backend.may_skip:
            self._check_finite(norm, "the norm of the gradient")
        norm = self._backend.step(norm)
        if not self._backend.may_skip:
            self._check_finite(norm, "the norm of the gradient")
        return values | rates | {"gradient_norm": norm}, [flag > 0 for flag in numbers[len(values) :]]

    def _check_finite(self, value: float, what: str) -> None:
        if math.isfinite(value):
            return
        self._writer.wait()
        good = checkpoint.newest(self._work)
        kept = f"the last good checkpoint is {good}" if good else "there is no checkpoint yet"
        raise UserError(
            f"step {self._step}: {what} is {value}; training stops, {kept}; "
            "lower training.learning_rate or use training.precision 'fp32', with a new work folder"
        )

    def _validation_due(self) -> bool:
        every = self._training.validate_every_epochs * self._epoch_steps
        return self._step == self._total or bool(every and self._step % every == 0)

    def _validate(self) -> dict[str, float]:
        module = self._task.module.eval()
        with torch.no_grad(), autocast(self._training, self._device):
            metrics = self._task.validate(module, self._device)
        module.train()
        return {key: float(value) for key, value in metrics.items()}

    def _save(self) -> None:
        """Copy what a checkpoint holds; it is written while the training goes on, and the previous one is kept."""
        self._writer.wait()
        started = time.monotonic()
        folder = checkpoint.path_of(self._work, self._step).with_suffix(".part")
        if self._main:
            checkpoint.partial(self._work, self._step)
        distributed.barrier()
        state, write_tensors = self._backend.save(folder)
        if not self._main:
            return
        step, table = self._step, self._log.table()
        average = self._average.copied() if self._average else None
        record = {
            "step": step,
            "seconds": self._seconds,
            "validation": self._validation,
            "processes": self._world,
            "config": self._config,
            "backend": state,
        }

        def write() -> None:
            write_tensors()
            checkpoint.save_state(folder, record)
            if average is not None:
                Average.save(average, folder)
            with checkpoint.disk_errors(folder):
                table.to_parquet(folder / checkpoint.TABLE, index=False)
            if not self._claim.lost:
                checkpoint.publish(self._work, step)

        self._writer.start(write, started)

    def finish(self, output: Path) -> None:
        """Write the artifact atomically, then remove checkpoints and records."""
        self._writer.wait()
        if self._main:
            run = {
                "config": self._config,
                "steps": self._total,
                "seconds": self._seconds,
                "processes": self._world,
                "validation": self._validation,
            }
            record = training_record(run, self._device)
            target = finished.kept(self._work) if self._config["code"] else output
            with atomic_directory(target) as folder, checkpoint.disk_errors(output):
                self._task.save(folder, record)
                save_record(folder / finished.RECORD, record)
                self._log.table().to_parquet(folder / checkpoint.TABLE, index=False)
                self._log.close()
                if self._log.events.exists():
                    shutil.copytree(self._log.events, folder / checkpoint.EVENTS)
            checkpoint.discard(self._work)
            if target != output:
                finished.publish(self._work, output)
            self._log = None
        distributed.barrier()

    def close(self) -> None:
        """Keep the table of a stopped run, including the last step, for inspection. Hides no error that stopped it."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with contextlib.suppress(Exception):
            self._writer.wait()
        if self._log:
            self._log.close()
            with contextlib.suppress(Exception), atomic_file(self._work / checkpoint.TABLE) as path:
                self._log.table().to_parquet(path, index=False)


class Writer:
    """Writes one checkpoint at a time, in a thread. seconds: how long the last one took, its copy included."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future | None = None
        self.seconds = 0.0

    def start(self, write: Callable[[], None], started: float) -> None:
        """Write in the thread. started: when the copy was begun (time.monotonic)."""

        def timed() -> None:
            write()
            self.seconds = time.monotonic() - started

        self._pending = self._pool.submit(timed)

    @property
    def is_busy(self) -> bool:
        return self._pending is not None and not self._pending.done()

    def check(self) -> None:
        """Raise the error of a checkpoint that could not be written."""
        if self._pending and self._pending.done():
            self.wait()

    def wait(self) -> None:
        """Wait until the last checkpoint has been written. Raises its error, once."""
        pending, self._pending = self._pending, None
        if pending:
            pending.result()


def _ahead(make: Callable[[int], Any], first: int, end: int) -> Iterator[Any]:
    """make(first), ..., make(end - 1); each is made in a thread while the previous one is used."""

    def quietly(number: int) -> Any:
        with torch.no_grad():
            return make(number)

    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(quietly, first) if first < end else None
        for number in range(first, end):
            value = pending.result()
            if number + 1 < end:
                pending = pool.submit(quietly, number + 1)
            yield value


def _peak_mb() -> float:
    """Peak memory of the device, in MB: allocated on the GPU, or resident if there is no GPU."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    unit = 1 if sys.platform == "darwin" else 2**10  # of ru_maxrss, in bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
