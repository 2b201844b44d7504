"""List the data and networks that a study reads, then fetch what is missing: make data [STUDY=config/paper.yaml]

For each dataset and for the frozen networks: what is there, what is fetched from where and how large it is, what only
you can put there, and which agreements are to be signed first. Where something needs you, nothing is fetched, and the
status is 1. With --list (make data LIST=1) nothing is fetched in any case.
"""

import argparse
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fmri2img import runs
from fmri2img.backbones.registry import Backbone
from fmri2img.datasets.dataset import Dataset
from fmri2img.datasets.inventory import DOWNLOADED, LINKED, MADE, PLACED, Source
from fmri2img.errors import UserError
from fmri2img.job_graph import read_graph
from fmri2img.settings.files import read_files, study_files
from fmri2img.study import Study

THERE, MISSING, FORM = "there", "missing", "sign"
SMALLEST = 0.001  # GB that are shown
WORDS = {DOWNLOADED: "download", LINKED: "link", MADE: "make"}


class Line(NamedTuple):
    """A line of the list. state: what begins it; gigabytes: that are downloaded; for_you: whether a person must act."""

    state: str
    text: str
    gigabytes: float = 0.0
    for_you: bool = False


class Downloads(NamedTuple):
    """networks: entries of config/backbones.yaml that are read from models/; made: files that downloads make."""

    networks: list[str]
    made: set[str]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="*", help="a study of config/, or configuration files, laid over one another")
    parser.add_argument("--list", action="store_true", help="fetch nothing")
    arguments = parser.parse_args()
    try:
        files = study_files(arguments.study)
        study = Study(read_files(files), check_files=False)
        needs_you, gigabytes = show(study, files)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    if needs_you:
        print(f"{needs_you} to do first; nothing was fetched")
        return 1
    if arguments.list:
        return 0
    print(f"Fetching {gigabytes:.1f} GB" if gigabytes else "Fetching what is missing", flush=True)
    configuration = ["--configfile", *files] if files else []
    return runs.status(runs.snakemake(["--cores", "4", "--quiet", "rules", "host", *configuration, "--", "fetch"]))


def show(study: Study, files: list[str]) -> tuple[int, float]:
    """Print the list; the number of lines that need the user, and the GB that are downloaded."""
    try:
        downloads, refused = read_graph(files, downloads_of, ["fetch"], whole=False), None
    except UserError as error:
        downloads, refused = None, str(error)
    parts = {one.title: list(of_dataset(one, study, downloads)) for one in (study.dataset, *study.pools.values())}
    if downloads:
        networks = [Backbone(name, study.registries["backbones"][name]) for name in downloads.networks]
        parts["Networks, in models/"] = [of_network(network) for network in networks]
    for title, lines in parts.items():
        print(title)
        for line in sorted(lines, key=lambda one: not one.for_you) or [Line(THERE, "all is in this repository")]:
            print(f"  {line.state:<9} {line.text}")
        print()
    lines = [line for part in parts.values() for line in part]
    downloaded = [line for line in lines if line.state == WORDS[DOWNLOADED]]
    if downloaded:
        total, unknown = sum(line.gigabytes for line in downloaded), sum(not line.gigabytes for line in downloaded)
        free = shutil.disk_usage(Path.cwd()).free / 1e9
        more = f", and {unknown} parts of small or unknown size" if unknown else ""
        print(f"To download: about {total:.0f} GB{more}; {free:.0f} GB are free on this disk\n")
    needs_you = sum(line.for_you for line in lines)
    if downloads is None and needs_you:
        print("Networks are listed once these files are there.\n")
    elif refused:
        raise UserError(refused)
    return needs_you, sum(line.gigabytes for line in lines)


def downloads_of(workflow) -> Downloads:
    """What the downloads of a study are, of Snakemake's workflow with the target `fetch`."""
    dag, rules = workflow.dag, workflow.globals["download_rules"]
    networks = {str(job.wildcards.entry) for job in dag.jobs if job.rule.name == "acquire_backbone"}
    made = {str(path) for job in dag.needrun_jobs() if job.rule.name in rules for path in job.output}
    return Downloads(sorted(networks), made)


def of_dataset(dataset: Dataset, study: Study, downloads: Downloads | None) -> Iterator[Line]:
    """The lines of a dataset."""
    sources = dataset.inventory(study)
    try:
        dataset.check_terms()
    except UserError as error:
        yield Line(FORM, str(error), for_you=True)
    for source in sources:
        yield from of_source(source, downloads)
    if not any(source.way == PLACED and source.missing for source in sources):
        try:
            dataset.check(study)
        except UserError as error:
            yield Line(MISSING, str(error), for_you=True)


def of_source(source: Source, downloads: Downloads | None) -> Iterator[Line]:
    """The lines of files of one kind: those that are there, and the others."""
    missing = source.missing
    fetched = [path for path in missing if downloads is None or str(path) in downloads.made]
    there = [path for path in source.files if path not in missing]
    if source.way == MADE:
        yield Line(THERE if not missing else WORDS[MADE], f"{source.what}, made by the study: {source.files[0]}")
        return
    if there:
        yield Line(THERE, f"{source.what}{_of(there, source)}{_size(source, there)}: {_place(there)}")
    if source.way == PLACED and missing:
        yield Line(MISSING, f"{source.what}{_of(missing, source)}: {_place(missing)}; {source.origin}", for_you=True)
    elif source.way != PLACED and fetched:
        size = source.gigabytes_of(fetched) or 0.0
        text = f"{source.what}{_of(fetched, source)}{_size(source, fetched)}: from {source.origin} to {_place(fetched)}"
        yield Line(WORDS[source.way], text, size if source.way == DOWNLOADED else 0.0)
    used = len(missing) - len(fetched)
    if source.way != PLACED and used:
        yield Line("done", f"{source.what}, {used} of {len(source.files)} files: no job of the study needs them now")


def _of(files: list[Path], source: Source) -> str:
    return "" if len(files) == len(source.files) else f", {len(files)} of {len(source.files)} files"


def _size(source: Source, files: list[Path]) -> str:
    size = source.gigabytes_of(files) or 0.0
    if size < SMALLEST:
        return ""
    return f" (about {size:.2g} GB)" if size < 10 else f" (about {size:.0f} GB)"


def _place(files: list[Path]) -> str:
    """Where files are: the file, or the folder of all."""
    if len(files) == 1:
        return str(files[0])
    parents = {path.parent for path in files}
    shared = next(folder for folder in files[0].parents if all(folder in (one, *one.parents) for one in parents))
    return f"{shared}/"


def of_network(network: Backbone) -> Line:
    """The line of a frozen network."""
    source, sizes = (
        network.record["source"],
        [check and check.get("size") for check in network.record["files"].values()],
    )
    size = sum(filter(None, sizes)) / 1e9
    known = f"{size:.2g} GB" if size and all(sizes) else f"{size:.2g} GB and more" if size else "size not stated"
    text = f"{network.name} ({known}; licence: {network.record['licence']})"
    if network.folder.is_dir():
        return Line(THERE, text)
    if "page" in source:
        files = ", ".join(network.record["files"])
        remedy = f"take {files} from {source['page']} and put it into {network.folder}"
        return Line(MISSING, f"{text}: {remedy}", for_you=True)
    where = source.get("url") or f"the hub's {source.get('repo_type', 'model')} {source['hub']}"
    return Line(WORDS[DOWNLOADED], f"{text}: from {where}", size)


if __name__ == "__main__":
    sys.exit(main())
