"""Check a folder of scans of your own, and write a study of them: make dataset PATH=folder

Says what it found and, all at once, everything that is wrong with the files and what to do. Then it writes <name>.yaml,
a study that runs, and prints the commands that run it. What it guesses wrongly is stated in a file: CONFIG=file, with
keys of the dataset's section. docs/your-own-scans.md explains it all. Ends with status 1 when something is wrong.
"""

import argparse
import os
import re
import shlex
import sys
from os.path import relpath
from pathlib import Path
from typing import Any

import yaml

from fmri2img import plugins
from fmri2img.artifacts.atomic import PART, raise_refused
from fmri2img.datasets.described import Described
from fmri2img.errors import UserError
from fmri2img.paths import REPOSITORY, expanded
from fmri2img.settings.files import read_files
from fmri2img.study import Study

PUBLISHED = REPOSITORY / "config" / "paper.yaml"  # whose networks a study of real pictures needs
WITH_PUBLISHED = "_published"  # at the end of the name of the study with them
LONGEST_NAME = 64  # of a study


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="folder with betas, tables of events and pictures")
    parser.add_argument("--config", type=Path, help="file with keys of the dataset's section, which are not guessed")
    parser.add_argument("--output", type=Path, help="the study to write; by default <folder>.yaml in this directory")
    arguments = parser.parse_args()
    try:
        if not arguments.folder:
            raise UserError("no folder is given; write `make dataset PATH=folder`")
        return add(Path(expanded(arguments.folder)), arguments.config, arguments.output)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1


def add(folder: Path, config: Path | None, output: Path | None) -> int:
    """Check a folder and write its study; 1 where something is wrong. Raises UserError."""
    path = output or Path(f"{study_name(folder)}.yaml")
    dataset = next(one for one in plugins.folders("datasets") if plugins.declares("datasets", one, "describe:describe"))
    given = read_section(config, dataset) if config else {}
    found: Described = plugins.load("datasets", dataset, "describe:describe")(folder, given)
    for title, lines in (("Found", found.facts), ("Notes", found.notes), ("To mend", found.problems)):
        if lines:
            print(f"{title}:", *(f"- {line}" for line in lines), "", sep="\n")
    if found.problems:
        print(f"{folder}: {len(found.problems)} to mend; nothing was written")
        return 1
    study = {"study": path.stem, "dataset": dataset, dataset: found.section, **found.study}
    was_there = path.is_file()
    write(path, study, folder)
    try:
        for files in ([path], [PUBLISHED, path]):
            Study(read_files(files))
    except UserError:
        if not was_there:  # else the next try would find a study that does not run
            path.unlink()
        raise
    print(f"{path}: written\n")
    print(*commands(path), sep="\n")
    return 0


def study_name(folder: Path) -> str:
    """A folder's name in the letters of a study's, short enough for what `commands` adds to it."""
    name = re.sub(r"[^a-z0-9_-]+", "_", folder.resolve().name.lower()).strip("_-")
    return name[: LONGEST_NAME - len(WITH_PUBLISHED)] or "scans"


def read_section(path: Path, dataset: str) -> dict[str, Any]:
    """The dataset's section of a file. Raises UserError when there is none."""
    section = read_files([path]).get(dataset)
    if not isinstance(section, dict):
        raise UserError(f"{path}: has no section {dataset}; write the keys that are not to be guessed below it")
    return section


def write(path: Path, study: dict[str, Any], folder: Path) -> None:
    """Write the study. Raises UserError when there is another file."""
    text = f"# Scans of {folder}, as `make dataset` found them; docs/your-own-scans.md explains the keys.\n"
    text += yaml.safe_dump(study, sort_keys=False, allow_unicode=True, width=120)
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        raise UserError(f"{path}: is there, and differs from what was found; remove or rename it, and run again")
    temporary = path.with_name(f".{path.name}{PART}")  # no record of its content is kept: it may be edited by hand
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise_refused(path, error)
        raise


def commands(path: Path) -> list[str]:
    """What runs the study, a line each."""
    study, published = shlex.quote(str(path)), relpath(PUBLISHED)
    program = relpath(Path(sys.executable).with_name("snakemake"))
    return [
        "On this machine, in minutes, with the demo's small networks. It shows that all files are read; retrieval says",
        "whether pictures are identified from the brain. These networks know drawn scenes alone, so reconstructions of",
        "photographs mean nothing:",
        f"  {program} --cores 4 --configfile {study}",
        "With the published networks, on a GPU:",
        f"  {program} --cores 4 --configfile {published} {study} --config study={path.stem}{WITH_PUBLISHED}",
    ]


if __name__ == "__main__":
    sys.exit(main())
