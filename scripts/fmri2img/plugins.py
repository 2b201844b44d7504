"""Folders of methods and datasets: those of this repository, and those that a study's `plugins` names.

A folder holds method.yaml or dataset.yaml, and its name is the name of the method or dataset. Its modules are imported
as fmri2img.methods.<name>.<module> or fmri2img.datasets.<name>.<module>, wherever the folder is.
"""

import importlib
import sys
import types
from functools import cache
from pathlib import Path
from typing import Any

from fmri2img.errors import UserError
from fmri2img.paths import LIBRARY, expanded

RECORDS = {"methods": "method.yaml", "datasets": "dataset.yaml"}
OUTSIDE: dict[str, Path] = {}  # package -> folder, for folders outside this repository


def register(folder: str | Path) -> None:
    """Make the modules of a folder outside the repository importable. Raises UserError when it is not such a folder."""
    path = Path(expanded(str(folder))).resolve()
    kinds = [kind for kind, record in RECORDS.items() if (path / record).is_file()]
    if not kinds:
        raise UserError(
            f"configuration: key 'plugins': {folder} holds neither {' nor '.join(RECORDS.values())}; give the folder "
            "of a method or of a dataset"
        )
    for kind in kinds:
        if not path.name.isidentifier():
            raise UserError(
                f"configuration: key 'plugins': rename {folder}; '{path.name}' cannot be a {kind[:-1]}'s name"
            )
        package = f"fmri2img.{kind}.{path.name}"
        if (LIBRARY / kind / path.name).is_dir() or OUTSIDE.get(package, path) != path:
            raise UserError(
                f"configuration: key 'plugins': there is already a {kind[:-1]} '{path.name}'; rename {folder}"
            )
        if package not in OUTSIDE:
            OUTSIDE[package] = path
            module = types.ModuleType(package)
            module.__path__ = [str(path)]
            sys.modules[package] = module
            setattr(importlib.import_module(f"fmri2img.{kind}"), path.name, module)


def folders(kind: str) -> dict[str, Path]:
    """Name -> folder of all methods or datasets known so far: ours, then the registered ones."""
    prefix = f"fmri2img.{kind}."
    outside = {name.removeprefix(prefix): path for name, path in OUTSIDE.items() if name.startswith(prefix)}
    return _own(LIBRARY / kind, RECORDS[kind]) | outside


@cache
def _own(root: Path, record: str) -> dict[str, Path]:
    return {file.parent.name: file.parent for file in sorted(root.glob(f"*/{record}"))}


def files(kind: str, name: str) -> list[Path]:
    """The files of this name in all folders of methods or datasets that have one."""
    found = [folder / name for folder in folders(kind).values()]
    return [file for file in found if file.is_file()]


def declares(kind: str, name: str, attribute: str) -> bool:
    """Whether the folder of a method or dataset has the module of "module:name", and this name in it."""
    module, _, member = attribute.partition(":")
    there = (folders(kind)[name] / f"{module}.py").is_file()
    return there and hasattr(importlib.import_module(f"fmri2img.{kind}.{name}.{module}"), member)


def load(kind: str, name: str, attribute: str) -> Any:
    """What "module:name" means in the folder of a method or dataset. Raises UserError when it is not there."""
    module, _, member = attribute.partition(":")
    where = folders(kind)[name]
    try:
        return getattr(importlib.import_module(f"fmri2img.{kind}.{name}.{module}"), member)
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith(f"fmri2img.{kind}.{name}"):
            raise
        raise UserError(f"{where / RECORDS[kind]}: '{attribute}': there is no {where / module}.py") from error
    except AttributeError as error:
        raise UserError(f"{where / RECORDS[kind]}: '{attribute}': {where / module}.py has no '{member}'") from error
