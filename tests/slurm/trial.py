"""A working directory with a small study, and Snakemake in it, on the tests' cluster."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from cluster import Cluster

from fmri2img.devices import ALLOW_CPU
from fmri2img.training import checkpoint

REPOSITORY = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
PATIENCE = 900  # seconds for a scenario, on a slow machine that does other things as well


class Trial:
    """The study tests/slurm/study.yaml. site: keys on top of site.yaml; keys: on top of the study."""

    def __init__(self, folder: Path, cluster: Cluster, site: dict[str, Any] | None = None, **keys: Any) -> None:
        self.folder, self._cluster = folder, cluster
        folder.mkdir(exist_ok=True)
        for name in ("config", "resources", "slurm"):
            if not (folder / name).exists():
                (folder / name).symlink_to(REPOSITORY / name)
        if not (folder / "sleeper").exists():
            (folder / "sleeper").symlink_to(HERE / "sleeper")
        stated = yaml.safe_load((HERE / "site.yaml").read_text()) | (site or {})
        (folder / "site.yaml").write_text(yaml.safe_dump(stated))
        study = yaml.safe_load((HERE / "study.yaml").read_text()) | {"site": str(folder / "site.yaml")} | keys
        (folder / "study.yaml").write_text(yaml.safe_dump(study))

    def copy(self, folder: Path, site: dict[str, Any] | None = None, **keys: Any) -> "Trial":
        """The same study with what has been made so far, in another folder."""
        shutil.copytree(self.folder, folder, symlinks=True)
        shutil.rmtree(folder / "logs", ignore_errors=True)
        return Trial(folder, self._cluster, site, **keys)

    def start(self, *arguments: str, stand_in: bool = True) -> subprocess.Popen:
        """Snakemake on the cluster; what it prints goes to a file. stand_in: whether a CPU may stand in for a GPU."""
        environment = self._cluster.environment | {"PYTHONPATH": str(REPOSITORY / "scripts"), "OMP_NUM_THREADS": "1"}
        environment["PATH"] = f"{self._cluster.folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment |= {ALLOW_CPU: "1"} if stand_in else {}
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), *arguments]
        command += ["--profile", "slurm", "--slurm-init-seconds-before-status-checks", "3"]
        command += ["--configfile", "config/tiny.yaml", "study.yaml"]
        with open(self.folder / "printed.log", "w") as printed:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # pytest in the background ignores it
            )

    def run(self, *arguments: str, **options: Any) -> int:
        """Run Snakemake to its end; its exit status."""
        return self.start(*arguments, **options).wait(PATIENCE * 2)

    @property
    def printed(self) -> str:
        return (self.folder / "printed.log").read_text()

    def network(self, seed: int) -> str:
        """A network of the sleeper, as a target."""
        return f"results/trial/decoders/sleeper/subj01/1sessions/seed{seed}"

    def work(self, seed: int) -> Path:
        return self.folder / f"results/trial/training/sleeper/subj01/1sessions/seed{seed}"

    def log(self, seed: int) -> str:
        file = self.folder / f"logs/trial/finetune/sleeper/subj01/1sessions/seed{seed}.log"
        return file.read_text() if file.exists() else ""

    def step(self, seed: int) -> int:
        """The step of the newest checkpoint."""
        found = checkpoint.newest(self.work(seed))
        return int(found.name[-8:]) if found else 0

    def jobs(self, rule: str = "finetune") -> list[dict[str, str]]:
        """Slurm jobs of a rule in this folder, in order."""
        ours = [job for job in self._cluster.jobs() if job.get("WorkDir") == str(self.folder)]
        return [job for job in ours if job.get("Comment", "").startswith(f"rule_{rule}")]


def wait_for(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Wait until a condition holds; its value."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"no {what} in {seconds:g} s"
        time.sleep(0.3)
    return found
