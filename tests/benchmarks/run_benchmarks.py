"""All benchmarks, one after the other, and one table of their results: `make benchmarks`.

Each runs in a process of its own, on one thread unless --threads says otherwise, at a size that takes seconds; the
scripts have options for NSD's own sizes. --readme writes the table into README.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmark_table import ROWS, Row, rendered

from fmri2img.paths import REPOSITORY, SCRIPTS

FOLDER, README = Path(__file__).parent, REPOSITORY / "README.md"
BEGIN, END = "<!-- benchmarks: begin (make benchmarks) -->", "<!-- benchmarks: end -->"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
COMMANDS = {
    "read_session": ["--trials", "75"],
    "ridge": ["--threads", "1"],
    "metrics": [],
    "bootstrap": [],
    "train_step": [],
    "generate": ["--batches", "1", "16"],
    "acquire": ["--megabytes", "200"],
    "dag": ["--tries", "1"],
    "memory": [],
}


def rows_of(name: str, threads: int, table: Path) -> list[Row]:
    """Run a benchmark and return its rows. Raises SystemExit where it fails."""
    environment = os.environ | dict.fromkeys(THREADS, str(threads)) | {ROWS: str(table)}
    environment["PYTHONPATH"] = os.pathsep.join([str(SCRIPTS), str(FOLDER)])
    print(f"\n{name}", flush=True)
    command = [sys.executable, str(FOLDER / f"{name}.py"), *COMMANDS[name]]
    status = subprocess.run(command, env=environment, cwd=REPOSITORY).returncode
    if status:
        raise SystemExit(f"Error: tests/benchmarks/{name}.py: ended with status {status}; its last lines say why")
    return [Row(*json.loads(line)) for line in table.read_text(encoding="utf-8").splitlines()]


def with_table(text: str, table: str) -> str:
    """The README with this table between its markers."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table}{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--readme", action="store_true", help="write the table into README.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [row for name in options.only for row in rows_of(name, options.threads, Path(folder, name))]
    table = rendered(rows)
    print(f"\n{table}")
    if options.readme:
        README.write_text(with_table(README.read_text("utf-8"), table), encoding="utf-8")


if __name__ == "__main__":
    main()
