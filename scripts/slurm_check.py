"""Say what of a study does not fit this cluster, before it is submitted: make slurm-check [STUDY=config/paper.yaml]

Compares slurm/site.yaml with what SLURM says of the partitions, has sbatch judge each distinct request without
submitting it, and runs a short job on each kind of node: does it see a file that was written here, is the Python
environment there, is there internet, does torch see the GPU. Ends with status 1 when something would fail.
"""

import argparse
import sys
import time
from pathlib import Path

from fmri2img import job_environment
from fmri2img.cluster.check import Line, check_partitions, check_requests
from fmri2img.cluster.nodes import probe_nodes
from fmri2img.cluster.requests import requests_of
from fmri2img.errors import UserError
from fmri2img.resources import ResourceClasses
from fmri2img.settings.files import read_files
from fmri2img.settings.site import LOGIN, read_site
from fmri2img.study import Study
from fmri2img.training import launch
from probe_node import internet


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--configfile", nargs="*", default=["config/paper.yaml"], help="configuration files of the study"
    )
    parser.add_argument("--site", help="site file, in place of the configuration's")
    parser.add_argument("--wait", type=float, default=10, metavar="MINUTES", help="for the short jobs; 0 runs none")
    arguments = parser.parse_args()
    try:
        return check(arguments.configfile, arguments.site, arguments.wait)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1


def check(configfiles: list[str], site_path: str | None, minutes: float) -> int:
    study = Study(read_files(configfiles) | ({"site": site_path} if site_path else {}))
    path = study.settings.site
    site = read_site(path)
    classes = ResourceClasses(study.settings.resources, site, path)
    launch.check_devices(study, classes, "train")
    job_environment.prepare(site)
    print(f"study {study.name} with {path if site else 'no site file'}", flush=True)
    lines = shown(check_partitions(classes))
    requests = requests_of(study, classes)
    lines += shown(check_requests(requests, classes))
    if site and site.downloads == LOGIN:
        problem = internet()
        lines += shown(
            [Line("login node", f"no internet ({problem}), but downloads run here", True)] if problem else []
        )
    if minutes:
        folder = Path("logs", "slurm_check", time.strftime("%Y%m%d-%H%M%S"))
        for name, texts in probe_nodes(requests, site, folder, 60 * minutes).items():
            lines += shown([Line(f"nodes {name}", text, not text.startswith("ok")) for text in texts])
    wrong = sum(line.wrong for line in lines)
    print(f"{wrong or 'no'} problem{'s' * (wrong != 1)}")
    return int(bool(wrong))


def shown(lines: list[Line]) -> list[Line]:
    for line in lines:
        print(f"{'PROBLEM ' if line.wrong else '        '}{line.what}: {line.text}", flush=True)
    return lines


if __name__ == "__main__":
    sys.exit(main())
