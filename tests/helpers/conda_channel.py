"""A local Conda channel that holds the distributions of this Python's environment, under conda-forge's names.

Its packages are records in repodata.json: name, version, build and dependencies, all that a solver reads. A stand-in
for `conda` (conda_standin.py) solves environment files on the channel and links the files of what it finds.
"""

import json
import platform
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

from environments import conda_name, held
from packaging.requirements import Requirement

from write_environments import canonicalize_name, environment_files, pypi_name

# Packages of conda-forge that are no Python distributions.
OTHERS = {"python": platform.python_version(), "cxx-compiler": "1.11.0"}
CPU, CUDA = "cpu_0", "cuda132_200"  # builds of torch


@cache
def distributions() -> dict[str, metadata.Distribution]:
    """PyPI's name -> distribution of this environment."""
    return {canonicalize_name(found.name): found for found in metadata.distributions()}


@cache
def dependencies(name: str, extras: frozenset[str] = frozenset()) -> set[str]:
    """PyPI's names of the distributions that a distribution needs here, with these of its extras."""
    needed: set[str] = set()
    for text in distributions()[name].requires or []:
        requirement = Requirement(text)
        wanted = any(not requirement.marker or requirement.marker.evaluate({"extra": e}) for e in ("", *extras))
        other = canonicalize_name(requirement.name)
        if wanted and other != name:
            needed.add(other)
            if requirement.extras:
                needed |= dependencies(other, frozenset(requirement.extras))
    return needed


def write_channel(folder: Path) -> Path:
    """Write the channel for Linux; distributions that an environment file takes by pip are not in it."""
    by_pip = {p.name for file in environment_files() for p in held(file.read_text(encoding="utf-8")) if p.by_pip}
    records = {f"{r['name']}-{r['version']}-{r['build']}.tar.bz2": r for r in _records(by_pip)}
    for subdir, packages in (("linux-64", records), ("noarch", {})):
        (folder / subdir).mkdir(parents=True)
        repodata = {"info": {"subdir": subdir}, "packages": packages, "packages.conda": {}}
        (folder / subdir / "repodata.json").write_text(json.dumps(repodata))
    return folder


def _records(by_pip: set[str]) -> Iterator[dict]:
    for name, version in OTHERS.items():
        yield _record(name, version, "0", [])
    for name, found in distributions().items():
        if name in by_pip:
            continue
        depends = ["python", *sorted(map(conda_name, dependencies(name) & set(distributions())))]
        if conda_name(name) == "pytorch":  # as conda-forge builds it
            yield _record("pytorch", found.version, CPU, depends)
            yield _record("pytorch", found.version, CUDA, [*depends, "__cuda"])
        else:
            yield _record(conda_name(name), found.version, "0", depends)


def _record(name: str, version: str, build: str, depends: list[str]) -> dict:
    number = int(build.rpartition("_")[2])
    return {
        "name": name, "version": version, "build": build, "build_number": number, "depends": depends,
        "subdir": "linux-64",
    }  # fmt: skip


def distribution_of(conda_package: str) -> metadata.Distribution | None:
    """The distribution whose files a package of the channel has; none of packages without any."""
    return None if conda_package in OTHERS else distributions()[pypi_name(conda_package)]
