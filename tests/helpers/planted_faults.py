"""Jobs of a finished study, repeated one at a time with a fault: killed, without disk space, refused, given bad files.

A job is repeated from its record (<log>.json, see fmri2img.job) in a folder of its own, in which its inputs are links
to those of the study. It runs in a fork of a server that has imported the libraries, so a repetition takes little more
than its own work. What it prints and how it ends is that of a job under Snakemake.
"""

import atexit
import ctypes
import importlib
import json
import multiprocessing
import os
import random
import re
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from fmri2img.integrity import RECORD

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@dataclass
class Fault:
    """kind: one of FAULTS; place: what the fault was planted in, once it is known."""

    kind: str
    place: str = ""
    bytes: int | None = None
    seconds: float | None = None


@dataclass
class Outcome:
    """How a repetition ended: exit status (negative: the signal), what it printed, output file -> bytes."""

    status: int
    said: str
    made: dict[str, bytes] = field(repr=False)
    seconds: float


class Job:
    """A recorded job of a study, and how to repeat it. script: that its rule runs."""

    holds_times = False  # in what it makes

    def __init__(self, study: Path, record: Path, script: Path) -> None:
        self.record, self.script = record, script
        found = json.loads(record.read_text(encoding="utf-8"))
        self._begin(study, found["rule"], found["input"]["values"], found["output"]["values"])

    def _begin(self, study: Path, rule: str, inputs: list[str], outputs: list[str]) -> None:
        self.study, self.rule, self.outputs = study, rule, outputs
        self.inputs = [path for path in inputs if not path.startswith((os.sep, os.pardir))]
        self._undisturbed: Outcome | None = None
        self._timed: set[str] = set()

    def prepare(self, folder: Path) -> None:
        """A folder next to the study, with links to the job's inputs in the study, and nothing else."""
        assert folder.parent == self.study.parent  # inputs in the repository have relative paths
        records = [Path(path).with_name(f".{Path(path).name}.{RECORD}") for path in self.inputs]
        for path in (*self.inputs, *(record for record in records if (self.study / record).exists())):
            if not (folder / path).exists():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).symlink_to(self.study / path)
        for path in self.outputs:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "job.log").touch()

    def repeat(self, folder: Path, fault: Fault | None = None) -> Outcome:
        """Run the job in a prepared folder."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["fmri2img.preloaded"])
        process = context.Process(target=_perform, args=(self, folder, fault))
        begun = time.monotonic()
        process.start()
        process.join(fault.seconds if fault and fault.seconds is not None else None)
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            process.join()
        took = time.monotonic() - begun
        return Outcome(process.exitcode, (folder / "job.log").read_text(), self.made(folder), took)

    def undisturbed(self, prepared: Callable[[], Path]) -> "Outcome":
        """How it ends without a fault. prepared: makes the folder anew."""
        if self._undisturbed is None:
            once = self.repeat(prepared())
            assert once.status == 0, once.said
            if self.holds_times:  # in files that differ between two repetitions
                again = self.repeat(prepared())
                self._timed = {name for name, content in once.made.items() if again.made.get(name) != content}
            self._undisturbed = replace(once, made=self._without_times(once.made))
        return self._undisturbed

    def run(self) -> None:
        """In the repetition's process and folder: do the job, and end as it does under Snakemake."""
        sys.path.insert(0, str(self.script.parent))
        from fmri2img import job

        recorded = job.read_job(self.record)
        recorded.log[0] = "job.log"
        module = importlib.import_module(self.script.stem)
        try:
            job.start(recorded)
            module.main(recorded)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        atexit._run_exitfuncs()

    def _without_times(self, made: dict[str, bytes]) -> dict[str, bytes]:
        return {name: b"" if name in self._timed else content for name, content in made.items()}

    def made(self, folder: Path) -> dict[str, bytes]:
        """Output file -> bytes; none of a file that holds times."""
        found = {}
        for path in self.outputs:
            whole = folder / path
            for file in sorted(whole.rglob("*")) if whole.is_dir() else [whole]:
                if file.is_file() and "tfevents" not in file.name:  # its name holds a time
                    found[str(file.relative_to(folder))] = file.read_bytes()
        return self._without_times(found)

    def files_read(self) -> list[Path]:
        """Files of the study below the job's inputs, relative to it."""
        found = []
        for path in self.inputs:
            whole = self.study / path
            found += [file for file in whole.rglob("*") if file.is_file()] if whole.is_dir() else [whole]
        return sorted(file.relative_to(self.study) for file in found if file.name != ".snakemake_timestamp")


class Training(Job):
    """A training, which a shell starts. settings, code: parameters of its rule. Some steps of it suffice."""

    holds_times = True

    def __init__(self, study: Path, rule: str, inputs: list[str], output: str, settings: str, code: str) -> None:
        config = json.loads(settings)
        config["training"] |= {"epochs": 1, "epoch_steps": 6, "checkpoint_steps": 1, "warmup_epochs": 0.5}
        self.settings, self.code = json.dumps(config), code
        self._begin(study, rule, inputs, [output])

    def run(self) -> None:
        sys.path.insert(0, str(SCRIPTS))
        import train
        from fmri2img import job

        Path("settings.json").write_text(self.settings)
        options = {"config": "settings.json", "output": self.outputs[0], "work": "work", "code": self.code}
        sys.argv = ["train.py", *(part for name, value in options.items() for part in (f"--{name}", value))]
        job.leave(train.main())


