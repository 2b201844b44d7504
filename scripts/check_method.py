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

from fmri2img import plugins, runs
from fmri2img.errors import UserError
from fmri2img.methods.conformance import check_declared, check_scores
from fmri2img.methods.registry import read_analyses, read_methods
from fmri2img.paths import LIBRARY, REPOSITORY, expanded


def under_test(name: str, entries: dict[str, dict]) -> dict[str, dict]:
    """Entries of a folder that the check runs: its first variant at every stage, with their floors.

    Of a control of other methods, it is the control of linear decoders.
    """
    own = {method: entry for method, entry in entries.items() if entry["folder"] == name}
    if any("source" in entry for entry in own.values()):
        return {method: entry for method, entry in own.items() if "linear" in entries[entry["of"]]}
    first = {method: entry for method, entry in own.items() if entry.get("decoder", name) == name}
    floors = {m: e for m, e in entries.items() if e.get("of") in first and "floor" in e.get("scale", {})}
    return first | floors


def run_tiny_study(work: Path, methods: list[str], folders: list[Path], analyses: list[str]) -> list[str]:
    """Run config/tiny.yaml with these methods and analyses, and these folders as plug-ins, in `work`; errors, a line
    each."""
    overlay = {"plugins": list(map(str, folders)), "methods": methods, "analyses": analyses}
    (work / "methods.yaml").write_text(yaml.safe_dump(overlay))
    command = ["--cores", str(os.cpu_count() or 1), "--directory", str(work), "--quiet", "--show-failed-logs"]
    command += ["--configfile", str(REPOSITORY / "config/tiny.yaml"), str(work / "methods.yaml")]
    process = runs.snakemake(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=REPOSITORY)
    printed = process.communicate()[0].splitlines()
    if not process.returncode:
        return []
    errors = [line.strip() for line in printed if line.startswith("Error: ") or "configuration: key" in line]
    return [f"the tiny study failed: {line}" for line in dict.fromkeys(errors)] or [
        "the tiny study failed",
        *printed[-20:],
    ]


def check(folder: Path, work: Path) -> list[str]:
    """What is wrong with the folder, one line per problem; an empty list if it conforms. Raises UserError."""
    folder = folder.resolve()
    ours = folder.parent == LIBRARY / "methods"
    if not ours:
        plugins.register(folder)
    entries = read_methods()
    wanted = under_test(folder.name, entries)
    problems = check_declared(folder, wanted)
    if problems:
        return problems
    builds_on = [entry["of"] for entry in wanted.values() if "of" in entry and entry["of"] not in wanted]
    analyses = [name for name, entry in read_analyses().items() if entry["folder"] == folder.name]
    failed = run_tiny_study(work, [*dict.fromkeys(builds_on), *wanted], [] if ours else [folder], analyses)
    return failed or check_scores(work / "results/tiny", wanted)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="folder with a method.yaml")
    parser.add_argument("--work", type=Path, help="folder for the tiny study, kept; a temporary one by default")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as temporary:
            work = options.work or Path(temporary)
            work.mkdir(parents=True, exist_ok=True)
            problems = check(Path(expanded(options.folder)), work)
    except UserError as error:
        problems = [str(error)]
    for problem in problems:
        print(f"- {problem}")
    print(f"{options.folder}: {f'{len(problems)} to mend' if problems else 'conforms'}")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
