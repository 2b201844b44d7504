"""Run the demo study, write its report, and print its summary, after an undisturbed run with wall time and peak memory.

The memory is that of Snakemake and all its jobs: the sum of their proportional set sizes, which count once what
processes share.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

from fmri2img import runs
from fmri2img.artifacts.scores import read_scores
from fmri2img.artifacts.tables import write_json
from fmri2img.methods.conformance import check_expected, expected_scores

RESULTS = Path("results/demo")


def peak_memory(process: psutil.Process, stop: threading.Event, peak: list[int]) -> None:
    """Sample the process tree every five seconds (it takes 20 ms for each large process); peak[0] becomes the largest
    sum in bytes."""
    while not stop.wait(5):
        total = 0
        with contextlib.suppress(psutil.NoSuchProcess):  # a process that ends while they are listed
            for member in [process, *process.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                    memory = member.memory_full_info()
                    total += getattr(memory, "pss", memory.uss)  # macOS has no pss
        peak[0] = max(peak[0], total)


def main() -> int:
    os.chdir(Path(__file__).resolve().parents[1])
    cores = min(os.cpu_count() or 1, 8)
    began, whole = time.time(), not RESULTS.exists()
    started, peak, stop = time.monotonic(), [0], threading.Event()
    # One job more than cores, so that these do not wait for Snakemake to start the next one.
    jobs = ["--cores", str(cores + 1), "--keep-going"]
    # Without the solver, which reads the sizes of all inputs at every step: a tenth of a core.
    jobs += ["--scheduler", "greedy", "--scheduler-greedy-omit-prioritize-by-temp-and-input"]
    process = runs.snakemake([*jobs, "--quiet", "rules", "host", "--show-failed-logs"])
    sampler = threading.Thread(target=peak_memory, args=(psutil.Process(process.pid), stop, peak), daemon=True)
    sampler.start()
    code = runs.status(process)
    stop.set()
    sampler.join()
    summary = [sys.executable, "scripts/print_summary.py", str(RESULTS), "--config", "config/config.yaml"]
    if code:
        if (RESULTS / "page.html").exists() and (RESULTS / "page.html").stat().st_mtime > began:
            subprocess.run(summary, check=False)
        return code

    report = RESULTS / "report.html"
    tables = max(path.stat().st_mtime for path in (RESULTS / "tables").iterdir())
    if not report.exists() or report.stat().st_mtime < tables:
        # Its name comes last, so that a run which is killed meanwhile leaves no report that looks complete.
        written = report.with_name(".report.html")
        if code := runs.status(runs.snakemake(["--quiet", "all", "--report", str(written)])):
            return code
        cost = {"seconds": round(time.monotonic() - started, 1), "peak_mb": round(peak[0] / 2**20)}
        write_json(RESULTS / "cost.json", cost if whole else {})  # a run that goes on costs less than the study
        os.replace(written, report)
    cost = json.loads((RESULTS / "cost.json").read_text())
    known = {"--seconds": cost.get("seconds"), "--peak-mb": cost.get("peak_mb")}
    summary += [f"{option}={value}" for option, value in known.items() if value is not None]
    subprocess.run(summary, check=True)
    return report_expected()


def report_expected() -> int:
    """Compare the scores with those that the methods' folders expect; 1 where one differs."""
    compared, problems = check_expected(read_scores(sorted((RESULTS / "scores").glob("*.parquet"))), expected_scores())
    print(f"Scores  {compared - len(problems)} of {compared} mean scores are those that the methods' folders expect")
    for problem in problems:
        print(f"        {problem}")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
