"""Configurations as users hand them over: files laid over the default one, and values of Snakemake's --config."""

from collections.abc import Iterable, Mapping
from os.path import relpath
from pathlib import Path
from typing import Any

import yaml
from snakemake.common.configfile import load_configfile
from snakemake.exceptions import WorkflowError
from snakemake.utils import update_config

from fmri2img.errors import UserError
from fmri2img.paths import REPOSITORY

NULL = ("null", "~")
DEFAULT = REPOSITORY / "config" / "config.yaml"


def read_files(paths: Iterable[str | Path]) -> dict[str, Any]:
    """The default configuration with these files laid over it in turn, as `snakemake --configfile` merges them.

    Raises UserError when a file is missing or is not a table in YAML or JSON.
    """
    config: dict[str, Any] = {}
    for path in (DEFAULT, *paths):
        if not Path(path).is_file():
            raise UserError(f"{path}: no such file; name a configuration, such as config/paper.yaml")
        try:
            update_config(config, load_configfile(path))
        except (WorkflowError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: not a configuration ({' '.join(str(error).split())}); correct it") from None
    return config


def as_in_files(given: Mapping[str, Any]) -> dict[str, Any]:
    """What --config gave, with the types that the same text has in a file.

    Snakemake finds the type of a single value, null apart, but keeps all entries of a list or map as text: `seeds=[0]`
    gives ["0"].
    """
    plain = {
        key: None if value in NULL else value for key, value in given.items() if not isinstance(value, dict | list)
    }
    return {key: plain[key] if key in plain else _entries(value) for key, value in given.items()}


def _entries(value: Any) -> Any:
    """Text stays text unless YAML reads it as a number, true, false, null, or as text in quotes of its own."""
    if isinstance(value, dict):
        return {key: _entries(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_entries(part) for part in value]
    if not isinstance(value, str):
        return value
    try:
        read = yaml.safe_load(value)
    except yaml.YAMLError:
        return value
    quoted = isinstance(read, str) and value[:1] in ("'", '"')
    return read if quoted or value in NULL or isinstance(read, int | float) else value


def study_files(names: Iterable[str]) -> list[str]:
    """The configuration files of studies: config/<name>.yaml, none for the default study, or the files themselves.

    Raises UserError for a study that has no file.
    """
    default = load_configfile(DEFAULT)["study"]
    own = [name for name in names if name != default]
    files = [Path(name if Path(name).suffix else relpath(DEFAULT.with_name(f"{name}.yaml"))) for name in own]
    for path in files:
        if not path.is_file():
            raise UserError(f"{path}: no such file; name a study of {DEFAULT.parent} or a configuration file")
    return [str(path) for path in files]
