"""Write what installs the locked packages: versions in the Conda environments, and the recipes of the container image.

python tools/write_environments.py            write envs/*.yaml, tools/demo_networks/environment.yaml, envs/Dockerfile
                                              and envs/apptainer.def from envs/requirements.lock
python tools/write_environments.py --check    only say whether they are up to date
"""

import argparse
import hashlib
import re
import sys
from functools import cache
from pathlib import Path

from packaging.markers import Marker
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[1]
LOCK = REPOSITORY / "envs" / "requirements.lock"
# PyPI's name -> conda-forge's, where they differ. Conda does not equate - and _.
CONDA_NAMES = {"torch": "pytorch", "huggingface-hub": "huggingface_hub"}
PACKAGE = re.compile(r"^( *- (?:pip:)?)([\w.-]+)( ?==?)([^ #\n]+)", re.M)  # a line of an environment: name =version

IMAGE_PYTHON = "3.11"  # Debian 12's
BASE = "debian:12-slim"
SYSTEM_PACKAGES = ("g++", "python3-dev", "python3-venv")  # DeepSpeed and Triton compile their operators at run time
INSTALLED_IN = "/opt/fmri2img"


@cache
def locked(python: str) -> dict[str, str]:
    """PyPI's name -> version of every package that the lock file gives a Python (such as 3.11) on Linux."""
    here = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    pins = re.findall(r"^([\w.-]+)==(\S+)(?: ; ([^\\\n]+))?", LOCK.read_text(encoding="utf-8"), re.M)
    return {
        canonicalize_name(name): version
        for name, version, marker in pins
        if not marker or Marker(marker.strip()).evaluate(here)
    }


def pypi_name(conda_name: str) -> str:
    """What PyPI calls a package of conda-forge, in the spelling of the lock file."""
    return {conda: pypi for pypi, conda in CONDA_NAMES.items()}.get(conda_name, canonicalize_name(conda_name))


def environment_files() -> list[Path]:
    """The Conda environments of all stages, and that of the demo networks' recipes."""
    return [*sorted((REPOSITORY / "envs").glob("*.yaml")), REPOSITORY / "tools" / "demo_networks" / "environment.yaml"]


def with_locked_versions(text: str) -> str:
    """An environment file with the versions that the lock file gives its Python; packages not in the lock are kept."""
    versions = locked(python_of(text))

    def repin(line: re.Match) -> str:
        before, name, sign, version = line.groups()
        return f"{before}{name}{sign}{versions.get(pypi_name(name), version)}"

    return PACKAGE.sub(repin, text)


def python_of(text: str) -> str:
    """The Python, such as 3.11, of an environment file."""
    return next(version for _, name, _, version in PACKAGE.findall(text) if name == "python")


def install_commands(lock: str) -> list[str]:
    """Shell commands that install the packages of a lock file on the base image."""
    packages = " ".join(SYSTEM_PACKAGES)
    return [
        "apt-get update",
        f"DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends ca-certificates {packages}",
        "rm -rf /var/lib/apt/lists/*",
        f"python3 -m venv {INSTALLED_IN}",
        f"{INSTALLED_IN}/bin/pip install --no-cache-dir --require-hashes --requirement {lock}",
    ]


def image_digest() -> str:
    """What identifies the image: a hash over the lock file, the base image and the commands that install it."""
    content = "\n".join([BASE, *install_commands("")]).encode() + b"\n" + LOCK.read_bytes()
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


HEADER = """# Image with every stage's packages, for jobs on a cluster: see envs/README.md.
# Written by tools/write_environments.py from envs/requirements.lock; do not edit.
# Build it in the root of the repository:
#   {build}
"""


def dockerfile() -> str:
    lock = "/opt/requirements.lock"
    commands = " && \\\n    ".join(install_commands(lock))
    return (
        HEADER.format(build="docker build --tag fmri2img envs")
        + f"FROM {BASE}\n"
        + f"COPY requirements.lock {lock}\n"
        + f"RUN {commands}\n"
        + "".join(f'ENV {name}="{value}"\n' for name, value in variables().items())
    )


def apptainer_definition() -> str:
    lock = "/opt/requirements.lock"
    commands = "\n".join(f"    {command}" for command in install_commands(lock))
    exports = "\n".join(f'    export {name}="{value}"' for name, value in variables().items())
    return (
        HEADER.format(build="apptainer build fmri2img.sif envs/apptainer.def")
        + f"Bootstrap: docker\nFrom: {BASE}\n\n"
        + f"%files\n    envs/requirements.lock {lock}\n\n"
        + f"%post\n    set -e\n{commands}\n\n"
        + f"%environment\n{exports}\n"
    )


def variables() -> dict[str, str]:
    """Environment variables of the image; jobs record FMRI2IMG_IMAGE."""
    return {"PATH": f"{INSTALLED_IN}/bin:$PATH", "LANG": "C.UTF-8", "FMRI2IMG_IMAGE": image_digest()}


def documents() -> dict[Path, str]:
    """Path -> what should be in it."""
    written = {path: with_locked_versions(path.read_text(encoding="utf-8")) for path in environment_files()}
    recipes = {"Dockerfile": dockerfile(), "apptainer.def": apptainer_definition()}
    return written | {REPOSITORY / "envs" / name: text for name, text in recipes.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when a file is out of date")
    arguments = parser.parse_args()
    outdated = [path for path, text in documents().items() if not path.exists() or path.read_text("utf-8") != text]
    for path in outdated:
        print(f"{path.relative_to(REPOSITORY)}: {'out of date' if arguments.check else 'written'}")
        if not arguments.check:
            path.write_text(documents()[path], encoding="utf-8")
    return int(arguments.check and bool(outdated))


if __name__ == "__main__":
    sys.exit(main())