def _perform(job: Job, folder: Path, fault: Fault | None) -> None:
    """In the forked process: become the job, with what the operating system refuses it."""
    os.chdir(folder)
    with open("job.log", "a") as terminal:
        os.dup2(terminal.fileno(), 1)
        os.dup2(terminal.fileno(), 2)
    if fault and fault.bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.bytes, resource.RLIM_INFINITY))
    if fault and fault.kind == "read-only folder" and os.geteuid() == 0:
        _obey_permissions()
    job.run()


def _obey_permissions() -> None:
    """Give up what lets root write to a folder that nobody may write to (CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH)."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable capabilities, two words each
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(header, sets) == 0
    sets[0] &= ~0b110
    assert libc.capset(header, sets) == 0


FAULTS = ("killed", "disk full", "read-only folder", "truncated input", "empty input", "input of another subject")
ROOM = 8192  # bytes that a job with a full disk can write to each file, so that its log can tell


def plant(kind: str, job: Job, folder: Path, undisturbed: Outcome, chance: random.Random) -> Fault | None:
    """Plant a fault in a prepared folder at a random place or moment; None where the job has no place for it."""
    if kind == "killed":
        return Fault(kind, seconds=chance.uniform(0, undisturbed.seconds))
    if kind == "disk full":
        largest = max(map(len, undisturbed.made.values()))
        return Fault(kind, bytes=chance.randrange(ROOM, largest)) if largest > ROOM + 1 else None
    if kind == "read-only folder":
        for path in job.outputs:
            (folder / path).parent.chmod(0o555)
        return Fault(kind, str(Path(job.outputs[0]).parent))
    files = [file for file in job.files_read() if (job.study / file).stat().st_size]
    if kind == "input of another subject":
        files = [file for file in files if other_subject(job.study, file)]
    if not files:
        return None
    file = chance.choice(files)
    content = (
        job.study / (other_subject(job.study, file) if kind == "input of another subject" else file)
    ).read_bytes()
    if kind == "truncated input":
        content = content[: chance.randrange(1, len(content))] if len(content) > 1 else b""
    _own_copy(folder, file).write_bytes(b"" if kind == "empty input" else content)
    return Fault(kind, str(file))


def other_subject(study: Path, file: Path) -> Path | None:
    """The file of the same name of another subject, if there is one with other content."""
    for found in re.findall(r"subj0\d", str(file)):
        for number in range(1, 9):
            other = Path(str(file).replace(found, f"subj0{number}"))
            if (
                other != file
                and (study / other).is_file()
                and (study / other).read_bytes() != (study / file).read_bytes()
            ):
                return other
    return None


def _own_copy(folder: Path, file: Path) -> Path:
    """Turn the links that lead to a file into folders with links to the rest, and remove its own."""
    for part in [*reversed(file.parents)][1:]:
        link = folder / part
        if link.is_symlink():
            whole = link.resolve()
            link.unlink()
            link.mkdir()
            for inner in whole.iterdir():
                (link / inner.name).symlink_to(inner)
    (folder / file).unlink()
    return folder / file


def lift(fault: Fault, job: Job, folder: Path) -> None:
    """Undo what `plant` did to the folder, as a user does; what the job left there stays."""
    if fault.kind == "read-only folder":
        for path in job.outputs:
            (folder / path).parent.chmod(0o755)
    elif fault.place:
        (folder / fault.place).unlink()
        (folder / fault.place).symlink_to(job.study / fault.place)


def harm(outcome: Outcome, undisturbed: Outcome, fault: Fault, job: Job) -> str:
    """What is wrong with how a job met a fault; "" if it is as it must be.

    It does its work all the same, bit for bit; or nothing of what it makes stands except whole and right outputs, and,
    unless it was killed, its last words are one line that names the cause.
    """
    if outcome.status == 0:
        return (
            "" if outcome.made == undisturbed.made else f"it made something else: {_differences(outcome, undisturbed)}"
        )
    for path in job.outputs:
        found, right = ({n: c for n, c in one.made.items() if _below(n, path)} for one in (outcome, undisturbed))
        if found and found != right:
            return f"{path} stands, and is not what it must be"
    if fault.kind == "killed" and outcome.status < 0:
        return ""
    last = (outcome.said.strip().splitlines() or [""])[-1]
    if "Traceback" in outcome.said or not last.startswith("Error: "):
        return f"status {outcome.status} without one line: ...{outcome.said[-600:]}"
    cause = {"disk full": "the disk is full", "read-only folder": "cannot be written"}.get(fault.kind)
    named = [cause] if cause else [Path(fault.place).name, str(Path(fault.place).parent)]
    return "" if any(name in last for name in named) else f"the message does not name the cause: {last}"


def _below(name: str, path: str) -> bool:
    return name == path or name.startswith(f"{path}/")


def _differences(one: Outcome, other: Outcome) -> list[str]:
    return [name for name in one.made.keys() | other.made.keys() if one.made.get(name) != other.made.get(name)]
