"""Time and memory of a study's dry-run, and how they grow; run with PYTHONPATH=scripts from the repository.

The job graph of the study is built as it is, then with fewer subjects, seeds and methods, and with more seeds. How it
grows is the slope of the logarithm of processor time on that of the number of jobs, after the time for a single job is
subtracted: 1 is linear. Each is the run with the least processor time of three (--tries), because other work on the
machine slows all of them.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import yaml
from benchmark_table import growth

from fmri2img.methods.registry import read_methods
from fmri2img.paths import REPOSITORY

SINGLE, GROUP = re.compile(r"^rule \w+:", re.M), re.compile(r"Group job \w+ ")


class Measured(NamedTuple):
    jobs: int
    submissions: int
    seconds: float
    cpu_seconds: float
    peak_mb: float


def dry_run(folder: Path, configfiles: list[Path], *targets: str) -> Measured:
    """A dry-run with the SLURM profile in a folder where nothing is made yet."""
    command = [sys.executable, "-m", "snakemake", "-n", "--directory", str(folder), "--profile", "slurm"]
    command += [*targets, "--configfile", *map(str, configfiles)]
    output = folder / "dry-run.txt"
    began = time.perf_counter()
    with open(output, "w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, cwd=REPOSITORY)
        _, status, usage = os.wait4(process.pid, 0)
    seconds, text = time.perf_counter() - began, output.read_text()
    if status:
        sys.exit(text[-2000:])
    totals = re.findall(r"^total +(\d+)$", text, re.M)
    # The counts of local rules, which are printed alike, are of the report: a dozen.
    submissions = len(SINGLE.findall(text)) + len(GROUP.findall(text))
    cpu = usage.ru_utime + usage.ru_stime
    return Measured(int(totals[0]) if totals else 0, submissions, seconds, cpu, usage.ru_maxrss / 1024)


def variants(config: dict) -> dict[str, list[dict]]:
    """What is varied -> keys of the study with less and more of it, in ascending order."""
    entries, methods = read_methods(), config["methods"]

    def whole(chosen: list[str]) -> list[str]:
        """Without controls of methods that are left out."""
        return [name for name in chosen if entries[name].get("of") is None or entries[name]["of"] in chosen]

    halves = [whole(methods[: len(methods) // 4]), whole(methods[: len(methods) // 2]), methods]
    return {
        "subjects": [{"subjects": config["subjects"][:number]} for number in (1, 2, 4, 8)],
        "seeds": [{"seeds": list(range(number))} for number in (1, 2, 4, 8)],
        "methods": [{"methods": names} for names in halves],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configfile", type=Path, default=REPOSITORY / "config" / "paper.yaml")
    parser.add_argument("--whole-only", action="store_true", help="measure the study as it is, and nothing else")
    parser.add_argument("--tries", type=int, default=3)
    arguments = parser.parse_args()
    config = yaml.safe_load(arguments.configfile.read_text(encoding="utf-8"))
    print(f"{'':24}{'jobs':>7}{'submissions':>13}{'wall s':>9}{'CPU s':>8}{'MB':>6}")

    def measured(name: str, keys: dict, *targets: str) -> Measured:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder)
            for shared in ("config", "resources", "slurm"):
                (path / shared).symlink_to(REPOSITORY / shared)
            (path / "changed.yaml").write_text(yaml.safe_dump(keys))
            files = [arguments.configfile, path / "changed.yaml"]
            found = min(
                (dry_run(path, files, *targets) for _ in range(arguments.tries)), key=lambda one: one.cpu_seconds
            )
        print(
            f"{name:24}{found.jobs:7}{found.submissions:13}{found.seconds:9.1f}{found.cpu_seconds:8.1f}"
            f"{found.peak_mb:6.0f}",
            flush=True,
        )
        return found

    measured("whole study", {"study": config["study"]})
    if arguments.whole_only:
        return
    start = measured("one job", {"study": config["study"]}, f"results/{config['study']}/splits/shared1000.json")
    for what, changes in variants(config).items():
        found = [measured(f"{what}: {len(keys[what])}", keys) for keys in changes]
        jobs = [one.jobs for one in found]
        growth(
            "dry run of the paper's study",
            f"jobs, by {what}",
            jobs,
            [one.cpu_seconds - start.cpu_seconds for one in found],
        )


if __name__ == "__main__":
    main()
