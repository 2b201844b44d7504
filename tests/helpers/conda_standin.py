"""A stand-in for `conda`: what Snakemake asks of it, on the local channel of conda_channel.py, with Conda's own solver.

An environment is a Python environment (venv) with links to the files of what its environment file resolves to, and of
nothing else. Snakemake puts its own packages on the path of a script, after those of the environment; they are hidden
here from all that is not Snakemake, so that a package which an environment lacks is missing.

`install(folder)` writes the command to folder/bin/conda.
"""

import asyncio
import json
import os
import sys
import venv
from itertools import pairwise
from pathlib import Path

import yaml

CHANNEL = "FMRI2IMG_TEST_CHANNEL"
FORGE = ["conda-forge", "nodefaults"]
# Runs at the start of each Python of an environment.
ONLY_THIS_ENVIRONMENT = '''
import sys
from importlib.machinery import PathFinder
from importlib.metadata import DistributionFinder


def elsewhere(path):
    """Whether a file is in the packages of another environment."""
    return "site-packages" in path and not path.startswith(sys.prefix)


def importer():
    """The file of the innermost frame that is not the import system's."""
    frame = sys._getframe(2)
    while "importlib" in frame.f_code.co_filename:
        frame = frame.f_back
    return frame.f_code.co_filename


class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        found = PathFinder.find_spec(name, path, target)
        if found and elsewhere(str(found.origin)) and not name.startswith("snakemake") and not elsewhere(importer()):
            return None
        return found

    @staticmethod
    def find_distributions(context=DistributionFinder.Context()):
        seen = [entry for entry in context.path if not elsewhere(entry)]
        return PathFinder.find_distributions(DistributionFinder.Context(name=context.name, path=seen))


sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
'''


def install(folder: Path, channel: Path) -> Path:
    """Write the command and what activates an environment; returns the folder to put on the PATH."""
    binaries = folder / "bin"
    binaries.mkdir(parents=True)
    command = f"#!/bin/sh\n{CHANNEL}='{channel}' exec '{sys.executable}' '{__file__}' '{folder}' \"$@\"\n"
    (binaries / "conda").write_text(command)
    (binaries / "conda").chmod(0o755)
    (binaries / "activate").write_text('export CONDA_PREFIX="$1" PATH="$1/bin:$PATH"\n')
    return binaries


async def solve(text: str, channel: Path) -> dict[str, str]:
    """Package -> build of what an environment file resolves to, without its pip section."""
    import rattler
    from environments import specifications

    solved = await rattler.solve(
        [channel.as_uri()],
        specifications(text),
        platforms=["linux-64", "noarch"],
        virtual_packages=rattler.VirtualPackage.detect(rattler.VirtualPackageOverrides.from_env()),
    )
    return {record.name.source: str(record.build) for record in solved}


def create(file: Path, prefix: Path, channel: Path) -> None:
    """Make the environment of a file. Fails where a package of the file is not in the channel."""
    from conda_channel import dependencies, distribution_of, distributions
    from environments import held

    text = file.read_text(encoding="utf-8")
    assert yaml.safe_load(text)["channels"] == FORGE, "the only channels that this stand-in has"
    builds = asyncio.run(solve(text, channel))
    linked = [found for name in builds if (found := distribution_of(name))]
    waiting = [package.name for package in held(text) if package.by_pip]
    while waiting:  # what pip would add
        name = waiting.pop()
        found = distributions()[name]
        if found.name not in {other.name for other in linked}:
            linked.append(found)
            waiting += dependencies(name) & set(distributions())
    venv.EnvBuilder(symlinks=True).create(prefix)
    packages = prefix / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    for found in linked:
        for top in {part.parts[0] for part in found.files or []} - {"..", "__pycache__"}:
            if not (packages / top).exists():  # namespaces that distributions share are linked once
                (packages / top).symlink_to(Path(str(found.locate_file(top))))
    (packages / "only_this_environment.py").write_text(ONLY_THIS_ENVIRONMENT)
    (packages / "only_this_environment.pth").write_text("import only_this_environment\n")
    (prefix / "conda-meta").mkdir()
    for name, build in builds.items():
        (prefix / "conda-meta" / f"{name}.json").write_text(json.dumps({"name": name, "build": build}))


def main(folder: str, *arguments: str) -> None:
    values = dict(pairwise(arguments))
    if arguments[0] == "info":
        print(json.dumps({"conda_prefix": folder, "platform": "linux-64"}))
    elif arguments[0] == "--version":
        print("conda 26.9.4")
    elif arguments[0] == "config":
        print(json.dumps({"get": {"channel_priority": "strict"}}))
    elif arguments[:2] == ("env", "create"):
        create(Path(values["--file"]), Path(values["--prefix"]), Path(os.environ[CHANNEL]))
    else:
        assert arguments[0] == "clean", arguments


if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2] / name) for name in ("scripts", "tools", "tests/helpers")]
    main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)  # rattler's threads may abort at the interpreter's exit
