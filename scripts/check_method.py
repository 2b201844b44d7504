"""Check a method's folder: run it in a tiny simulated study and report what is missing or wrong.

python scripts/check_method.py path/to/folder
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from fmri2img import plugins
from fmri2img.errors import UserError
from fmri2img.methods.conformance import check_declared, check_scores
from fmri2img.methods.registry import read_methods
from fmri2img.paths import LIBRARY, REPOSITORY


def tiny_study(folder: Path, methods: list[str]) -> dict:
    """An overlay of config/tiny.yaml with these methods. A folder of this repository needs no plug-in."""
    ours = folder.parent == LIBRARY / "methods"
    return {"plugins": [] if ours else [str(folder)], "methods": methods, "study": "tiny"}


def check(folder: Path, work: Path) -> list[str]:
    """What is wrong with the folder, one line per problem; an empty list if it conforms. Raises UserError."""
    folder = folder.resolve()
    if folder.parent != LIBRARY / "methods":
        plugins.register(folder)
    entries = read_methods()
    own = {name: entry for name, entry in entries.items() if entry["folder"] == folder.name}
    floors = {name: entry for name, entry in entries.items() if entry.get("of") in own}
    problems = check_declared(folder, own)
    if problems:
        return problems
    wanted = [*own, *floors]
    needed = [entries[name]["of"] for name in wanted if "of" in entries[name] and entries[name]["of"] not in wanted]
    for name in ("config", "resources"):
        if not (work / name).exists():
            (work / name).symlink_to(REPOSITORY / name)
    (work / "methods.yaml").write_text(yaml.safe_dump(tiny_study(folder, [*dict.fromkeys(needed), *wanted])))
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), "--cores"]
    command += [str(os.cpu_count() or 1), "--directory", str(work), "--quiet", "--show-failed-logs", "--configfile"]
    command += [str(REPOSITORY / "config/tiny.yaml"), str(work / "methods.yaml")]
    run = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    if run.returncode:
        errors = [line for line in (run.stdout + run.stderr).splitlines() if "Error" in line]
        return [f"the tiny study failed: {line.strip()}" for line in errors[:5]] or [run.stderr[-2000:]]
    return check_scores(work / "results/tiny", own | floors)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with a method.yaml")
    parser.add_argument("--work", type=Path, help="folder for the tiny study, kept; a temporary one by default")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as temporary:
            work = options.work or Path(temporary)
            work.mkdir(parents=True, exist_ok=True)
            problems = check(options.folder, work)
    except UserError as error:
        problems = [str(error)]
    for problem in problems:
        print(f"- {problem}")
    print(f"{options.folder}: {f'{len(problems)} to mend' if problems else 'conforms'}")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
